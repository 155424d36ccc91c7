"""The proxy's side of proofs of presence: auth's latest beacon, for the connections that come now."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from interlock.core.errors import InterlockError
from interlock.services.audit.outbox import Sleep

ASKED_EVERY_S = 15.0
"""Half as long as a beacon lasts, and a twentieth of the time for which a proof counts."""

AGAIN_S = 1.0
"""After a question that auth did not answer; twice as long after each further one, up to the time above."""

WITHOUT_S = 4.0
"""At most, as long as there is none at all: nobody can be led on."""

FIRST_S = 2.0
"""Seconds that a starting proxy waits for its first one."""

_log = structlog.get_logger()


class LatestBeacon:
    """`run` belongs into a TaskGroup. An old beacon is better than none: auth says whether it is too old."""

    def __init__(self, ask: Callable[[], Awaitable[bytes]], *, sleep: Sleep = asyncio.sleep) -> None:
        self._ask = ask
        self._sleep = sleep
        self._value = b""
        self._failing = ""  # what was logged last
        self._pause = ASKED_EVERY_S

    def __call__(self) -> bytes:
        """`Gate.beacon`; empty until auth has answered once."""
        return self._value

    async def first(self) -> None:
        """Have one before anybody comes, if auth answers soon."""
        try:
            async with asyncio.timeout(FIRST_S):
                await self._refresh()
        except TimeoutError:
            self._failed("auth does not answer", f"not within {FIRST_S} s")

    async def run(self) -> None:
        """Keep up with auth."""
        while True:
            await self._sleep(self._pause)
            await self._refresh()

    async def _refresh(self) -> None:
        try:
            self._value = await self._ask()
            self._failing, self._pause = "", ASKED_EVERY_S
        except InterlockError as error:  # an auth of an older version asks for no proofs
            self._failed(error.public, error.reason)

    def _failed(self, error: str, reason: str) -> None:
        most = ASKED_EVERY_S if self._value else WITHOUT_S
        self._pause = min(self._pause * 2, most) if self._failing else AGAIN_S
        if error != self._failing:
            _log.warning("presence.no_beacon", error=error, reason=reason)
        self._failing = error

"""How a node keeps its tunnel: dial, wait until it is lost, pause, dial again, for as long as the node runs.

Pauses are drawn at random from zero up to a bound that doubles ("full jitter"), the first one after a loss
included: when a proxy restarts, all of its nodes lose their tunnels in one moment, and must not come back in one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from interlock.core.errors import InterlockError
from interlock.ports import Clock, Entropy

FIRST_WINDOW_S = 1.0
"""Bound of the first pause, in seconds."""

LONGEST_WINDOW_S = 60.0
"""Bound of every pause: a node is back within a minute of its proxy."""

STABLE_S = 30.0
"""Seconds that a tunnel must have lasted for the pauses to be short again: a proxy that accepts and then throws
its nodes out is not dialled every second."""

_BITS = 53  # of randomness in a pause

_log = structlog.get_logger()

Sleep = Callable[[float], Awaitable[None]]


class Backoff:
    """The next pause, in seconds."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._window = FIRST_WINDOW_S

    def next(self) -> float:
        """Anything from zero to the present bound, which doubles."""
        window, self._window = self._window, min(self._window * 2, LONGEST_WINDOW_S)
        return window * (int.from_bytes(self._entropy.token(7)) >> 3) / (1 << _BITS)

    def reset(self) -> None:
        """Begin with short pauses again."""
        self._window = FIRST_WINDOW_S


class Link(Protocol):
    """A tunnel that is up."""

    async def wait_lost(self) -> str:
        """Return when it is down, with the reason."""
        ...


class Redialler:
    """Keeps one tunnel up. ``dial`` makes it, or raises InterlockError."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[Link]],
        *,
        clock: Clock,
        entropy: Entropy,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._dial = dial
        self._clock = clock
        self._sleep = sleep
        self._backoff = Backoff(entropy)
        self._failing = ""  # the public text of the failure that was logged last

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._once()
            await self._sleep(self._backoff.next())

    async def _once(self) -> None:
        try:
            link = await self._dial()
        except InterlockError as error:
            if error.public != self._failing:
                _log.warning("tunnel.not_up", error=error.public, reason=error.reason)
            self._failing = error.public
            return
        self._failing = ""
        since = self._clock.monotonic()
        _log.info("tunnel.up")
        reason = await link.wait_lost()
        lasted = self._clock.monotonic() - since
        _log.warning("tunnel.lost", reason=reason, lasted_s=round(lasted))
        if lasted >= STABLE_S:
            self._backoff.reset()

"""What one of several auths does for all of them: each duty is tried for, and done for as long as it is ours.

Whoever leads is not told that it has lost a duty: it asks, and does not go on after `HELD_S` without an answer.
The database gives the duty to another one later than that, so two never work at the same time, unless a process
was stopped for longer in the middle of a step. Duties must bear that: what they write, the database judges again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from interlock.core.errors import InterlockError
from interlock.ports import HELD_S, Clock, Leads
from interlock.services.audit.outbox import Sleep

LOOK_S = 2.0
"""Seconds between two questions: as long as a duty may be nobody's when whoever had it is gone."""

_log = structlog.get_logger()


class Leading:
    """One process's part."""

    def __init__(
        self, leads: Leads, duties: Collection[str], *, clock: Clock, sleep: Sleep = asyncio.sleep
    ) -> None:
        """``duties``: all that it can do."""
        self._leads = leads
        self._duties = tuple(duties)
        self._clock = clock
        self._sleep = sleep
        self._asked = 0.0  # when it asked for what it has
        self._ours: frozenset[str] = frozenset()
        self._changed = asyncio.Event()  # another one after each change

    def leads(self, duty: str) -> bool:
        """Whether this is ours to do now."""
        return duty in self._ours and self._clock.monotonic() < self._asked + HELD_S

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.ask()
            await self._sleep(LOOK_S)

    async def ask(self) -> None:
        """Ask now."""
        now = self._clock.monotonic()
        left = self._asked + HELD_S - now if self._ours else HELD_S
        try:
            async with asyncio.timeout(max(0.0, left)):
                ours = await self._leads.hold(self._duties)
        except (InterlockError, TimeoutError) as error:
            if self._ours:
                reason = error.reason if isinstance(error, InterlockError) else f"no answer within {HELD_S} s"
                _log.warning("leading.unknown", reason=reason)
            ours = frozenset()
        self._asked = now
        if ours != self._ours:
            self._ours = ours
            self._changed.set()
            self._changed = asyncio.Event()

    async def lead(self, duty: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do ``work`` as long as the duty is ours, again each time that it becomes ours, until it returns."""
        while True:
            await self._until(duty, ours=True)
            async with asyncio.TaskGroup() as tasks:
                working = tasks.create_task(_done(work), name="leading.work")
                lost = tasks.create_task(self._until(duty, ours=False), name="leading.lost")
                await asyncio.wait({working, lost}, return_when=asyncio.FIRST_COMPLETED)
                done = working.done()
                working.cancel()
                lost.cancel()
            if done:
                return
            _log.warning("leading.lost", duty=duty)

    async def _until(self, duty: str, *, ours: bool) -> None:
        while (duty in self._ours) is not ours:
            await self._changed.wait()


async def _done(work: Callable[[], Awaitable[None]]) -> None:
    await work()

"""What is taken away ends what is live by it: everybody who is here is judged again when policy has changed.

A daemon hears that it has changed where it hears of locks (`LockList.policy`), asks auth about each of its own
people, and ends whoever may not be here any more, as a lock would (ADR-0033). An answer that does not come ends
nobody: it is asked for again.
"""

import asyncio
from collections.abc import Iterator

import structlog

from interlock.core.errors import InterlockError, StoreError
from interlock.ports import Remaining
from interlock.services.access.locks import Locks, LockWatch, end_watched
from interlock.services.audit.outbox import Sleep

AT_ONCE = 8
"""Questions of one daemon at the same time: auth has others to answer, too."""

RETRY_S = 0.5
"""Seconds before auth is asked again that could not answer."""

_log = structlog.get_logger()


class Rejudging:
    """Of one daemon. `run` belongs into a TaskGroup of the daemon."""

    def __init__(self, locks: Locks, remaining: Remaining, *, sleep: Sleep = asyncio.sleep) -> None:
        self._locks = locks
        self._remaining = remaining
        self._sleep = sleep

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._locks.due.wait()
            self._locks.due.clear()
            if not await self.round():
                await self._sleep(RETRY_S)
                self._locks.due.set()

    async def round(self) -> bool:
        """Judge whoever has to be judged, once; False if auth could not answer about somebody."""
        people, answered = self._locks.unjudged(), [True]
        waiting = iter(people)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(AT_ONCE, len(people))):
                tasks.create_task(self._some(waiting, answered), name="rejudging.some")
        if people:
            ended = sum(not each.lasts for each in people)
            _log.info("access.rejudged", policy=self._locks.policy, connections=len(people), ended=ended)
        return answered[0]

    async def _some(self, waiting: Iterator[LockWatch], answered: list[bool]) -> None:
        for watch in waiting:
            if not await self._judge(watch):
                answered[0] = False
            await asyncio.sleep(0)  # a database that is a file answers without a pause, and others wait

    async def _judge(self, watch: LockWatch) -> bool:
        policy = self._locks.policy
        if watch.granted is None or not watch.lasts:
            return True
        try:
            why = await self._remaining.taken_away(watch.granted)
        except InterlockError as error:
            _log.warning("access.not_rejudged", subject=watch.subject, reason=error.reason)
            if isinstance(error, StoreError):
                return False
            why = None
        except Exception:  # noqa: BLE001 - a bug met by one person's question
            _log.exception("access.not_rejudged", subject=watch.subject)
            why = None
        watch.judged = policy
        if why is not None:
            end_watched(watch, why)
        return True

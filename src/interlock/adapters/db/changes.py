"""What other processes change, heard of at once where the database tells (PostgreSQL's NOTIFY).

Whoever looks at the database now and then is given a sleep that ends early when there is something to see. It ends
in time all the same: a notification may be lost with its connection, and a file tells nothing.
"""

import asyncio
import os
import select
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from threading import Thread

import structlog

from interlock.core.errors import InterlockError
from interlock.services.audit.outbox import Sleep

RETRY_S = 1.0
"""Seconds between two attempts to hear of changes again."""

ANY = ""
"""In the place of a table's name: some changes may have been missed, of whatever table."""

Telling = Callable[[int], Iterator[str]]
"""Names of tables as they change, until the descriptor can be read; `ANY` first. InterlockError if that ends."""

_log = structlog.get_logger(__name__)


class Changes:
    """The naps of one process. ``telling``: None if the database does not tell."""

    def __init__(self, telling: Telling | None) -> None:
        self._telling = telling
        self._counts: Counter[str] = Counter()  # changes by table, on the loop's thread
        self._asleep: dict[asyncio.Event, tuple[str, ...]] = {}
        self._stop = -1  # an eventfd, as long as there is a thread
        self._thread: Thread | None = None

    def nap(self, *tables: str, sleep: Sleep = asyncio.sleep) -> Sleep:
        """``sleep``, but shorter if one of these tables has changed since the nap before. For one who looks."""
        if self._telling is None:
            return sleep
        seen = self._count(tables)

        async def until_changed(seconds: float) -> None:
            nonlocal seen
            self._listen()
            if self._count(tables) == seen:
                await self._sleep(sleep, seconds, tables)
            seen = self._count(tables)

        return until_changed

    async def _sleep(self, sleep: Sleep, seconds: float, tables: tuple[str, ...]) -> None:
        changed = asyncio.Event()
        self._asleep[changed] = tables
        try:
            async with asyncio.TaskGroup() as tasks:
                both = {
                    tasks.create_task(_over(sleep, seconds), name="database.sleep"),
                    tasks.create_task(_over(changed.wait), name="database.changed"),
                }
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for task in both:
                    task.cancel()
        finally:
            del self._asleep[changed]

    def close(self) -> None:
        """Hear of nothing any more. Waits for the thread, which is not long."""
        if self._thread is not None:
            os.eventfd_write(self._stop, 1)
            self._thread.join()
            os.close(self._stop)
            self._thread = None

    def _count(self, tables: tuple[str, ...]) -> int:
        return self._counts[ANY] + sum(self._counts[table] for table in tables)

    def _listen(self) -> None:
        if self._thread is None and self._telling is not None:
            self._stop = os.eventfd(0, os.EFD_CLOEXEC)
            arguments = (asyncio.get_running_loop(), self._telling)
            self._thread = Thread(target=self._run, args=arguments, name="database-changes")
            self._thread.start()

    def _run(self, loop: asyncio.AbstractEventLoop, telling: Telling) -> None:
        wake = select.poll()
        wake.register(self._stop, select.POLLIN)
        while not wake.poll(0):
            try:
                for table in telling(self._stop):
                    loop.call_soon_threadsafe(self._changed, table)
            except InterlockError as error:
                _log.warning("database.changes_not_told", reason=error.reason, consequence="they are looked for")
            except RuntimeError:  # the loop is closed: nobody looks any more
                return
            wake.poll(RETRY_S * 1000)

    def _changed(self, table: str) -> None:
        self._counts[table] += 1
        for changed, tables in self._asleep.items():
            if table == ANY or table in tables:
                changed.set()


async def _over(wait: Callable[..., Awaitable[object]], *arguments: object) -> None:
    await wait(*arguments)

"""The one thread of a process that writes to the database: whatever waits is committed together.

A commit waits for the disk, and meanwhile the sessions leave more to write. What waits when the thread is free
becomes one transaction with one fsync, in the order in which it came. Each write is durable when its caller is
told so, as if it had been alone, and one that fails undoes nobody else's.

A group whose connection is lost before its commit is tried again as a whole; so is one that collided with somebody
else's. What becomes of a commit that nobody answers is not known, and its callers are told that it failed.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from interlock.adapters.db.backend import Backend, ConnectionLost, connected, driver, named_errors
from interlock.core.errors import StoreError

GROUP = 100
"""Writes of one transaction at most, so that another process waits for milliseconds only."""

ATTEMPTS = 3
"""How often a group is tried whose transaction failed by nobody's fault in it."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Write:
    work: Callable[[Connection], Any]
    done: "asyncio.Future[Any]"


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


class GroupWriter:
    """Commits in groups; ``engine`` begins transactions with the turn to write."""

    def __init__(self, engine: Engine, backend: Backend) -> None:
        self._engine = engine
        self._backend = backend
        self._thread = ThreadPoolExecutor(1, "database-write")
        self._lock = Lock()  # of what follows
        self._waiting: deque[_Write] = deque()
        self._busy = False  # whether the thread is at work, or told to be

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in the thread; its changes are durable when this returns, undone if it raises.

        A caller that is cancelled does not stop it. ``work`` may run again, if what it did has been undone.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        with self._lock:
            self._waiting.append(_Write(work, done))
        loop.call_soon(self._start)  # behind what else is about to be written in this step of the loop
        return await done

    def close(self) -> None:
        """Let what waits be written, and end the thread."""
        self._start()
        self._thread.shutdown()

    def _start(self) -> None:
        with self._lock:
            idle = not self._busy and bool(self._waiting)
            self._busy = self._busy or idle
        if idle:
            self._thread.submit(self._work)

    def _work(self) -> None:
        while group := self._next():
            outcomes = self._commit(group)
            for loop in {each.done.get_loop() for each in group}:
                with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                    loop.call_soon_threadsafe(_tell, loop, group, outcomes)

    def _next(self) -> list[_Write]:
        with self._lock:
            group = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP))]
            self._busy = bool(group)
        return group

    def _commit(self, group: Sequence[_Write]) -> list[Any]:
        """The result of each, or why it failed."""
        tries = 0
        while True:
            tries += 1
            try:
                return self._try(group)
            except Exception as error:  # noqa: BLE001 - it is the callers'
                if tries == ATTEMPTS or not self._may_try_again(error):
                    return [_Failed(error) for _ in group]

    def _may_try_again(self, error: Exception) -> bool:
        cause = error.__cause__
        return isinstance(error, ConnectionLost) or (cause is not None and self._backend.collided(cause))

    def _try(self, group: Sequence[_Write]) -> list[Any]:
        with connected(self._engine, self._backend) as connection:
            transaction = connection.begin()
            try:
                outcomes = [self._attempt(connection, each.work) for each in group]
            except BaseException:
                with suppress(Exception):  # the first error counts
                    transaction.rollback()
                raise
            try:
                with named_errors(self._backend):
                    transaction.commit()
            except StoreError as error:
                return [_Failed(error) for _ in group]  # perhaps it is done: it must not be done twice
            return outcomes

    def _attempt(self, connection: Connection, work: Callable[[Connection], Any]) -> Any:
        """One write of the group, which undoes only itself if it fails."""
        own = driver(connection)
        own.execute("SAVEPOINT one")
        try:
            with named_errors(self._backend):
                result = work(connection)
        except Exception as error:
            if self._backend.undone(connection) or self._backend.collided(error.__cause__ or error):
                raise
            own.execute("ROLLBACK TO one")
            result = _Failed(error)
        own.execute("RELEASE one")
        return result


def _tell(loop: asyncio.AbstractEventLoop, group: Sequence[_Write], outcomes: Sequence[Any]) -> None:
    for each, outcome in zip(group, outcomes, strict=True):
        if each.done.get_loop() is not loop or each.done.done():
            continue
        if isinstance(outcome, _Failed):
            each.done.set_exception(outcome.error)
        else:
            each.done.set_result(outcome)

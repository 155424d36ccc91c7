"""The one thread of a process that writes to the database: whatever waits is committed together.

A commit waits for the disk, and meanwhile the sessions leave more to write. What waits when the thread is free
becomes one transaction with one fsync, in the order in which it came. Each write is durable when its caller is
told so, as if it had been alone, and one that fails undoes nobody else's.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from interlock.adapters.db.prepared import driver
from interlock.core.errors import StoreError

GROUP = 100
"""Writes of one transaction at most, so that another process waits for milliseconds only."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Write:
    work: Callable[[Connection], Any]
    done: "asyncio.Future[Any]"


@dataclass(frozen=True, slots=True)
class _Failed:
    error: Exception


@contextmanager
def named_errors() -> Iterator[None]:
    """Give the libraries' errors our name; the cause stays for the audit log only."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        raise StoreError("the gateway's database is not available", reason=str(error)) from error


class GroupWriter:
    """Commits in groups; ``engine`` begins transactions with the write lock."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._thread = ThreadPoolExecutor(1, "database-write")
        self._lock = Lock()  # of what follows
        self._waiting: deque[_Write] = deque()
        self._busy = False  # whether the thread is at work, or told to be

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in the thread; its changes are durable when this returns, undone if it raises.

        A caller that is cancelled does not stop it.
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
        try:
            with named_errors(), self._engine.begin() as connection:
                return [_attempt(connection, each.work) for each in group]
        except Exception as error:  # noqa: BLE001 - it is the callers'
            return [_Failed(error) for _ in group]


def _attempt(connection: Connection, work: Callable[[Connection], Any]) -> Any:
    """One write of the group, which undoes only itself if it fails."""
    sqlite = driver(connection)
    sqlite.execute("SAVEPOINT one")
    try:
        with named_errors():
            result = work(connection)
    except Exception as error:
        if not sqlite.in_transaction:
            raise  # SQLite has undone the whole transaction, as it does when the disk is full
        sqlite.execute("ROLLBACK TO one")
        result = _Failed(error)
    sqlite.execute("RELEASE one")
    return result


def _tell(loop: asyncio.AbstractEventLoop, group: Sequence[_Write], outcomes: Sequence[Any]) -> None:
    for each, outcome in zip(group, outcomes, strict=True):
        if each.done.get_loop() is not loop or each.done.done():
            continue
        if isinstance(outcome, _Failed):
            each.done.set_exception(outcome.error)
        else:
            each.done.set_result(outcome)

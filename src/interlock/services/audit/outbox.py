"""A queue between the session path, which must never wait, and a store that may be slow or away.

Order is kept and nothing is dropped: what a store cannot take now is offered again, with growing pauses.
Events and tracker changes both go through one of these. It is not a durable queue: what is not delivered
when the process is killed is rebuilt from the recordings on disk (`services.sessions.recovery`).

An outbox may gather for a moment before it delivers, so that what one session leaves, and many at a time, costs
the store one transaction. All outboxes of a process deliver at the same moments.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog

from interlock.core.errors import InterlockError, StoreError

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[None]]
"""Waits for seconds; asyncio.sleep outside tests."""

BATCH = 500
"""Items delivered at once: one transaction of a few milliseconds on SQLite."""

BACKLOG = 10_000
"""Waiting items above which the store counts as away: about 20 MB of events."""

GATHER_S = 0.05
"""Seconds for which a gateway gathers at most: half of what its recorders hold back (`recorder.FLUSH_AFTER_S`),
so whatever a crash costs, it is not more for this."""

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 5.0

_log = structlog.get_logger()


class Outbox(Generic[T]):
    """Delivers items in order, in batches, until the store has them."""

    def __init__(
        self,
        name: str,
        deliver: Callable[[Sequence[T]], Awaitable[None]],
        *,
        backlog: int = BACKLOG,
        gather: float = 0,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``gather``: how many seconds an item waits for company at most; 0: none."""
        self._name = name
        self._gather = gather
        self._timer: asyncio.TimerHandle | None = None  # while what waits is not due
        self._deliver = deliver
        self._backlog = backlog
        self._sleep = sleep
        self._waiting: deque[T] = deque()
        self._changed = asyncio.Event()  # set when run() has something to look at
        self._delivered = asyncio.Condition()
        self._put_count = self._delivered_count = 0
        self._stopping = False

    @property
    def healthy(self) -> bool:
        """Whether the store keeps up; when not, nothing new should be started that needs it."""
        return len(self._waiting) < self._backlog

    @property
    def waiting(self) -> int:
        """How many items wait."""
        return len(self._waiting)

    @property
    def first(self) -> T | None:
        """The item that has waited longest."""
        return self._waiting[0] if self._waiting else None

    @property
    def has_room(self) -> bool:
        """Whether less than half of the backlog waits."""
        return len(self._waiting) < self._backlog // 2

    def put(self, item: T) -> None:
        """Take an item; never blocks, never fails."""
        self._waiting.append(item)
        self._put_count += 1
        if not self._gather or self._stopping or len(self._waiting) >= BATCH:
            self._changed.set()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at((loop.time() // self._gather + 1) * self._gather, self._due)

    def _due(self) -> None:
        self._timer = None
        self._changed.set()

    async def flush(self) -> None:
        """Deliver all that was put so far, now; return when it is stored. Needs a running `run`."""
        self._changed.set()
        await self.delivered()

    async def delivered(self) -> None:
        """Return when all that was put so far is stored. Needs a running `run`."""
        wanted = self._put_count
        async with self._delivered:
            await self._delivered.wait_for(lambda: self._delivered_count >= wanted)

    def stop(self) -> None:
        """Make `run` return as soon as nothing waits any more."""
        self._stopping = True
        self._changed.set()

    async def run(self) -> None:
        """Deliver until stopped. Cancel it to give up on what a store that is away has not taken."""
        try:
            while self._waiting or not self._stopping:
                await self._changed.wait()
                self._changed.clear()
                due = self._put_count  # what comes meanwhile is gathered again
                while self._delivered_count < due:
                    await self._deliver_some()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._waiting:
                _log.error("outbox.abandoned", outbox=self._name, items=len(self._waiting))

    async def _deliver_some(self) -> None:
        batch = [self._waiting[i] for i in range(min(len(self._waiting), BATCH))]
        await self._until_taken(batch)
        for _ in batch:
            self._waiting.popleft()
        async with self._delivered:
            self._delivered_count += len(batch)
            self._delivered.notify_all()

    async def _until_taken(self, batch: Sequence[T]) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                await self._deliver(batch)
            except StoreError as error:
                _log.warning("outbox.retry", outbox=self._name, reason=error.reason, items=len(self._waiting))
            except InterlockError as error:
                await self._one_by_one(batch, error)
                return
            except Exception:  # noqa: BLE001 - a bug; losing events or all live sessions would be worse
                _log.exception("outbox.retry", outbox=self._name, items=len(self._waiting))
            else:
                return
            await self._sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)

    async def _one_by_one(self, batch: Sequence[T], error: InterlockError) -> None:
        """The store will never take this batch: find the item that it refuses, and go on without it."""
        if len(batch) == 1:
            _log.error("outbox.refused", outbox=self._name, reason=error.reason, item=repr(batch[0]))
            return
        for item in batch:
            await self._until_taken([item])

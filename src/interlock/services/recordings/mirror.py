"""Sync modes: what a recorder writes is on auth's storage as it happens, or the recorder hears of it in seconds.

The recorder hands each block over and goes on; a task of the session sends what has come together since the last
acknowledgement, one call at a time. What waits is bounded in bytes and in age. A storage that is away for a moment
is asked again; beyond the bounds the recorder is told, once, and nothing more is sent: the part on the local disk
has it all, and is delivered when the session has ended.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from interlock.core.errors import InterlockError, RecordingError, StoreError
from interlock.core.ids import SessionId
from interlock.core.limits import SYNC_BACKLOG, SYNC_BATCH, SYNC_LAG_S
from interlock.ports import Clock, RecordingPart, SyncStore
from interlock.services.audit.outbox import Sleep

PAUSE_S = 0.25
"""Seconds between two attempts while the storage is away."""

_log = structlog.get_logger()

OnLost = Callable[[RecordingError], None]


class MirroredPart:
    """`ports.RecordingPart`: a part whose blocks are also sent to auth's storage."""

    def __init__(self, part: RecordingPart, mirror: "Mirror") -> None:
        self._part = part
        self._mirror = mirror

    def append(self, data: bytes) -> None:
        """On the local disk now, on auth's storage soon; OSError if the disk here refuses."""
        self._part.append(data)
        self._mirror.put(data)

    def close(self) -> None:
        """No more blocks come."""
        self._part.close()
        self._mirror.close()

    def remove(self) -> None:
        """There never was a recording."""
        self._part.remove()
        self._mirror.abandon()


class Mirror:
    """Of one session. ``lag_s``: seconds that a block may be missing from the storage."""

    def __init__(
        self, sid: SessionId, store: SyncStore, *, clock: Clock, sleep: Sleep, lag_s: float = SYNC_LAG_S
    ) -> None:
        self.on_lost: OnLost = lambda _error: None  # set by whoever records; called on the event loop
        self._sid = sid
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._lag_s = lag_s
        self._waiting: deque[tuple[float, bytes]] = deque()  # since when, and what
        self._size = 0  # of what waits or is being sent
        self._sent = 0  # bytes that are on the storage
        self._changed = asyncio.Event()
        self._closed = False
        self._lost = False

    def put(self, data: bytes) -> None:
        """Send this soon; never blocks, never fails."""
        if self._lost or self._closed:
            return
        self._waiting.append((self._clock.monotonic(), data))
        self._size += len(data)
        self._changed.set()
        if self._size > SYNC_BACKLOG:
            error = RecordingError(_words("auth's storage does not keep up"), reason=f"{self._size} bytes wait")
            asyncio.get_running_loop().call_soon(self._give_up, error)

    def close(self) -> None:
        """Nothing more comes; what waits is still sent if that is easy, since a delivery of the whole follows."""
        self._closed = True
        self._changed.set()

    def abandon(self) -> None:
        """Nothing of it counts."""
        self._lost = True
        self._waiting.clear()
        self.close()

    async def run(self) -> None:
        """Send until closed or lost."""
        while not self._lost:
            if not self._waiting:
                if self._closed:
                    return
                self._changed.clear()
                await self._changed.wait()
                continue
            since, batch = self._batch()
            if await self._stored(since, batch):
                self._sent += len(batch)
                self._size -= len(batch)

    def _batch(self) -> tuple[float, bytes]:
        since, size = self._waiting[0][0], 0
        pieces: list[bytes] = []
        while self._waiting and (not pieces or size + len(self._waiting[0][1]) <= SYNC_BATCH):
            pieces.append(self._waiting.popleft()[1])
            size += len(pieces[-1])
        return since, b"".join(pieces)

    async def _stored(self, since: float, batch: bytes) -> bool:
        while not self._lost:
            try:
                async with asyncio.timeout(self._lag_s):
                    await self._store.extend(self._sid, self._sent, batch)
            except TimeoutError:
                self._give_up(_lost_to(StoreError("auth does not answer")))
            except StoreError as error:
                if self._closed or self._clock.monotonic() - since >= self._lag_s:
                    self._give_up(_lost_to(error))
                else:
                    await self._sleep(PAUSE_S)
            except InterlockError as error:
                self._give_up(_lost_to(error))
            except Exception as error:  # noqa: BLE001 - a bug, which must not leave a session unwatched
                _log.exception("mirror.failed", sid=self._sid)
                self._give_up(_lost_to(StoreError("internal error", reason=repr(error))))
            else:
                return True
        return False

    def _give_up(self, error: RecordingError) -> None:
        if self._lost:
            return
        self._lost = True
        self._waiting.clear()
        self._changed.set()
        if not self._closed:
            _log.error("mirror.lost", sid=self._sid, reason=error.reason)
            asyncio.get_running_loop().call_soon(self.on_lost, error)


class Mirrors:
    """The mirrors of a daemon. `run` belongs into a TaskGroup of the daemon; ``store``: None if it has none."""

    def __init__(
        self, store: SyncStore | None, *, clock: Clock, sleep: Sleep = asyncio.sleep, lag_s: float = SYNC_LAG_S
    ) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._lag_s = lag_s
        self._new: asyncio.Queue[Mirror] = asyncio.Queue()

    async def ready(self, sid: SessionId) -> None:
        """Whether a session may start; RecordingError if its recording would not be on auth's storage."""
        try:
            async with asyncio.timeout(self._lag_s):
                await self._found().ready(sid)
        except TimeoutError as error:
            raise _lost_to(StoreError("auth does not answer")) from error
        except InterlockError as error:
            raise _lost_to(error) from error

    def open(self, sid: SessionId) -> Mirror:
        """A mirror for a session's part; RecordingError if there is no storage."""
        mirror = Mirror(sid, self._found(), clock=self._clock, sleep=self._sleep, lag_s=self._lag_s)
        self._new.put_nowait(mirror)
        return mirror

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                mirror = await self._new.get()
                tasks.create_task(mirror.run(), name="mirror")

    def _found(self) -> SyncStore:
        if self._store is None:
            raise RecordingError(_words("this daemon has no storage for it"))
        return self._store


def _words(cause: str) -> str:
    return f"the session cannot be recorded as it happens: {cause}"


def _lost_to(error: InterlockError) -> RecordingError:
    return RecordingError(_words(error.public), reason=_words(error.reason))

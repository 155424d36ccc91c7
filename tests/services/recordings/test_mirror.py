"""Mirrors: what is written is on the storage as it happens, in bounded memory, or the recorder hears of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import Denied, InterlockError, RecordingError, StoreError
from interlock.core.ids import SessionId
from interlock.core.limits import SYNC_BACKLOG, SYNC_BATCH, SYNC_LAG_S
from interlock.services.recordings.mirror import PAUSE_S, Mirror, MirroredPart, Mirrors
from interlock.testing.clock import FakeClock
from interlock.testing.stores import VirtualSleep

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")


class Storage:
    """`ports.SyncStore` in memory. ``error``: what it raises instead; ``open``: whether calls end."""

    def __init__(self) -> None:
        self.data = b""
        self.calls: list[int] = []
        self.error: Exception | None = None
        self.open = asyncio.Event()
        self.open.set()
        self.in_progress = 0
        self.called = asyncio.Event()

    async def ready(self, sid: SessionId) -> None:
        assert sid == SID
        await self.open.wait()
        if self.error is not None:
            raise self.error

    async def extend(self, sid: SessionId, offset: int, data: bytes) -> None:
        assert sid == SID
        assert offset == len(self.data)
        self.in_progress += 1
        assert self.in_progress == 1
        self.called.set()
        try:
            await self.open.wait()
            if self.error is not None:
                raise self.error
            self.calls.append(len(data))
            self.data += data
        finally:
            self.in_progress -= 1


class Part:
    """`ports.RecordingPart` in memory."""

    def __init__(self) -> None:
        self.data = b""
        self.state = "open"

    def append(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        self.state = "closed"

    def remove(self) -> None:
        self.state = "removed"


class Desk:
    """A mirrored part and what happens to it."""

    def __init__(self, lag_s: float = SYNC_LAG_S) -> None:
        self.clock = FakeClock()
        self.sleep = VirtualSleep(self.clock)
        self.storage = Storage()
        self.mirror = Mirror(SID, self.storage, clock=self.clock, sleep=self.sleep, lag_s=lag_s)
        self.mirror.on_lost = self._lost
        self.disk = Part()
        self.part = MirroredPart(self.disk, self.mirror)
        self.lost: list[RecordingError] = []
        self.told = asyncio.Event()

    def _lost(self, error: RecordingError) -> None:
        self.lost.append(error)
        self.told.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run it, and wait until it ends by itself."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.mirror.run())
            yield


async def test_blocks_are_sent_in_order_and_the_last_one_too() -> None:
    """Closing the part does not cut off what waits."""
    desk = Desk()
    async with desk.running():
        for number in range(100):
            desk.part.append(b"%d " % number)
        desk.part.close()
    assert desk.storage.data == desk.disk.data == b"".join(b"%d " % number for number in range(100))
    assert desk.disk.state == "closed"
    assert desk.lost == []


@given(st.lists(st.integers(1, SYNC_BATCH), min_size=1, max_size=12))
def test_what_comes_together_goes_together(sizes: list[int]) -> None:
    """One call at a time, none longer than a batch, and nothing is lost or doubled."""

    async def check() -> None:
        desk = Desk()
        async with desk.running():
            for size in sizes:
                desk.part.append(b"x" * size)
                if size % 3 == 0:
                    await asyncio.sleep(0)
            desk.part.close()
        if not desk.lost:
            assert sum(desk.storage.calls) == sum(sizes)
        assert all(call <= SYNC_BATCH for call in desk.storage.calls)

    asyncio.run(check())


async def test_a_storage_that_is_away_for_a_moment_is_not_noticed() -> None:
    """An auth that is started again within the bound."""
    desk = Desk()
    desk.storage.error = StoreError("auth cannot be reached")
    async with desk.running():
        desk.part.append(b"one")
        await desk.sleep.wait_sleeper(PAUSE_S)
        desk.part.append(b"two")
        desk.storage.error = None
        desk.sleep.advance(PAUSE_S)
        desk.part.close()
    assert desk.storage.data == b"onetwo"
    assert desk.lost == []


async def test_a_storage_that_stays_away_is_told_once_and_in_time() -> None:
    """After so many seconds, with the cause; the disk here has everything, and nothing is held in memory."""
    desk = Desk()
    desk.storage.error = StoreError("auth cannot be reached")
    async with desk.running():
        desk.part.append(b"one")
        waited = 0.0
        while not desk.told.is_set():
            await desk.sleep.wait_sleeper(PAUSE_S)
            desk.sleep.advance(PAUSE_S)
            waited += PAUSE_S
            for _ in range(5):
                await asyncio.sleep(0)
        assert SYNC_LAG_S <= waited <= SYNC_LAG_S + PAUSE_S
        desk.part.append(b"two")
        desk.part.close()
    assert [error.public for error in desk.lost] == [
        "the session cannot be recorded as it happens: auth cannot be reached"
    ]
    assert desk.disk.data == b"onetwo"
    assert not desk.mirror._waiting


@pytest.mark.parametrize("error", [RecordingError("no"), Denied("no"), ValueError("a bug")])
async def test_what_will_never_be_taken_is_told_at_once(error: Exception) -> None:
    """A storage that refuses is not asked again; nor is one with a bug."""
    desk = Desk()
    desk.storage.error = error
    async with desk.running():
        desk.part.append(b"one")
        await desk.told.wait()
        desk.part.close()
    assert len(desk.lost) == 1
    assert desk.lost[0].public.endswith(": no") is isinstance(error, InterlockError)


async def test_a_storage_that_hangs_is_told_in_time() -> None:
    """The bound holds for a call as well, and the call is given up."""
    desk = Desk(lag_s=0.05)
    desk.storage.open.clear()
    async with desk.running():
        desk.part.append(b"one")
        await desk.told.wait()
    assert desk.storage.in_progress == 0
    assert "auth does not answer" in desk.lost[0].public


async def test_memory_is_bounded_while_a_call_hangs() -> None:
    """What does not fit is not kept: the session is told, and the disk here has it all."""
    desk = Desk()
    desk.storage.open.clear()
    async with desk.running():
        desk.part.append(b"x" * SYNC_BATCH)
        await desk.storage.called.wait()
        for _ in range(SYNC_BACKLOG // SYNC_BATCH + 3):
            desk.part.append(b"x" * SYNC_BATCH)
            await asyncio.sleep(0)
        await desk.told.wait()
        assert not desk.mirror._waiting
        desk.storage.open.set()
    assert "does not keep up" in desk.lost[0].public
    assert len(desk.disk.data) == (SYNC_BACKLOG // SYNC_BATCH + 4) * SYNC_BATCH


@pytest.mark.parametrize("end", [MirroredPart.close, MirroredPart.remove])
async def test_nobody_is_told_after_the_end(end: Callable[[MirroredPart], None]) -> None:
    """The whole recording is delivered then anyway."""
    desk = Desk()
    desk.storage.error = StoreError("auth cannot be reached")
    async with desk.running():
        desk.part.append(b"one")
        end(desk.part)
    assert desk.lost == []


@pytest.mark.parametrize("error", [None, StoreError("auth is away"), RecordingError("it is there already")])
async def test_ready_says_whether_a_session_may_start(error: InterlockError | None) -> None:
    """With the cause, in the words that the person reads."""
    storage = Storage()
    storage.error = error
    mirrors = Mirrors(storage, clock=FakeClock())
    if error is None:
        await mirrors.ready(SID)
        return
    with pytest.raises(RecordingError, match=f"cannot be recorded as it happens: {error.public}"):
        await mirrors.ready(SID)


async def test_ready_does_not_wait_for_ever() -> None:
    """An auth that accepts a call and does not answer it."""
    storage = Storage()
    storage.open.clear()
    with pytest.raises(RecordingError, match="auth does not answer"):
        await Mirrors(storage, clock=FakeClock(), lag_s=0.05).ready(SID)


async def test_a_daemon_without_storage_refuses() -> None:
    """A mode that cannot be kept is not quietly another one (R6)."""
    mirrors = Mirrors(None, clock=FakeClock())
    with pytest.raises(RecordingError, match="has no storage"):
        await mirrors.ready(SID)
    with pytest.raises(RecordingError, match="has no storage"):
        mirrors.open(SID)


async def test_all_mirrors_of_a_daemon_run_beside_each_other() -> None:
    """One that hangs holds up no other; stopping leaves none."""
    slow, quick = Storage(), Storage()
    slow.open.clear()

    class Both:
        async def ready(self, sid: SessionId) -> None:
            del sid

        async def extend(self, sid: SessionId, offset: int, data: bytes) -> None:
            await (slow if data == b"slow" else quick).extend(sid, offset, data)

    mirrors = Mirrors(Both(), clock=FakeClock())
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(mirrors.run())
        mirrors.open(SID).put(b"slow")
        await slow.called.wait()
        mirrors.open(SID).put(b"quick")
        await quick.called.wait()
        running.cancel()
    assert quick.data == b"quick"
    assert slow.in_progress == 0

"""Whatever fails, and whenever: one end, one recording that can be read, no tracker left, nothing stuck."""

import asyncio
import errno
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.blob.parts import LivePart
from interlock.adapters.system import SystemClock, SystemEntropy
from interlock.core.errors import RecordingError, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import AuditEvent
from interlock.domain.container import BLOCK_SIZE, decode
from interlock.domain.duties import NODE_DUTIES, RecordingMode
from interlock.domain.identity import Identity
from interlock.domain.recording import Coverage, Marker, Output, Stream
from interlock.domain.session import Exit, SessionContext, SessionKind, Start, Window
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import Tracker, TrackerState
from interlock.services.audit.emitter import Emitter
from interlock.services.sessions.sessions import Sessions
from interlock.testing.stores import MemoryAuditLog, MemoryTrackers

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
NODE = DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166")
CONTEXT = SessionContext(
    sid=SID,
    identity=Identity("jeff", ("access",), "demo"),
    login="root",
    target=Target(NODE, "web1", "10.0.0.5", 22, SubKind.NODE),
    mode=RecordingMode.NODE,
    duties=NODE_DUTIES[RecordingMode.NODE, False],
    daemon_id=NODE,
    client_addr="10.5.5.3:65066",
)


class Nth:
    """Makes the nth of all operations fail once; ``reached`` tells whether there were that many."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0

    @property
    def reached(self) -> bool:
        return self.count >= self.number

    def due(self) -> bool:
        self.count += 1
        return self.count == self.number


class FailingAudit(MemoryAuditLog):
    """Fails when it is due."""

    def __init__(self, nth: Nth) -> None:
        super().__init__()
        self.nth = nth

    async def append(self, events: Sequence[AuditEvent]) -> None:
        if self.nth.due():
            raise StoreError("away")
        await super().append(events)


class FailingTrackers(MemoryTrackers):
    """Fails when it is due."""

    def __init__(self, nth: Nth) -> None:
        super().__init__()
        self.nth = nth

    async def put(self, tracker: Tracker) -> None:
        if self.nth.due():
            raise StoreError("away")
        await super().put(tracker)


class FailingPart(LivePart):
    """Fails when it is due."""

    def __init__(self, path: Path, nth: Nth) -> None:
        super().__init__(path)
        self.nth = nth

    def append(self, data: bytes) -> None:
        if self.nth.due():
            raise OSError(errno.EIO, "Input/output error")
        super().append(data)


T = TypeVar("T")


class FailingFiles(FileRecordings):
    """Every operation on the disk fails when it is due."""

    def __init__(self, directory: Path, nth: Nth) -> None:
        super().__init__(directory)
        self.nth = nth

    def create(self, sid: SessionId) -> LivePart:
        if self.nth.due():
            raise OSError(errno.ENOSPC, "No space left on device")
        return FailingPart(self.path(sid), self.nth)

    async def store(self, sid: SessionId, path: Path) -> str:
        return await self._perhaps(lambda: super(FailingFiles, self).store(sid, path))

    async def discard(self, sid: SessionId) -> None:
        await self._perhaps(lambda: super(FailingFiles, self).discard(sid))

    async def mend(self, sid: SessionId, keep: int, tail: bytes) -> None:
        await self._perhaps(lambda: super(FailingFiles, self).mend(sid, keep, tail))

    async def _perhaps(self, step: Callable[[], Awaitable[T]]) -> T:
        if self.nth.due():
            raise StoreError("the disk failed")
        return await step()


async def one_session(directory: Path, nth: Nth) -> tuple[MemoryAuditLog, MemoryTrackers, bool]:
    """Run one session that ends as soon as its recording fails; whether it started."""
    audit, trackers, files = FailingAudit(nth), FailingTrackers(nth), FailingFiles(directory, nth)

    async def no_time(seconds: float) -> None:
        await asyncio.sleep(0 if seconds < 9 else seconds)

    emitter = Emitter(audit, sleep=no_time)
    sessions = Sessions(
        daemon_id=NODE,
        cluster="demo",
        clock=SystemClock(),
        entropy=SystemEntropy(),
        emitter=emitter,
        trackers=trackers,
        parts=files,
        recordings=files,
        sleep=no_time,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(emitter.run())
        tasks.create_task(sessions.run())
        await sessions.wait_recovered()
        session = sessions.agree(CONTEXT)
        session.on_failure = lambda error: session.end(tx=1, rx=1, reason=error.public)
        try:
            session.start(Start(SessionKind.SHELL, window=Window(80, 24)))
        except RecordingError:
            session.end(tx=0, rx=0)
        for _ in range(3):
            session.output(Stream.STDOUT, b"x" * BLOCK_SIZE)
        session.exited(Exit(status=0))
        session.end(tx=1, rx=1)
        await sessions.end_all("stop")
        sessions.stop()
        emitter.stop()
    return audit, trackers, session.started


async def test_every_single_failure_is_survived(tmp_path: Path) -> None:
    """Failing the first, second, … operation, until none fails: each time the books are straight."""
    for number in range(1, 100):
        directory = tmp_path / str(number)
        nth = Nth(number)
        audit, trackers, started = await one_session(directory, nth)
        names = [name for _, name, _ in audit.of(SID)]
        assert [index for index, _, _ in audit.of(SID)] == list(range(len(names))), names
        assert trackers.stored[SID].state is TrackerState.TERMINATED
        files = FileRecordings(directory)
        if started:
            assert [names.count(name) for name in ("session.start", "session.end", "session.upload")] == [1, 1, 1]
            frames = list(decode([chunk async for chunk in files.read(SID)]))
            assert isinstance(frames[-1].body, Exit)
        else:
            assert names == ["session.rejected"]
        assert await files.unfinished() == []
        if not nth.reached:
            return
    pytest.fail("the flow never completed without a failure")


VICTIM = """
    import asyncio, sys
    from pathlib import Path
    sys.path.insert(0, str(Path({tests!r})))
    from test_sessions_faults import *

    async def main():
        files = FileRecordings(Path({directory!r}))
        audit = MemoryAuditLog()
        emitter = Emitter(audit)
        sessions = Sessions(
            daemon_id=NODE, cluster="demo", clock=SystemClock(), entropy=SystemEntropy(), emitter=emitter,
            trackers=MemoryTrackers(), parts=files, recordings=files,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(emitter.run())
            tasks.create_task(sessions.run())
            session = sessions.agree(CONTEXT)
            session.start(Start(SessionKind.SHELL, window=Window(80, 24)))
            session.output(Stream.STDOUT, b"evidence")
            await asyncio.sleep(0.3)
            print("ready", flush=True)
            while True:
                session.output(Stream.STDOUT, bytes(range(256)) * 64)
                await asyncio.sleep(0)

    asyncio.run(main())
"""


def record_and_die(directory: Path, more: int) -> None:
    """Record in another process, and kill it when it has written so many bytes beyond its first output."""
    script = textwrap.dedent(VICTIM).format(tests=str(Path(__file__).parent), directory=str(directory))
    part = FileRecordings(directory).path(SID)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as victim:
        try:
            assert victim.stdout is not None
            assert victim.stdout.readline() == "ready\n"
            flushed = part.stat().st_size
            while part.stat().st_size < flushed + more:
                pass
        finally:
            victim.kill()


@pytest.mark.slow
@pytest.mark.parametrize("more", [0, 3000, 6000])
async def test_a_process_killed_while_it_records_loses_its_last_moment_only(tmp_path: Path, more: int) -> None:
    """After a real kill -9 in the middle of heavy output, all that was flushed is in the recording."""
    directory = tmp_path / "recordings"
    await asyncio.to_thread(record_and_die, directory, more)
    audit, trackers = await recovered(directory)
    names = [name for _, name, _ in audit.of(SID)]
    assert names == ["session.start", "session.end", "session.leave", "session.upload"]
    assert trackers.stored[SID].state is TrackerState.TERMINATED
    frames = list(decode([chunk async for chunk in FileRecordings(directory).read(SID)]))
    assert frames[1].body == Output(Stream.STDOUT, b"evidence")
    assert isinstance(frames[-1].body, Exit)
    assert isinstance(frames[-2].body, Coverage)
    torn = [frame.body for frame in frames if isinstance(frame.body, Marker)]
    assert len(torn) <= 1, "a write that the signal cut short is noted"
    output = [frame.body for frame in frames[2:-2] if frame.body not in torn]
    assert all(isinstance(each, Output) and each.stream is Stream.STDOUT for each in output)
    recorded = b"".join(each.data for each in output if isinstance(each, Output))
    once = bytes(range(256)) * 64
    assert recorded == once * (len(recorded) // len(once)), "whole writes only, in order"


async def recovered(directory: Path) -> tuple[MemoryAuditLog, MemoryTrackers]:
    """Start a daemon on the directory, and stop it when everything is recovered."""
    audit, trackers, files = MemoryAuditLog(), MemoryTrackers(), FileRecordings(directory)
    emitter = Emitter(audit)
    sessions = Sessions(
        daemon_id=NODE,
        cluster="demo",
        clock=SystemClock(),
        entropy=SystemEntropy(),
        emitter=emitter,
        trackers=trackers,
        parts=files,
        recordings=files,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(emitter.run())
        tasks.create_task(sessions.run())
        await sessions.wait_recovered()
        await sessions.end_all("stop")
        sessions.stop()
        emitter.stop()
    return audit, trackers

"""What a session says of how it was recorded, in its recording and in its end, however it went.

The daemon is that of `test_sessions`; here its disk fails and its roles differ.
"""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.blob.parts import LivePart
from interlock.core.errors import NotFound, RecordingError, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.access import NOTHING_SPECIAL, Access, Strictness
from interlock.domain.audit import JsonValue
from interlock.domain.container import decode
from interlock.domain.coverage import Level
from interlock.domain.duties import FORWARDER_DUTIES, NODE_DUTIES, Duties, RecordingMode
from interlock.domain.identity import Identity
from interlock.domain.recording import Marker, Output, Stream
from interlock.domain.session import Exit, SessionContext, SessionKind, Start, Window
from interlock.domain.survey import Survey, survey
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import TrackerState
from interlock.services.audit.emitter import Emitter
from interlock.services.recordings.mirror import PAUSE_S
from interlock.services.sessions.sessions import LiveSession, Sessions
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.stores import FakeTimers, MemoryAuditLog, MemoryTrackers, VirtualSleep

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
PROXY = DaemonId("31486a8f-ed19-45e7-9610-ddb916493e52")
TERMINAL = Window(80, 24)
STREAMS = {Stream.STDOUT: b"to stdout", Stream.STDERR: b"to stderr", Stream.STDIN: b"to stdin"}


class Disk(FileRecordings):
    """Refuses what it is told to refuse, as a disk does."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.refuses_parts = self.refuses_blocks = 0  # errno, or 0

    def create(self, sid: SessionId) -> LivePart:
        if self.refuses_parts:
            raise OSError(self.refuses_parts, "the disk refuses", "part")
        disk = self

        class Part(LivePart):
            def append(self, data: bytes) -> None:
                if disk.refuses_blocks:
                    raise OSError(disk.refuses_blocks, "the disk refuses", "part")
                super().append(data)

        return Part(self.path(sid))


class Auth:
    """`ports.SyncStore` in memory, which may be away."""

    def __init__(self) -> None:
        self.data = b""
        self.away = False
        self.grew = asyncio.Event()

    async def ready(self, sid: SessionId) -> None:
        assert sid == SID
        if self.away:
            raise StoreError("auth cannot be reached")

    async def extend(self, sid: SessionId, offset: int, data: bytes) -> None:
        await self.ready(sid)
        assert offset == len(self.data)
        self.data += data
        self.grew.set()


@dataclass
class Daemon:
    """A recording daemon."""

    directory: Path
    audit: MemoryAuditLog = field(default_factory=MemoryAuditLog)
    trackers: MemoryTrackers = field(default_factory=MemoryTrackers)
    clock: FakeClock = field(default_factory=FakeClock)
    timers: FakeTimers = field(default_factory=FakeTimers)
    failures: list[RecordingError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.disk = Disk(self.directory)
        self.auth = Auth()
        self.sleep = VirtualSleep(self.clock)
        self.emitter = Emitter(self.audit, sleep=self.sleep)
        self.sessions = Sessions(
            daemon_id=PROXY,
            cluster="demo",
            clock=self.clock,
            entropy=FakeEntropy(),
            emitter=self.emitter,
            trackers=self.trackers,
            parts=self.disk,
            recordings=self.disk,
            sync=self.auth,
            sleep=self.sleep,
            call_later=self.timers.call_later,
        )

    @asynccontextmanager
    async def session(
        self,
        access: Access = NOTHING_SPECIAL,
        mode: RecordingMode = RecordingMode.NODE,
        duties: Duties | None = None,
    ) -> AsyncIterator[LiveSession]:
        """One session, ended and stored at the end."""
        target = Target(DaemonId("t"), "web1", "10.0.0.5", 22, SubKind.NODE)
        ctx = SessionContext(
            sid=SID,
            identity=Identity("jeff", ("access",), "demo"),
            login="root",
            target=target,
            mode=mode,
            duties=duties or NODE_DUTIES[mode, False],
            daemon_id=PROXY,
            client_addr="10.5.5.3:65066",
            access=access,
        )
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.emitter.run())
            tasks.create_task(self.sessions.run())
            session = self.sessions.agree(ctx)
            session.on_failure = self.failures.append
            try:
                yield session
                session.exited(Exit(status=0))
                session.end(tx=1, rx=2)
                await self.sessions.end_all("over")
            finally:
                self.sessions.stop()
                self.emitter.stop()

    async def stored(self) -> Survey | None:
        """What the stored recording covers; None if there is none."""
        try:
            return survey([chunk async for chunk in self.disk.read(SID)])
        except NotFound:
            return None

    async def kept(self, stream: Stream) -> bytes:
        """The bytes of a stream that are in the recording."""
        frames = decode([chunk async for chunk in self.disk.read(SID)])
        bodies = [frame.body for frame in frames]
        return b"".join(body.data for body in bodies if isinstance(body, Output) and body.stream is stream)

    def event(self, name: str) -> dict[str, JsonValue]:
        """The one event of this name."""
        [found] = [event.to_json() for event in self.audit.stored if event.kind.event == name]
        return found

    def names(self) -> list[str]:
        """Of all events, in order."""
        return [event.kind.event for event in self.audit.stored]


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """A daemon with a disk of its own."""
    return Daemon(tmp_path)


@pytest.mark.parametrize("mode", RecordingMode)
@pytest.mark.parametrize("asked", [False, True], ids=["output", "input-too"])
@pytest.mark.parametrize("window", [TERMINAL, None], ids=["pty", "none"])
@pytest.mark.parametrize("kind", SessionKind)
async def test_every_kind_of_session_in_every_mode(
    daemon: Daemon, kind: SessionKind, window: Window | None, asked: bool, mode: RecordingMode
) -> None:
    """R3: output always, input of commands if asked for; recording and end say the same; off keeps nothing."""
    async with daemon.session(Access(record_input=asked), mode) as session:
        session.start(Start(kind, command="x" if kind is not SessionKind.SHELL else "", window=window))
        session.output(Stream.STDOUT, STREAMS[Stream.STDOUT])
        session.output(Stream.STDERR, STREAMS[Stream.STDERR])
        session.input(STREAMS[Stream.STDIN])
    off, keeps_input = mode is RecordingMode.OFF, asked and window is None
    coverage = daemon.event("session.end")["coverage"]
    assert isinstance(coverage, list)
    levels = {str(row["what"]): row["level"] for row in coverage if isinstance(row, dict)}
    assert levels == {
        "session": "none" if off else "full",
        "input": "full" if keeps_input and not off else "none",
    }
    assert daemon.names().count("session.upload") == (not off)
    assert daemon.event("session.start").get("session_recording") == (
        None if mode in {RecordingMode.NODE, RecordingMode.PROXY} else mode.value
    )
    assert daemon.trackers.stored[SID].state is TrackerState.TERMINATED
    assert daemon.trackers.stored[SID].recording_mode == mode.value
    stored = await daemon.stored()
    assert (stored is None) is off
    if stored is not None:
        assert [row.row() for row in stored.coverage] == coverage
        for stream, said in STREAMS.items():
            assert await daemon.kept(stream) == (said if keeps_input or stream is not Stream.STDIN else b"")


async def test_forwards_are_in_the_manifest(daemon: Daemon) -> None:
    """Before the start and after it; also when the process dies before the end is written."""
    async with daemon.session() as session:
        session.cover("auth-agent@openssh.com", Level.NONE, why="the agent's keys are the user's")
        session.start(Start(SessionKind.SHELL, window=TERMINAL))
        session.cover("direct-tcpip", Level.METADATA, why="as bytes and peers", where="10.0.0.1:80")
        daemon.timers.fire()
        as_if_killed = survey([daemon.disk.path(SID).read_bytes()])
    assert [(row.what, row.where) for row in as_if_killed.coverage] == [
        ("auth-agent@openssh.com", ""),
        ("direct-tcpip", "10.0.0.1:80"),
    ]
    stored = await daemon.stored()
    assert stored is not None
    assert [row.what for row in stored.coverage] == ["session", "input", "auth-agent@openssh.com", "direct-tcpip"]
    assert daemon.event("session.end")["coverage"] == [row.row() for row in stored.coverage]


@pytest.mark.parametrize("cause", [errno.ENOSPC, errno.EIO, errno.EROFS])
async def test_strict_refuses_to_start(daemon: Daemon, cause: int) -> None:
    """R10: nothing runs that is not recorded; the refusal is in the audit log."""
    daemon.disk.refuses_parts = cause
    async with daemon.session() as session:
        with pytest.raises(RecordingError, match="cannot be recorded"):
            session.start(Start(SessionKind.EXEC, command="ls"))
    assert daemon.names() == ["session.rejected"]


@pytest.mark.parametrize("cause", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("refused", ["refuses_parts", "refuses_blocks"])
async def test_best_effort_starts_unrecorded_and_says_so(daemon: Daemon, refused: str, cause: int) -> None:
    """R10: an event when it happens, and the manifest in the session's end, as there is no recording."""
    setattr(daemon.disk, refused, cause)
    async with daemon.session(Access(record_session=Strictness.BEST_EFFORT)) as session:
        session.start(Start(SessionKind.EXEC, command="ls"))
        session.output(Stream.STDOUT, b"lost")
    assert daemon.names() == [
        "session.start",
        "session.recording.lapse",
        "exec",
        "session.end",
        "session.leave",
        "session.data",
    ]
    why = "the session cannot be recorded: the disk refuses"
    assert daemon.event("session.recording.lapse")["message"] == why
    coverage = daemon.event("session.end")["coverage"]
    assert isinstance(coverage, list)
    assert coverage[0] == {"what": "session", "level": "none", "why": why}
    assert await daemon.stored() is None
    assert not list(daemon.directory.rglob("*.part"))
    assert daemon.failures == []


@pytest.mark.parametrize("cause", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("strictness", Strictness)
@pytest.mark.parametrize("comes_back", [True, False])
async def test_a_disk_that_refuses_in_the_middle(
    daemon: Daemon, strictness: Strictness, comes_back: bool, cause: int
) -> None:
    """R10: strict tells the SSH server to end it; best effort tells the audit log; both mark the gap."""
    async with daemon.session(Access(record_session=strictness)) as session:
        session.start(Start(SessionKind.SHELL, window=TERMINAL))
        session.output(Stream.STDOUT, b"kept")
        daemon.timers.fire()
        daemon.disk.refuses_blocks = cause
        session.output(Stream.STDOUT, b"lost")
        daemon.timers.fire()
        if comes_back:
            daemon.disk.refuses_blocks = 0
            daemon.timers.fire()
        session.output(Stream.STDOUT, b"later")
    strict = strictness is Strictness.STRICT
    lost = 4 if comes_back and not strict else 9
    assert len(daemon.failures) == strict
    assert daemon.names().count("session.recording.lapse") == (not strict)
    stored = await daemon.stored()
    assert stored is not None
    assert stored.gaps == (Marker("gap", "the disk refuses", stdout=lost),)
    assert stored.exit == Exit(status=0)
    assert await daemon.kept(Stream.STDOUT) == (b"kept" if lost == 9 else b"keptlater")
    coverage = daemon.event("session.end")["coverage"]
    assert coverage == [row.row() for row in stored.coverage]
    assert isinstance(coverage, list)
    assert coverage[0] == {"what": "session", "level": "partial", "why": f"{lost} bytes: the disk refuses"}


async def test_a_daemon_whose_session_others_record_says_nothing(daemon: Daemon) -> None:
    """Its calls are the same and harmless."""
    duties = FORWARDER_DUTIES[RecordingMode.NODE, SubKind.NODE]
    async with daemon.session(duties=duties) as session:
        session.start(Start(SessionKind.SHELL, window=TERMINAL))
        session.cover("direct-tcpip", Level.METADATA)
        session.input(b"typed")
    assert daemon.names() == []
    assert await daemon.stored() is None


@pytest.mark.parametrize("limit", [0, 1, 9, None])
async def test_the_roles_limit_is_the_recorders(daemon: Daemon, limit: int | None) -> None:
    """In bytes, of sessions without a terminal only."""
    async with daemon.session(Access(exec_output_limit=limit)) as session:
        session.start(Start(SessionKind.EXEC, command="ls"))
        session.output(Stream.STDOUT, b"123456789")
    assert await daemon.kept(Stream.STDOUT) == b"123456789"[: 9 if limit is None else limit]


SYNC = [mode for mode in RecordingMode if mode.sync]


@pytest.mark.parametrize("mode", SYNC)
async def test_in_sync_modes_auth_has_it_while_it_happens(daemon: Daemon, mode: RecordingMode) -> None:
    """Every block that is written is there too before the session ends; the rest follows, with one upload."""
    async with daemon.session(mode=mode) as session:
        await session.ready()
        session.start(Start(SessionKind.SHELL, window=TERMINAL))
        session.output(Stream.STDOUT, b"evidence")
        daemon.timers.fire()
        while survey([daemon.auth.data]).last == 0 and b"evidence" not in daemon.auth.data:
            daemon.auth.grew.clear()
            await daemon.auth.grew.wait()
        assert daemon.auth.data == daemon.disk.path(SID).read_bytes()
    assert daemon.names().count("session.upload") == 1
    assert (await daemon.kept(Stream.STDOUT)) == b"evidence"


@pytest.mark.parametrize("mode", SYNC)
@pytest.mark.parametrize("strictness", Strictness)
async def test_nothing_starts_that_auth_would_not_have(
    daemon: Daemon, strictness: Strictness, mode: RecordingMode
) -> None:
    """R10: an auth that is away refuses the session, in words; by best effort it starts."""
    daemon.auth.away = True
    async with daemon.session(Access(record_session=strictness), mode) as session:
        if strictness is Strictness.STRICT:
            with pytest.raises(RecordingError, match="cannot be recorded as it happens: auth cannot be reached"):
                await session.ready()
        else:
            await session.ready()
    assert daemon.names() == (["session.rejected"] if strictness is Strictness.STRICT else [])


@pytest.mark.parametrize("strictness", Strictness)
async def test_an_auth_that_goes_away_in_the_middle(daemon: Daemon, strictness: Strictness) -> None:
    """R10: strict ends the session within seconds; best effort tells. The disk here has and delivers it all."""
    async with daemon.session(Access(record_session=strictness), RecordingMode.NODE_SYNC) as session:
        await session.ready()
        session.start(Start(SessionKind.SHELL, window=TERMINAL))
        daemon.auth.away = True
        session.output(Stream.STDOUT, b"evidence")
        daemon.timers.fire()
        while not daemon.failures and "session.recording.lapse" not in daemon.names():
            await daemon.sleep.wait_sleeper(PAUSE_S)
            daemon.sleep.advance(PAUSE_S)
            for _ in range(10):
                await asyncio.sleep(0)
        assert (len(daemon.failures), daemon.names().count("session.recording.lapse")) == (
            (1, 0) if strictness is Strictness.STRICT else (0, 1)
        )
    stored = await daemon.stored()
    assert stored is not None
    assert await daemon.kept(Stream.STDOUT) == b"evidence"
    assert stored.exit == Exit(status=0)
    assert [(row.what, row.level) for row in stored.coverage] == [
        ("session", Level.FULL),
        ("input", Level.NONE),
        ("sync", Level.PARTIAL),
    ]
    assert daemon.names().count("session.upload") == 1


@pytest.mark.parametrize("mode", [mode for mode in RecordingMode if not mode.sync])
async def test_other_modes_need_no_auth(daemon: Daemon, mode: RecordingMode) -> None:
    """They start and go on while it is away."""
    daemon.auth.away = True
    async with daemon.session(mode=mode) as session:
        await session.ready()
        session.start(Start(SessionKind.SHELL, window=TERMINAL))
    assert daemon.failures == []
    assert daemon.auth.data == b""

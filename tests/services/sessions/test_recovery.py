"""After kill -9: every session that was live becomes one recording with one end, whatever was on disk."""

import asyncio
import shutil
from pathlib import Path

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.core.errors import RecordingError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import BY_RECOVERY, SYNTHESIZED, Kind
from interlock.domain.container import FreshKey, Standing, Verdict, decode, frames_from, verify
from interlock.domain.duties import NODE_DUTIES, RecordingMode
from interlock.domain.identity import Identity
from interlock.domain.metrics import Metric
from interlock.domain.recording import DIED, Coverage, Frame, Marker, Output, Stream
from interlock.domain.room import Bounds, Step, Usage
from interlock.domain.session import Exit, SessionContext, SessionKind, Start, Window
from interlock.domain.survey import Survey
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import TrackerState
from interlock.ports import EventFilter
from interlock.services.audit.emitter import Emitter, EventFactory
from interlock.services.operation.meters import Meters
from interlock.services.recordings.recorder import MAX_FRAME
from interlock.services.recordings.room import Room
from interlock.services.sessions.claims import SessionClaims
from interlock.services.sessions.recovery import PAUSE_S
from interlock.services.sessions.sessions import LiveSession, Sessions
from interlock.services.sessions.sweeper import missing_end
from interlock.services.sessions.trackers import HEARTBEAT_S
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.recordings import AUTHORITY, CONTENT, signer
from interlock.testing.stores import FakeTimers, MemoryAuditLog, MemoryTrackers, VirtualSleep

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
OTHER = SessionId("8d57a9d5-3e0f-4c0b-8f0e-0a4f1f5f7a11")
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
WHOLE = ["session.start", "session.end", "session.leave", "session.upload"]


class World:
    """What outlives a daemon: the stores, the disk, the clock."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.audit = MemoryAuditLog()
        self.trackers = MemoryTrackers()
        self.clock = FakeClock()
        self.sleep = VirtualSleep(self.clock)
        self.lives = 0

    @property
    def files(self) -> FileRecordings:
        return FileRecordings(self.directory)

    async def gone(self, session: LiveSession) -> None:
        """Its process is dead: nobody has its part open, not even a thread that brings it to the disk."""
        session.recorder._part.close()  # type: ignore[attr-defined]
        while not await self.files.unfinished():  # noqa: ASYNC110 - a thread closes it
            await asyncio.sleep(0.001)

    def names(self, sid: SessionId = SID) -> list[str]:
        """The session's events; fails if their numbers have a gap."""
        events = self.audit.of(sid)
        assert [index for index, _, _ in events] == list(range(len(events)))
        return [name for _, name, _ in events]

    async def proved(self, sid: SessionId = SID) -> Verdict:
        """What the stored recording proves."""
        return verify([chunk async for chunk in self.files.read(sid)], [AUTHORITY.public], sid=sid)

    async def frames(self, sid: SessionId = SID) -> list[Frame]:
        """The stored recording, without its header and its manifest."""
        found = list(decode([chunk async for chunk in self.files.read(sid)]))[1:]
        return [frame for frame in found if not isinstance(frame.body, Coverage)]


class Encrypting:
    """`ports.ContentKeys`."""

    known = True

    async def wait_known(self) -> None:
        """It is."""

    def fresh(self) -> FreshKey:
        return CONTENT


class ScarceDisk:
    """`ports.RecordingDisk` with little room."""

    def usage(self) -> Usage:
        return Usage(1 << 30, 1 << 20, 0)

    def hold(self, size: int) -> None:
        """It is held."""

    def release(self) -> None:
        """It is given."""


SPILLING = Bounds(spill=1 << 21, refuse=1 << 16, reserve=0)


class Life:
    """One run of the daemon on that world."""

    def __init__(self, world: World, content: Encrypting | None = None, room: Room | None = None) -> None:
        world.lives += 1
        self.world = world
        self.timers = FakeTimers()
        self.emitter = Emitter(world.audit, sleep=world.sleep)
        self.files = world.files
        self.claims = SessionClaims()
        self.meters = Meters()
        self.sessions = Sessions(
            daemon_id=NODE,
            cluster="demo",
            clock=world.clock,
            entropy=FakeEntropy(world.lives),
            emitter=self.emitter,
            trackers=world.trackers,
            parts=self.files,
            recordings=self.files,
            claims=self.claims,
            signer=lambda: signer(NODE),
            content=content,
            room=room,
            meters=self.meters,
            sleep=world.sleep,
            call_later=self.timers.call_later,
        )

    async def killed_after(self, start: Start, *, flush: bool = True, events: bool = True) -> None:
        """Run one session, and die in the middle of it, with or without what was in memory."""
        session = self.sessions.agree(CONTEXT)
        session.start(start)
        session.output(Stream.STDOUT, b"evidence")
        self.world.clock.advance(3)
        session.resize(Window(100, 30))
        if flush:
            self.timers.fire()
        if events:
            self.emitter.stop()
            await self.emitter.run()
        await self.world.gone(session)

    async def recovers(self) -> None:
        """Start on what is there, and stop when nothing is left to do."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.emitter.run())
            tasks.create_task(self.sessions.run())
            await self.sessions.wait_recovered()
            await self.sessions.end_all("stop")
            self.sessions.stop()
            self.emitter.stop()


SHELL = Start(SessionKind.SHELL, window=Window(80, 24))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world without history."""
    return World(tmp_path / "recordings")


async def test_a_killed_session_becomes_a_recording_with_an_end(world: World) -> None:
    """What was flushed is kept, the end says why, the events continue without a gap, the tracker ends."""
    await Life(world).killed_after(SHELL)
    await Life(world).recovers()
    assert world.names() == ["session.start", "resize", "session.end", "session.leave", "session.upload"]
    assert await world.frames() == [
        Frame(0, Output(Stream.STDOUT, b"evidence")),
        Frame(3_000_000, Window(100, 30)),
        Frame(3_000_000, Exit(error=DIED)),
    ]
    end = world.audit.stored[2].to_json()
    assert (end["session_start"], end["session_stop"]) == ("2026-01-10T22:23:57.642Z", "2026-01-10T22:24:00.642Z")
    assert (end["user"], end["recorded_by"], end["interactive"]) == ("jeff", NODE, True)
    assert end["coverage"] == [{"what": "session", "level": "partial", "why": DIED}]
    assert world.trackers.stored[SID].state is TrackerState.TERMINATED
    assert await world.files.unfinished() == []


async def test_a_full_disk_takes_nothing_from_what_is_live(world: World) -> None:
    """While finished recordings are spilled, the part stays whole: from it alone it is finished."""
    room = Room(ScarceDisk(), lambda _total: SPILLING)
    life = Life(world, room=room)
    life.sessions.metered()
    session = life.sessions.agree(CONTEXT)
    session.start(SHELL)
    session.output(Stream.STDOUT, b"evidence")
    life.timers.fire()
    assert room.look() is Step.SPILL
    path = life.files.path(SID)
    assert life.meters.reading().value(Metric.LIVE_BYTES) == path.stat().st_size
    assert path.stat().st_blocks * 512 >= path.stat().st_size, "it has no holes"
    await world.gone(session)
    await Life(world, room=room).recovers()
    assert Frame(0, Output(Stream.STDOUT, b"evidence")) in await world.frames()


async def test_a_silent_session_ends_when_it_was_last_alive(world: World) -> None:
    """Somebody sat before an idle shell for a minute when the daemon was killed: the end says so."""
    life = Life(world)
    async with asyncio.TaskGroup() as tasks:
        tending = tasks.create_task(life.sessions.run())
        life.sessions.agree(CONTEXT).start(SHELL)
        for _ in range(6):
            await world.sleep.wait_sleeper(HEARTBEAT_S)
            world.sleep.advance(HEARTBEAT_S)
        while life.files._marks.lasted(SID) < 60_000_000:  # noqa: ASYNC110 - a thread writes it
            await asyncio.sleep(0.001)
        tending.cancel()
    [session] = life.sessions.live
    await world.gone(session)
    assert life.timers.pending == []
    await Life(world).recovers()
    [end] = [event.to_json() for event in world.audit.stored if event.kind is Kind.SESSION_END]
    assert (end["session_start"], end["session_stop"]) == ("2026-01-10T22:23:57.642Z", "2026-01-10T22:24:57.642Z")
    assert (await world.frames())[-1] == Frame(60_000_000, Exit(error=DIED))


async def test_events_that_died_in_memory_are_written_from_the_recording(world: World) -> None:
    """Even the start is known from the part's header."""
    await Life(world).killed_after(SHELL, flush=False, events=False)
    await Life(world).recovers()
    assert world.names() == WHOLE
    start = world.audit.stored[0].to_json()
    assert (start["size"], start["user"], start["addr.remote"]) == ("80:24", "jeff", "10.5.5.3:65066")
    assert start["time"] == "2026-01-10T22:23:57.642Z"
    assert await world.frames() == [Frame(0, Exit(error=DIED))]


async def test_recovering_ten_times_is_recovering_once(world: World) -> None:
    """However often the daemon starts, there is one recording and one set of events."""
    await Life(world).killed_after(SHELL)
    for _ in range(10):
        await Life(world).recovers()
    assert world.names() == ["session.start", "resize", "session.end", "session.leave", "session.upload"]
    assert len(await world.files.recordings()) == 1


async def test_a_crash_between_storing_and_discarding_repeats_nothing(world: World) -> None:
    """The recording is stored, its part still there: the next start adds no event and clears up."""
    await Life(world).killed_after(SHELL)
    kept = world.directory / "kept"
    shutil.copy(world.files.path(SID), kept)
    await Life(world).recovers()
    kept.replace(world.files.path(SID))
    before = world.names()
    await Life(world).recovers()
    assert world.names() == before
    assert await world.files.unfinished() == []


async def test_a_swept_session_gets_its_end_from_the_recording(world: World) -> None:
    """If auth has made up an end meanwhile, recovery, which knows more, replaces it: still one, and no gap."""
    await Life(world).killed_after(SHELL)
    factory = EventFactory(cluster="demo", clock=world.clock, entropy=FakeEntropy(99))
    stored = await world.audit.events(EventFilter(sid=SID))
    end = missing_end(SID, stored, last_seen=world.clock.now(), factory=factory)
    assert end is not None
    await world.audit.append([end])
    assert world.names() == ["session.start", "resize", "session.end"]
    await Life(world).recovers()
    assert world.names() == ["session.start", "resize", "session.end", "session.leave", "session.upload"]
    assert world.audit.stored[2].fields[SYNTHESIZED] == BY_RECOVERY


async def test_what_recovery_makes_up_is_marked(world: World) -> None:
    """What the daemon stored while it lived is not, and neither is the upload, which happens now."""
    await Life(world).killed_after(SHELL)
    await Life(world).recovers()
    marks = [event.fields.get(SYNTHESIZED) for event in world.audit.stored]
    assert marks == [None, None, BY_RECOVERY, BY_RECOVERY, None]


@pytest.mark.parametrize("stored", range(6))
async def test_whatever_was_stored_nothing_is_told_twice(world: World, stored: int) -> None:
    """A daemon that is killed after a session's end, with the first so many of its events stored."""
    life = Life(world)
    session = life.sessions.agree(CONTEXT)
    session.start(Start(SessionKind.EXEC, command="ls"))
    session.exited(Exit(status=0))
    session.end(tx=1, rx=1)
    life.emitter.stop()
    await life.emitter.run()
    del world.audit.stored[stored:]
    for _ in range(2):
        await Life(world).recovers()
    names = world.names()
    told = ["session.start", "exec", "session.end", "session.leave", "session.upload"]
    assert [name for name in names if name != "session.data"] == told
    assert names.count("session.data") == (1 if stored >= 5 else 0)


async def test_what_was_left_is_claimed_before_anything_is_said_about_it(world: World) -> None:
    """A node that knew the ID cannot tell its own story first; afterwards the audit log knows whose it was."""
    await Life(world).killed_after(SHELL, events=False)
    world.files.path(OTHER).write_bytes(b"garbage")
    life = Life(world)
    await life.sessions.prepare()
    assert (life.claims.owner(SID), life.claims.owner(OTHER)) == (NODE, NODE)
    assert not life.claims.hold(SID, DaemonId("another"))
    await life.recovers()
    assert not life.claims.held(SID)
    assert not life.claims.held(OTHER)


async def test_a_torn_block_is_cut_off_and_noted(world: World) -> None:
    """The recording says how many bytes could not be read."""
    await Life(world).killed_after(SHELL)
    with world.files.path(SID).open("ab") as part:
        part.write(b"ILRBtorn")
    await Life(world).recovers()
    bodies = [frame.body for frame in await world.frames()]
    assert bodies[-2:] == [Marker("gap", DIED, lost=8), Exit(error=DIED)]


async def test_a_part_without_header_is_quarantined_and_blocks_nobody(world: World) -> None:
    """Garbage is put aside, and an event says so; the other part becomes a recording."""
    await Life(world).killed_after(SHELL)
    world.files.path(OTHER).write_bytes(b"garbage")
    await Life(world).recovers()
    assert [path.name for path in (world.directory / "quarantine").iterdir()] == [f"{OTHER}.part"]
    assert world.audit.of(OTHER) == [(0, "session.recording.quarantined", "ILR01E")]
    assert [info.sid for info in await world.files.recordings()] == [SID]


async def test_a_disk_that_fails_delays_recovery_and_nothing_else(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recovery tries again; new sessions run meanwhile."""
    await Life(world).killed_after(SHELL)
    life = Life(world)
    survey, failures = life.files.survey, [RecordingError("I/O error")]

    async def failing_once(sid: SessionId) -> Survey:
        if failures:
            raise failures.pop()
        return await survey(sid)

    monkeypatch.setattr(life.files, "survey", failing_once)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(life.recovers())
        await world.sleep.wait_sleeper(PAUSE_S)
        assert "session.end" not in world.names()
        world.sleep.advance(PAUSE_S)
    assert world.names() == ["session.start", "resize", "session.end", "session.leave", "session.upload"]


async def test_a_finished_command_that_was_not_stored(world: World) -> None:
    """A daemon that dies right after a session's end loses none of its events, though it stored none."""
    life = Life(world)
    session = life.sessions.agree(CONTEXT)
    session.start(Start(SessionKind.EXEC, command="ls"))
    session.exited(Exit(status=0))
    session.end(tx=1, rx=1)
    await Life(world).recovers()
    assert world.names() == ["session.start", "exec", "session.end", "session.leave", "session.upload"]
    assert world.audit.stored[1].kind is Kind.EXEC
    assert await world.frames() == [Frame(0, Exit(status=0))]


async def test_a_node_repeats_the_end_of_a_session_that_it_had_ended(world: World) -> None:
    """Without a view of the audit log, what is kept once is repeated, and the upload gets its own number."""
    life = Life(world)
    session = life.sessions.agree(CONTEXT)
    session.start(Start(SessionKind.EXEC, command="ls"))
    session.exited(Exit(status=0))
    session.end(tx=1, rx=1)
    life.emitter.stop()
    await life.emitter.run()
    await Life(world).recovers()
    assert world.names() == [
        "session.start",
        "exec",
        "session.end",
        "session.leave",
        "session.data",
        "session.upload",
    ]


async def test_who_completes_a_recording_signs_it(tmp_path: Path) -> None:
    """The verdict tells it from one that its recorder closed; what the recorder had signed still holds."""
    world = World(tmp_path)
    await Life(world).killed_after(Start(SessionKind.SHELL))
    await Life(world).recovers()
    found = await world.proved()
    assert (found.standing, found.completed, found.problem) == (Standing.SIGNED, True, None)


async def test_a_part_of_format_1_is_completed_in_its_own_format(tmp_path: Path) -> None:
    """Of a daemon that was killed and then updated: nothing of it is lost, and nothing is claimed of it."""
    world = World(tmp_path)
    whole = (Path(__file__).parents[2] / "domain" / "container" / "data" / "format1.ilr").read_bytes()
    world.files.path(SID).write_bytes(whole[: whole.rindex(b"ILRB", 0, whole.rindex(b"ILRB"))])
    await Life(world).recovers()
    assert (await world.proved()).standing is Standing.OLD
    frames = await world.frames()
    assert b"".join(each.body.data for each in frames if isinstance(each.body, Output)).endswith(b"up 9 days\r\n")
    assert frames[-1].body == Exit(error=DIED)


@pytest.mark.parametrize("killed", [False, True])
async def test_a_long_session_gets_its_index_once_it_has_ended(tmp_path: Path, killed: bool) -> None:
    """With the screens of its terminal, whether its recorder ended it or died."""
    world = World(tmp_path)
    life = Life(world)
    session = life.sessions.agree(CONTEXT)
    session.start(Start(SessionKind.SHELL, window=Window(80, 24)))
    for number in range(40):
        noise = FakeEntropy(number).token(MAX_FRAME // 2)
        session.output(Stream.STDOUT, noise + b"\x18\x1b[2J\x1b[Hsecond %d" % number)
        life.timers.fire()
        world.clock.advance(1)
    if killed:
        await world.gone(session)
        life = Life(world)
    else:
        session.end(tx=0, rx=0)
    await life.recovers()
    assert (await world.proved()).standing is Standing.SIGNED
    data = b"".join([chunk async for chunk in world.files.read(SID)])
    frames = list(frames_from(lambda offset, size: data[offset : offset + size], len(data), 38_000_000))
    first = next(each.body.data for each in frames if isinstance(each.body, Output))
    assert b"second 29" in first, "the keyframe before that moment"


async def test_an_encrypted_part_is_completed_without_its_key(tmp_path: Path) -> None:
    """The key died with the recorder; events, end and signature need none, and recipients read what there is."""
    world = World(tmp_path)
    await Life(world, Encrypting()).killed_after(Start(SessionKind.SHELL), events=False)
    await Life(world).recovers()
    assert sorted(world.names()) == sorted(WHOLE)
    found = await world.proved()
    assert (found.standing, found.completed, found.encrypted) == (Standing.SIGNED, True, True)
    chunks = [chunk async for chunk in world.files.read(SID)]
    bodies = [frame.body for frame in decode(chunks, lambda _wrapped: CONTENT.key)]
    assert Output(Stream.STDOUT, b"evidence") in bodies
    assert Exit(error=DIED) in bodies


async def test_keyframes_of_encrypted_recordings_are_encrypted(tmp_path: Path) -> None:
    """They show what a person saw."""
    world = World(tmp_path)
    life = Life(world, Encrypting())
    session = life.sessions.agree(CONTEXT)
    session.start(Start(SessionKind.SHELL, window=Window(80, 24)))
    for number in range(20):
        session.output(
            Stream.STDOUT, FakeEntropy(number).token(MAX_FRAME // 2) + b"\x18\x1b[2J\x1b[Hsecret%d" % number
        )
        life.timers.fire()
        world.clock.advance(1)
    session.end(tx=0, rx=0)
    await life.recovers()
    data = b"".join([chunk async for chunk in world.files.read(SID)])
    assert b"secret" not in data
    frames = list(
        frames_from(lambda at, size: data[at : at + size], len(data), 18_000_000, lambda _w: CONTENT.key)
    )
    first = next(each.body.data for each in frames if isinstance(each.body, Output))
    assert b"secret14" in first
    with pytest.raises(RecordingError, match="encrypted"):
        list(frames_from(lambda at, size: data[at : at + size], len(data), 18_000_000))

"""What arrived of a dead daemon's session becomes its recording; the daemon's own copy is no second one."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.adapters.blob.arriving import ArrivingRecordings, DaemonArea
from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database, open_database
from interlock.core.errors import RecordingError, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.container import BlockBuilder, Chain, Standing, decode, preamble, verify
from interlock.domain.coverage import Level
from interlock.domain.recording import DIED, Frame, FrameKind, Header, Output, to_payload
from interlock.domain.session import Exit
from interlock.domain.signing import DaemonRole
from interlock.domain.survey import Survey, survey
from interlock.domain.tracker import Tracker, TrackerState
from interlock.ports import EventFilter
from interlock.services.audit.emitter import EventFactory
from interlock.services.sessions.completer import UNDELIVERED_AFTER, UNKNOWN_AFTER, Completer
from interlock.services.sessions.sweeper import Sweeper
from interlock.testing.clock import FakeClock
from interlock.testing.database import put_database
from interlock.testing.entropy import FakeEntropy
from interlock.testing.recordings import AUTH, AUTHORITY, signer
from interlock.testing.stores import MemoryTrackers, VirtualSleep

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
NODE = DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166")
SALT = b"saltsalt"
FIELDS: dict[str, JsonValue] = {"user": "jeff", "login": "root", "server_hostname": "web1", "addr.remote": "h:1"}


def header(command: str = "") -> Header:
    """Of a session of jeff's."""
    return Header(
        sid=SID,
        user="jeff",
        login="root",
        hostname="web1",
        target_id=NODE,
        sub_kind="interlock",
        recorded_by="somebody else",
        mode="node-sync",
        kind="exec" if command else "shell",
        command=command,
        start="2026-01-10T22:23:57.642Z",
        cluster="demo",
        event=FIELDS | {"recorded_by": "somebody else"},
    )


CHAIN = Chain.begin(SALT)


def block(*frames: tuple[FrameKind, int, bytes]) -> bytes:
    """The recording's next block."""
    builder = BlockBuilder(SALT, chain=CHAIN)
    for kind, at, payload in frames:
        builder.add(kind, at, payload)
    return builder.take()


BEGIN = preamble(SALT) + block((FrameKind.HEADER, 0, to_payload(header())))
ONE = block((FrameKind.STDOUT, 1_000_000, b"one"))
TWO = block((FrameKind.STDOUT, 2_000_000, b"two"))
END = block((FrameKind.EXIT, 3_000_000, to_payload(Exit(status=0))))


class World:
    """Auth's storage, audit log and time."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory = directory
        self.recordings = FileRecordings(directory)
        self.arriving = ArrivingRecordings(
            directory / "sync", self.recordings.quarantined, stored=self.recordings.stored, reserve=0
        )
        self.area = self.arriving.of(NODE)
        self.clock = FakeClock()
        self.trackers = MemoryTrackers()
        self.log = SqlAuditLog(database)
        self.factory = EventFactory(cluster="demo", clock=self.clock, entropy=FakeEntropy())
        self.completer = Completer(
            self.arriving,
            self.recordings,
            self.trackers,
            self.log,
            self.log,
            self.factory,
            clock=self.clock,
            signer=lambda: signer(AUTH, DaemonRole.AUTH),
            sleep=VirtualSleep(self.clock),
        )

    async def arrives(self, *blocks: bytes, ago: timedelta = timedelta()) -> None:
        """The daemon has sent these, the last one so long ago."""
        size = self.area.path(SID).stat().st_size if self.area.path(SID).exists() else 0
        await self.area.extend(SID, size, b"".join(blocks))
        then = (self.clock.now() - ago).timestamp()
        os.utime(self.area.path(SID), (then, then))

    async def told(self, *kinds: Kind, **fields: JsonValue) -> None:
        """The daemon has told these events."""
        await self.log.append(
            [
                self.factory.make(kind, FIELDS | {"recorded_by": NODE} | fields, sid=SID, index=number)
                for number, kind in enumerate(kinds)
            ]
        )

    def tracked(self, state: TrackerState = TrackerState.RUNNING, *, expired: bool = False) -> None:
        """The session's tracker."""
        now = self.clock.now()
        self.trackers.stored[SID] = Tracker(
            sid=SID,
            state=state,
            created=now,
            expires=now + timedelta(seconds=-1 if expired else 30),
            user="jeff",
            login="root",
            hostname="web1",
            target_id=NODE,
            daemon_id=NODE,
            cluster="demo",
            sub_kind="interlock",
            recording_mode="node-sync",
        )

    async def events(self) -> list[dict[str, JsonValue]]:
        """All of the session."""
        return await self.log.events(EventFilter(sid=SID))

    async def names(self) -> list[str]:
        """Of all its events."""
        return [str(event["event"]) for event in await self.events()]

    async def frames(self) -> list[Frame]:
        """The stored recording."""
        return list(decode([chunk async for chunk in self.recordings.read(SID)]))

    async def output(self) -> bytes:
        """What of the output is in the stored recording."""
        bodies = [frame.body for frame in await self.frames()]
        return b"".join(body.data for body in bodies if isinstance(body, Output))

    async def delivers(self, *blocks: bytes) -> str:
        """The daemon is back and delivers its own copy."""
        copy = self.directory / "delivered"
        copy.write_bytes(b"".join(blocks))
        return await self.recordings.store(SID, copy)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """An auth."""
    put_database(tmp_path / "interlock.db")
    database = await open_database(tmp_path / "interlock.db")
    yield World(tmp_path / "recordings", database)
    await database.close()


async def test_what_a_dead_daemon_sent_becomes_the_recording(world: World) -> None:
    """As soon as the sweeper took it for dead: one recording, one end, one upload, and nobody waited for it."""
    await world.told(Kind.SESSION_START, size="80:24")
    world.tracked()
    await world.arrives(BEGIN, ONE)
    assert await world.completer.complete() == []
    sweeper = Sweeper(world.trackers, world.log, world.log, world.factory, clock=world.clock)
    swept = []
    for _ in range(5):
        swept += await sweeper.sweep()
        world.clock.advance(10)
    assert swept == [SID]
    assert await world.completer.complete() == [SID]
    assert await world.completer.complete() == []
    assert sorted(await world.names()) == ["session.end", "session.leave", "session.start", "session.upload"]
    upload = next(event for event in await world.events() if event["event"] == "session.upload")
    assert (upload["recorded_by"], upload["user"], upload["synthesized"]) == (NODE, "jeff", "auth")
    assert "addr.remote" not in upload
    stored = survey([chunk async for chunk in world.recordings.read(SID)])
    assert await world.output() == b"one"
    assert stored.exit == Exit(error=DIED)
    proved = verify([chunk async for chunk in world.recordings.read(SID)], [AUTHORITY.public], sid=SID)
    assert (proved.standing, proved.completed) == (Standing.SIGNED, True)
    assert proved.signer is not None
    assert proved.signer.daemon == AUTH
    assert [(row.what, row.level, row.why) for row in stored.coverage] == [("session", Level.PARTIAL, DIED)]
    assert await world.arriving.parts() == []


async def test_a_session_that_lives_is_left_alone(world: World) -> None:
    """However long it is quiet: its tracker says so."""
    await world.told(Kind.SESSION_START)
    world.tracked()
    await world.arrives(BEGIN, ONE, ago=timedelta(days=2))
    assert await world.completer.complete() == []
    world.tracked(expired=True)  # the sweeper decides, and it may know better
    assert await world.completer.complete() == []


async def test_a_daemon_that_ended_its_session_delivers_it_itself(world: World) -> None:
    """It lived then and has the better copy, unless it never comes."""
    await world.told(Kind.SESSION_START, Kind.SESSION_END)
    await world.arrives(BEGIN, ONE, ago=UNDELIVERED_AFTER - timedelta(seconds=1))
    assert await world.completer.complete() == []
    world.clock.advance(1)
    assert await world.completer.complete() == [SID]
    assert (await world.names()).count("session.end") == 1


async def test_a_session_of_which_nothing_was_told_appears_too(world: World) -> None:
    """It died with its first events in memory: its own header tells its story."""
    await world.arrives(BEGIN, ONE, ago=UNKNOWN_AFTER - timedelta(seconds=1))
    assert await world.completer.complete() == []
    world.clock.advance(1)
    assert await world.completer.complete() == [SID]
    assert await world.names() == ["session.start", "session.end", "session.leave", "session.upload"]
    assert {event["recorded_by"] for event in await world.events()} == {NODE}


async def test_what_was_delivered_is_only_cleared_away(world: World) -> None:
    """The usual end: the daemon has stored its recording."""
    await world.arrives(BEGIN, ONE)
    await world.delivers(BEGIN, ONE, TWO, END)
    assert await world.completer.complete() == []
    assert await world.arriving.parts() == []
    assert await world.names() == []


async def test_the_daemons_own_copy_takes_the_place_of_the_end_that_was_made_up(world: World) -> None:
    """It has all that had arrived, and more: still one recording, under one URL; again, harmless."""
    await world.arrives(BEGIN, ONE, ago=UNKNOWN_AFTER)
    await world.completer.complete()
    for _ in range(2):
        assert await world.delivers(BEGIN, ONE, TWO, END) == (world.directory / f"{SID}.ilr").as_uri()
    assert await world.output() == b"onetwo"
    assert (await world.frames())[-1].body == Exit(status=0)
    assert len(await world.recordings.recordings()) == 1
    with pytest.raises(RecordingError, match="another recording"):
        await world.delivers(BEGIN, ONE, END)


@pytest.mark.parametrize("own", [(BEGIN, TWO, END), (BEGIN, END), (BEGIN[:-1],)])
async def test_what_had_arrived_is_never_replaced(world: World, own: tuple[bytes, ...]) -> None:
    """A copy that lacks some of it is another recording: aside with it, for a person to look at (R7)."""
    await world.arrives(BEGIN, ONE, ago=UNKNOWN_AFTER)
    await world.completer.complete()
    with pytest.raises(RecordingError, match="another recording"):
        await world.delivers(*own)
    assert await world.output() == b"one"


async def test_half_a_block_is_no_evidence(world: World) -> None:
    """Auth takes whole calls, but a daemon may send anything."""
    await world.arrives(BEGIN, ONE, TWO[:-3], ago=UNKNOWN_AFTER)
    assert await world.completer.complete() == [SID]
    assert await world.output() == b"one"


async def test_what_is_no_recording_goes_to_quarantine(world: World) -> None:
    """It blocks nobody and is told nowhere."""
    await world.arrives(b"no recording at all", ago=UNKNOWN_AFTER)
    await world.completer.complete()
    assert await world.arriving.parts() == []
    assert (world.recordings.quarantined / f"{SID}.part").exists()
    assert await world.names() == []


@pytest.mark.parametrize("step", ["complete", "append", "discard"])
async def test_r09_a_failure_at_any_step_is_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A disk or a database that is away: the next round does it, and it is done once."""
    await world.arrives(BEGIN, ONE, ago=UNKNOWN_AFTER)

    async def away(*_arguments: object) -> None:
        raise StoreError("away")

    with monkeypatch.context() as patched:
        owner = {"complete": FileRecordings, "append": SqlAuditLog, "discard": type(world.area)}[step]
        patched.setattr(owner, step, away)
        assert await world.completer.complete() == []
    world.clock.advance(10)
    await world.completer.complete()
    assert await world.arriving.parts() == []
    assert await world.output() == b"one"


async def test_it_runs_until_it_is_stopped(world: World) -> None:
    """Beside the sweeper; an error is no end."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(world.completer.run())
        sleep = world.completer._sleep
        assert isinstance(sleep, VirtualSleep)
        await sleep.wait_sleeper(10)
        await world.arrives(BEGIN, ONE, ago=UNKNOWN_AFTER)
        sleep.advance(10)
        await sleep.wait_sleeper(10)
        running.cancel()
    assert await world.output() == b"one"


@pytest.mark.parametrize(
    ("start", "at"),
    [("0001-01-01T00:00:00+14:00", 0), ("9999-12-31T23:59:59Z", 5_000_000), ("2026-01-10T22:23:57Z", 2**62)],
)
async def test_times_that_cannot_be_end_no_daemon(world: World, start: str, at: int) -> None:
    """They are the node's word. The recording is kept, and the session's story told as well as can be."""
    chain = Chain.begin(SALT)
    parts = [preamble(SALT)]
    for kind, moment, payload in (
        (FrameKind.HEADER, 0, to_payload(replace(header(), start=start))),
        (FrameKind.STDOUT, at, b"one"),
    ):
        builder = BlockBuilder(SALT, chain=chain)
        builder.add(kind, moment, payload)
        parts.append(builder.take())
    await world.arrives(*parts, ago=UNKNOWN_AFTER)

    assert await world.completer.complete() == [SID]

    assert (await world.names())[0] == "session.start"
    assert await world.output() == b"one"


async def test_what_fails_unexpectedly_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two parts one is a bug of ours: the other one is completed all the same."""
    other = SessionId("00000000-24b9-4f86-af68-d7755636b94b")
    await world.area.extend(other, 0, BEGIN)
    os.utime(world.area.path(other), (0, 0))
    await world.arrives(BEGIN, ONE, ago=UNKNOWN_AFTER)
    surveyed = DaemonArea.survey

    async def broken(area: DaemonArea, sid: SessionId) -> Survey:
        if sid == other:
            msg = "a bug"
            raise LookupError(msg)
        return await surveyed(area, sid)

    monkeypatch.setattr(DaemonArea, "survey", broken)
    assert await world.completer.complete() == [SID]

"""Sessions that outlive their daemon are swept: one end for each, from what the audit log knows; not for good."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState
from interlock.ports import EventFilter
from interlock.services.audit.emitter import EventFactory, SessionJournal
from interlock.services.sessions.sweeper import CLOCK_STEP_S, Sweeper
from interlock.services.sessions.trackers import HEARTBEAT_S
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.stores import MemoryAuditLog, MemoryTrackers, VirtualSleep

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
OTHER = SessionId("8d57a9d5-3e0f-4c0b-8f0e-0a4f1f5f7a11")
NODE = DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166")


def tracker(sid: SessionId = SID, state: TrackerState = TrackerState.RUNNING) -> Tracker:
    """A tracker that was last kept alive when the clock started."""
    return Tracker(
        sid=sid,
        state=state,
        created=START,
        expires=START + TRACKER_TTL,
        user="jeff",
        login="root",
        hostname="web1",
        target_id=NODE,
        daemon_id=NODE,
        cluster="demo",
        sub_kind="interlock",
        recording_mode="node",
    )


class Auth:
    """What a sweeper works on."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.audit = MemoryAuditLog()
        self.trackers = MemoryTrackers()
        self.sleep = VirtualSleep(self.clock)
        self.factory = EventFactory(cluster="demo", clock=self.clock, entropy=FakeEntropy())
        self.here: set[SessionId] = set()
        self.start_sweeper()

    def start_sweeper(self) -> None:
        """As when auth starts."""
        self.sweeper = Sweeper(
            self.trackers,
            self.audit,
            self.audit,
            self.factory,
            clock=self.clock,
            lives_here=self.here.__contains__,
            sleep=self.sleep,
        )

    async def sweeps_for(self, seconds: float) -> list[SessionId]:
        """What is ended while so much time passes."""
        ended = []
        for _ in range(int(seconds / HEARTBEAT_S)):
            self.clock.advance(HEARTBEAT_S)
            ended += await self.sweeper.sweep()
        return ended

    async def started(self, sid: SessionId = SID) -> SessionJournal:
        """A session with a stored start."""
        journal = SessionJournal(sid, self, self.factory)
        fields = {"user": "jeff", "login": "root", "server_id": NODE, "recorded_by": NODE}
        journal.add(Kind.SESSION_START, {**fields, "size": "80:24", "initial_command": []})
        return journal

    def emit(self, event: object) -> None:
        """Store at once."""
        self.audit.stored.append(event)  # type: ignore[arg-type]


@pytest.fixture
def auth() -> Auth:
    """An auth daemon with one running session of a node."""
    made = Auth()
    made.trackers.stored[SID] = tracker()
    return made


async def test_a_living_session_is_left_alone(auth: Auth) -> None:
    """Until the last heartbeat has expired, nothing happens."""
    await auth.started()
    auth.trackers.stored[SID] = replace(tracker(), expires=START + 3 * TRACKER_TTL)
    assert await auth.sweeps_for(3 * TRACKER_TTL.total_seconds() - HEARTBEAT_S) == []
    assert auth.trackers.stored[SID] in await auth.trackers.live()


async def test_a_dead_daemons_session_gets_its_end(auth: Auth) -> None:
    """The end has the next number, the start's fields, and the last time at which the session was seen alive."""
    await auth.started()
    assert await auth.sweeps_for(100) == [SID]
    end = auth.audit.stored[-1].to_json()
    assert (
        end
        | {
            "ei": 1,
            "event": "session.end",
            "code": "T2004I",
            "sid": SID,
            "user": "jeff",
            "login": "root",
            "server_id": NODE,
            "recorded_by": NODE,
            "interactive": True,
            "enhanced_recording": False,
            "participants": ["jeff"],
            "initial_command": [],
            "session_start": "2026-01-10T22:23:57.642Z",
            "session_stop": "2026-01-10T22:23:57.642Z",
            "time": "2026-01-10T22:24:27.642Z",
            "synthesized": "auth",
        }
        == end
    )
    assert "size" not in end
    assert await auth.trackers.live() == []


async def test_sweeping_again_changes_nothing(auth: Auth) -> None:
    """However often it runs, there is one end."""
    await auth.started()
    for _ in range(3):
        await auth.sweeps_for(100)
    assert [name for _, name, _ in auth.audit.of(SID)] == ["session.start", "session.end"]


async def test_an_end_that_is_there_is_not_repeated(auth: Auth) -> None:
    """A session whose end was stored before its daemon died only loses its tracker."""
    journal = await auth.started()
    journal.add(Kind.SESSION_END, {})
    await auth.sweeps_for(100)
    assert len(auth.audit.stored) == 2
    assert await auth.trackers.live() == []


async def test_a_session_that_never_started_gets_no_end(auth: Auth) -> None:
    """A pending tracker without a start leaves nothing in the audit log."""
    auth.trackers.stored[SID] = tracker(state=TrackerState.PENDING)
    await auth.sweeps_for(100)
    assert auth.audit.stored == []
    assert await auth.trackers.live() == []


async def test_the_tracker_stays_until_the_end_is_stored(auth: Auth) -> None:
    """If the audit log is away in the middle, the next sweep finishes the work."""
    await auth.started()
    auth.audit.failures = 1
    await auth.sweeps_for(20)
    auth.clock.advance(HEARTBEAT_S)
    async with asyncio.TaskGroup() as tasks:
        sweeping = tasks.create_task(auth.sweeper.run())
        await auth.sleep.wait_sleeper(HEARTBEAT_S)
        assert len(await auth.trackers.live()) == 1
        auth.sleep.advance(HEARTBEAT_S)
        await auth.sleep.wait_sleeper(HEARTBEAT_S)
        sweeping.cancel()
    assert await auth.trackers.live() == []
    assert [name for _, name, _ in auth.audit.of(SID)] == ["session.start", "session.end"]


async def test_after_a_start_everybody_gets_the_time_to_be_heard(auth: Auth) -> None:
    """Daemons that auth could not hear while it was away are no reason to end their sessions."""
    await auth.started()
    auth.clock.advance(3600)
    auth.start_sweeper()
    assert await auth.sweeps_for(20) == []
    await auth.trackers.keep(NODE, [SID], auth.clock.now() + TRACKER_TTL)
    assert await auth.sweeps_for(20) == []


@pytest.mark.parametrize("step", [3600, 2 * CLOCK_STEP_S, -3600])
async def test_a_clock_that_was_set_ends_no_session(auth: Auth, step: float) -> None:
    """By hand, by NTP, or because the machine slept: heartbeats come first, then the sweeper judges again."""
    await auth.started()
    await auth.sweeps_for(20)
    await auth.trackers.keep(NODE, [SID], auth.clock.now() + TRACKER_TTL)
    await auth.sweeps_for(20)
    auth.clock.step_wall(timedelta(seconds=step))
    assert await auth.sweeps_for(20) == []
    await auth.trackers.keep(NODE, [SID], auth.clock.now() + TRACKER_TTL)
    assert await auth.sweeps_for(20) == []
    assert await auth.sweeps_for(20) == [SID]


async def test_a_process_that_was_stopped_ends_no_session(auth: Auth) -> None:
    """What others said while it stood still has not been heard yet."""
    await auth.started()
    await auth.sweeps_for(20)
    await auth.trackers.keep(NODE, [SID], auth.clock.now() + TRACKER_TTL)
    auth.clock.advance(300)
    assert await auth.sweeper.sweep() == []
    await auth.trackers.keep(NODE, [SID], auth.clock.now() + TRACKER_TTL)
    assert await auth.sweeps_for(20) == []


async def test_a_session_of_this_process_is_never_swept(auth: Auth) -> None:
    """Its heartbeats may wait for the very database that the sweeper reads."""
    await auth.started()
    auth.here.add(SID)
    assert await auth.sweeps_for(100) == []
    auth.here.clear()
    assert await auth.sweeps_for(20) == [SID]


async def test_a_daemon_that_was_only_cut_off_gets_its_session_back(auth: Auth) -> None:
    """Its heartbeat revives the tracker, and its own end replaces the one that was made up."""
    journal = await auth.started()
    assert await auth.sweeps_for(100) == [SID]
    assert await auth.trackers.live() == []
    await auth.trackers.keep(NODE, [SID], auth.clock.now() + TRACKER_TTL)
    assert [each.sid for each in await auth.trackers.live()] == [SID]
    told: list[AuditEvent] = []
    auth.emit = told.append  # type: ignore[method-assign, assignment]
    journal.add(Kind.SESSION_RESIZE, {"recorded_by": NODE})
    journal.add(Kind.SESSION_END, {"recorded_by": NODE})
    journal.add(Kind.SESSION_LEAVE, {"recorded_by": NODE})
    await auth.audit.append(told)
    assert [(index, name) for index, name, _ in auth.audit.of(SID)] == [
        (0, "session.start"),
        (1, "resize"),
        (2, "session.end"),
        (3, "session.leave"),
    ]
    assert "synthesized" not in auth.audit.stored[2].fields


async def test_a_session_whose_daemon_died_at_once_appears(auth: Auth) -> None:
    """All that is known of it is its tracker: that makes a start and an end, marked, until the daemon tells."""
    auth.trackers.stored[SID] = replace(tracker(), command=("rm -rf /",))
    assert await auth.sweeps_for(100) == [SID]
    start, end = (event.to_json() for event in auth.audit.stored)
    assert [(e["event"], e["ei"], e["synthesized"]) for e in (start, end)] == [
        ("session.start", 0, "auth"),
        ("session.end", 1, "auth"),
    ]
    assert (start["initial_command"], start["user"], start["recorded_by"]) == (["rm -rf /"], "jeff", NODE)
    assert end["session_start"] == start["time"] == end["session_stop"]
    told = [
        AuditEvent(kind, START, kind.name, "demo", SID, index, {"user": "jeff"})
        for index, kind in enumerate((Kind.SESSION_START, Kind.SESSION_END))
    ]
    await auth.audit.append(told)
    assert [(e.kind, e.fields.get("synthesized")) for e in auth.audit.stored] == [
        (Kind.SESSION_START, None),
        (Kind.SESSION_END, None),
    ]


async def test_a_session_in_which_nothing_ran_is_swept_without_a_word(auth: Auth) -> None:
    """Its channel was open, and that was all."""
    auth.trackers.stored[SID] = tracker(state=TrackerState.PENDING)
    assert await auth.sweeps_for(100) == [SID]
    assert auth.audit.stored == []


async def test_a_start_that_lacks_what_every_start_has_is_ended_all_the_same(auth: Auth) -> None:
    """It is the word of a daemon, which may be anybody's; the sessions of the others are ended as ever."""
    auth.trackers.stored[OTHER] = tracker(OTHER)
    await auth.audit.append([auth.factory.make(Kind.SESSION_START, {"recorded_by": NODE}, sid=SID)])
    await auth.started(OTHER)
    assert set(await auth.sweeps_for(100)) == {SID, OTHER}


async def test_a_chore_that_fails_unexpectedly_ends_nothing(auth: Auth) -> None:
    """What is swept and tended is other daemons' word too: a bug there must not end auth."""
    tended = asyncio.Event()

    async def broken() -> None:
        msg = "a bug"
        raise LookupError(msg)

    async def tend() -> None:
        tended.set()

    sweeper = Sweeper(
        auth.trackers,
        auth.audit,
        auth.audit,
        auth.factory,
        clock=auth.clock,
        chores=[broken, tend],
        sleep=auth.sleep,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(sweeper.run())
        await tended.wait()
        running.cancel()


async def test_a_session_with_very_many_events_costs_no_more(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its daemon may have told any number of them, each as large as a message."""
    journal, read, most = await auth.started(), auth.audit.events, 0
    for _ in range(100):
        auth.clock.advance(0.1)
        journal.add(Kind.SESSION_RESIZE, {"size": "1:1"})

    async def counted(wanted: EventFilter) -> list[dict[str, JsonValue]]:
        nonlocal most
        found = await read(wanted)
        most = max(most, len(found))
        return found

    monkeypatch.setattr(auth.audit, "events", counted)
    assert await auth.sweeps_for(100) == [SID]
    assert most == 1
    end = auth.audit.stored[-1].to_json()
    assert (end["event"], end["ei"]) == ("session.end", 101)

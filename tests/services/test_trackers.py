"""Trackers that outlive their daemon are swept: one end for each session, from what the audit log knows."""

import asyncio
from datetime import timedelta

import pytest

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import Kind
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState
from interlock.services.emitter import EventFactory, SessionJournal
from interlock.services.trackers import HEARTBEAT_S, Sweeper, TrackerWriter
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
        self.sweeper = Sweeper(
            self.trackers, self.audit, self.audit, self.factory, clock=self.clock, sleep=self.sleep
        )

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
    auth.clock.advance(TRACKER_TTL - timedelta(milliseconds=1))
    assert await auth.sweeper.sweep() == []
    assert auth.trackers.stored[SID].state is TrackerState.RUNNING


async def test_a_dead_daemons_session_gets_its_end(auth: Auth) -> None:
    """The end has the next number, the start's fields, and the last time at which the session was seen alive."""
    await auth.started()
    auth.clock.advance(100)
    assert await auth.sweeper.sweep() == [SID]
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
            "time": "2026-01-10T22:25:37.642Z",
        }
        == end
    )
    assert "size" not in end
    assert auth.trackers.stored[SID].state is TrackerState.TERMINATED


async def test_sweeping_again_changes_nothing(auth: Auth) -> None:
    """However often it runs, there is one end."""
    await auth.started()
    auth.clock.advance(100)
    for _ in range(10):
        await auth.sweeper.sweep()
    assert [name for _, name, _ in auth.audit.of(SID)] == ["session.start", "session.end"]


async def test_an_end_that_is_there_is_not_repeated(auth: Auth) -> None:
    """A session whose end was stored before its daemon died only loses its tracker."""
    journal = await auth.started()
    journal.add(Kind.SESSION_END, {})
    auth.clock.advance(100)
    await auth.sweeper.sweep()
    assert len(auth.audit.stored) == 2
    assert auth.trackers.stored[SID].state is TrackerState.TERMINATED


async def test_a_session_that_never_started_gets_no_end(auth: Auth) -> None:
    """A pending tracker without a start leaves nothing in the audit log."""
    auth.trackers.stored[SID] = tracker(state=TrackerState.PENDING)
    auth.clock.advance(100)
    await auth.sweeper.sweep()
    assert auth.audit.stored == []
    assert auth.trackers.stored[SID].state is TrackerState.TERMINATED


async def test_the_tracker_stays_until_the_end_is_stored(auth: Auth) -> None:
    """If the audit log is away in the middle, the next sweep finishes the work."""
    await auth.started()
    auth.audit.failures = 1
    auth.clock.advance(100)
    async with asyncio.TaskGroup() as tasks:
        sweeping = tasks.create_task(auth.sweeper.run())
        await auth.sleep.wait_sleeper(HEARTBEAT_S)
        assert auth.trackers.stored[SID].state is TrackerState.RUNNING
        auth.sleep.advance(HEARTBEAT_S)
        await auth.sleep.wait_sleeper(HEARTBEAT_S)
        sweeping.cancel()
    assert auth.trackers.stored[SID].state is TrackerState.TERMINATED
    assert [name for _, name, _ in auth.audit.of(SID)] == ["session.start", "session.end"]


async def test_the_writer_sends_only_the_latest_state() -> None:
    """A session that came and went while the store was busy is one write, dated when it is written."""
    clock, store = FakeClock(), MemoryTrackers()
    writer = TrackerWriter(store, daemon_id=NODE, clock=clock)
    for state in TrackerState:
        writer.put(tracker(state=state))
    writer.put(tracker(OTHER))
    writer.beat([SID])
    writer.beat([SID, OTHER])
    clock.advance(60)
    writer.stop()
    await writer.run()
    assert store.history == [(SID, TrackerState.TERMINATED), (OTHER, TrackerState.RUNNING)]
    assert store.beats == [(SID, OTHER)]
    assert store.stored[OTHER].expires == clock.now() + TRACKER_TTL

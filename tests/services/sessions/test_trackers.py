"""Tracker states are written in the background, the latest of each session."""

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState
from interlock.services.sessions.trackers import TrackerWriter
from interlock.testing.clock import START, FakeClock
from interlock.testing.stores import MemoryTrackers

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

"""One daemon fills no database: it has to wait, which one event in an hour says; others do not."""

from datetime import timedelta

import pytest

from interlock.core.errors import StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import Kind
from interlock.domain.tracker import Tracker, TrackerState
from interlock.services.audit.emitter import EventFactory
from interlock.services.fleet import pacing as module
from interlock.services.fleet.pacing import COUNTED_EVERY_S, PACE, TOLD_EVERY_S, Pace, Pacing, Rate
from interlock.services.keys.daemonca import DaemonKind, HostIdentity
from interlock.testing.auth import CLUSTER, Stores
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy

NODE = HostIdentity(CLUSTER, DaemonId("11111111-0000-4000-8000-000000000001"), ("web1",))
OTHER = HostIdentity(CLUSTER, DaemonId("11111111-0000-4000-8000-000000000002"), ("gate",), DaemonKind.PROXY)
SMALL = Pace(events=Rate(100, 10), trackers=Rate(50, 5), octets=Rate(10_000, 1_000), live=20)


class Desk:
    """Auth's stores, and what bounds what is put there."""

    def __init__(self, pace: Pace = SMALL) -> None:
        self.clock = FakeClock()
        self.stores = Stores()
        self.entropy = FakeEntropy()
        self.pacing = Pacing(
            audit=self.stores,
            trackers=self.stores,
            factory=EventFactory(cluster=CLUSTER, clock=self.clock, entropy=self.entropy),
            clock=self.clock,
            pace=pace,
        )

    async def put(self, sid: int, state: TrackerState = TrackerState.RUNNING, daemon: HostIdentity = NODE) -> None:
        """As auth does with what a daemon sends."""
        shown = ("alice", "root", "web1", NODE.id, daemon.id, CLUSTER, "interlock", "node")
        made = Tracker(SessionId(f"s{sid}"), state, START, START + timedelta(minutes=1), *shown)
        await self.pacing.tracker(daemon, made, 100)
        await self.stores.put(made)

    @property
    def told(self) -> list[tuple[object, object, object]]:
        """Of whom the audit log says that it has to wait, why, and of how many calls."""
        fields = [each.fields for each in self.stores.stored_events if each.kind is Kind.DAEMON_THROTTLED]
        return [(each["server_id"], each["reason"], each["refused"]) for each in fields]


async def test_who_sends_too_many_events_has_to_wait_and_goes_on() -> None:
    """As fast as time passes; others notice nothing."""
    desk = Desk()
    await desk.pacing.events(NODE, 100, 100)
    with pytest.raises(StoreError, match="try again"):
        await desk.pacing.events(NODE, 1, 1)
    await desk.pacing.events(OTHER, 100, 100)
    desk.clock.advance(1)
    await desk.pacing.events(NODE, 10, 10)
    with pytest.raises(StoreError):
        await desk.pacing.events(NODE, 1, 1)


async def test_who_tries_again_for_want_of_bytes_does_not_run_out_of_the_rest() -> None:
    """As an outbox does, for as long as it takes."""
    desk = Desk()
    await desk.pacing.events(NODE, 1, 9_900)
    for _ in range(100):
        with pytest.raises(StoreError) as refused:
            await desk.pacing.events(NODE, 60, 1_000)
        assert "bytes" in refused.value.reason
    desk.clock.advance(1)
    await desk.pacing.events(NODE, 60, 1_000)


async def test_large_ones_count_by_their_size_those_of_trackers_too() -> None:
    """Few and huge fill a disk as well."""
    desk = Desk()
    await desk.pacing.events(NODE, 1, 9_950)
    with pytest.raises(StoreError, match="try again") as refused:
        await desk.put(1)
    assert "bytes" in refused.value.reason
    assert desk.stores.trackers == {}
    assert desk.told == [(NODE.id, "too many bytes", 1)]


async def test_one_event_in_an_hour_says_so() -> None:
    """With the number of calls since the last one; whoever floods writes no log by it."""
    desk = Desk()
    await desk.pacing.events(NODE, 100, 1)
    for _ in range(50):
        with pytest.raises(StoreError):
            await desk.pacing.events(NODE, 100, 1)
    assert desk.told == [(NODE.id, "too many events", 1)]
    desk.clock.advance(TOLD_EVERY_S)
    await desk.pacing.events(NODE, 100, 1)
    with pytest.raises(StoreError):
        await desk.pacing.events(NODE, 1, 1)
    assert desk.told[1:] == [(NODE.id, "too many events", 50)]


async def test_changes_of_trackers_are_bounded() -> None:
    """Of one session as of many."""
    desk = Desk()
    for _ in range(50):
        await desk.put(1)
    with pytest.raises(StoreError):
        await desk.put(1)
    assert desk.told == [(NODE.id, "too many tracker changes", 1)]


async def test_live_sessions_of_one_daemon_are_bounded() -> None:
    """Those that there are go on and end; when some have ended, others begin, after a while."""
    desk = Desk(Pace(events=PACE.events, trackers=PACE.trackers, octets=PACE.octets, live=20))
    await desk.put(999, daemon=OTHER)
    for sid in range(20):
        await desk.put(sid)
    desk.clock.advance(COUNTED_EVERY_S)
    with pytest.raises(StoreError) as refused:
        await desk.put(20)
    assert "live sessions" in refused.value.reason
    await desk.put(3)
    await desk.put(3, TrackerState.TERMINATED)
    await desk.put(1000, daemon=OTHER)
    desk.clock.advance(COUNTED_EVERY_S)
    await desk.put(20)


async def test_many_short_sessions_are_no_live_ones() -> None:
    """States that were put since the count are counted as sessions only until it is counted again."""
    desk = Desk(Pace(live=20))
    for sid in range(200):
        desk.clock.advance(COUNTED_EVERY_S / 4)
        for state in (TrackerState.PENDING, TrackerState.RUNNING, TrackerState.TERMINATED):
            await desk.put(sid, state)
    assert desk.told == []


async def test_daemons_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was silent longest begins anew."""
    monkeypatch.setattr(module, "MAX_DAEMONS", 2)
    desk = Desk()
    await desk.pacing.events(NODE, 100, 1)
    for number in range(2):
        await desk.pacing.events(HostIdentity(CLUSTER, DaemonId(f"d{number}"), ()), 1, 1)
    await desk.pacing.events(NODE, 100, 1)


async def test_an_honest_daemons_busiest_minute_passes() -> None:
    """A thousand sessions in each second, with all that they tell; then a hundred and thirty for ever."""
    desk = Desk(PACE)
    for rate in [1_000] * 60 + [130] * 2_000:
        desk.clock.advance(1)
        await desk.pacing.events(NODE, rate * 8, rate * (6 + len(TrackerState)) * 840)
    assert desk.told == []
    assert PACE.trackers.at_once + 60 * PACE.trackers.each_second >= 60 * 1_000 * len(TrackerState)
    assert PACE.trackers.each_second >= 130 * len(TrackerState)

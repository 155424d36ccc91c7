"""Trackers in SQLite, beyond what every tracker store does (tests/ports/test_tracker_store.py)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.adapters.db.engine import Database
from interlock.adapters.db.trackers import KEEP_TERMINATED, SqlTrackerStore
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState
from interlock.testing.clock import START

PROXY, NODE = DaemonId("proxy"), DaemonId("node")
PENDING = Tracker(
    sid=SessionId("aaaaaaaa-0000-4000-8000-000000000001"),
    state=TrackerState.PENDING,
    created=START,
    expires=START + TRACKER_TTL,
    user="alice",
    login="root",
    hostname="web1",
    target_id=NODE,
    daemon_id=PROXY,
    cluster="demo",
    sub_kind="openssh",
    recording_mode="proxy",
    command=("uptime", "-p"),
    participants=("alice",),
)
OTHER = replace(PENDING, sid=SessionId("bbbbbbbb-0000-4000-8000-000000000002"), created=START - timedelta(1))


@pytest.fixture
def store(database: Database) -> SqlTrackerStore:
    """The trackers."""
    return SqlTrackerStore(database)


async def test_trackers_are_listed_by_age(store: SqlTrackerStore) -> None:
    """Whichever was written first."""
    await store.put(PENDING)
    await store.put(OTHER)
    assert await store.live() == [OTHER, PENDING]


async def test_live_sessions_of_a_daemon_are_counted(store: SqlTrackerStore) -> None:
    """Not those that are over, nor anybody else's."""
    await store.put(PENDING)
    await store.put(replace(OTHER, daemon_id=NODE))
    assert (await store.count_live(PROXY), await store.count_live(NODE)) == (1, 1)
    await store.put(PENDING.moved(TrackerState.TERMINATED, now=START))
    assert await store.count_live(PROXY) == 0


async def test_one_heartbeat_keeps_a_daemons_own_sessions(store: SqlTrackerStore) -> None:
    """Those that it names and that are its own; expiry never moves back."""
    theirs = replace(OTHER, daemon_id=NODE)
    await store.put(PENDING)
    await store.put(theirs)
    later = START + timedelta(minutes=1)
    await store.keep(PROXY, [PENDING.sid, theirs.sid], later)
    await store.keep(PROXY, [PENDING.sid], START)
    await store.keep(PROXY, [], later)
    assert {tracker.sid: tracker.expires for tracker in await store.live()} == {
        PENDING.sid: later,
        theirs.sid: theirs.expires,
    }


async def test_a_terminated_tracker_is_forgotten_after_a_day(store: SqlTrackerStore) -> None:
    """Long enough that no late write revives it, and the table does not grow for ever."""
    done = PENDING.moved(TrackerState.TERMINATED, now=START)
    await store.put(done)
    await store.put(OTHER.moved(TrackerState.TERMINATED, now=START + KEEP_TERMINATED))
    await store.put(PENDING)
    assert await store.live() == []
    long_after = START + KEEP_TERMINATED + TRACKER_TTL
    await store.put(OTHER.moved(TrackerState.TERMINATED, now=long_after))
    await store.put(PENDING)
    assert await store.live() == [PENDING]

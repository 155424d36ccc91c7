"""What every tracker store does: trackers only ever move forward, whoever writes late."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.adapters.db.engine import open_database
from interlock.adapters.db.trackers import SqlTrackerStore
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState
from interlock.ports import TrackerStore
from interlock.testing.clock import START
from interlock.testing.postgres import NewPlace
from interlock.testing.stores import MemoryTrackers

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


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def store(request: pytest.FixtureRequest, new_place: NewPlace) -> AsyncIterator[TrackerStore]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield MemoryTrackers()
        return
    database = await open_database(new_place(request.param))
    yield SqlTrackerStore(database)
    await database.close()


async def test_live_trackers_come_back_whole_and_oldest_first(store: TrackerStore) -> None:
    """Pending and running ones."""
    running = OTHER.moved(TrackerState.RUNNING, now=START)
    await store.put(running)
    await store.put(PENDING)
    assert await store.live() == [running, PENDING]


async def test_a_tracker_never_moves_back(store: TrackerStore) -> None:
    """A write that was delayed changes nothing, not even the expiry."""
    running = PENDING.moved(TrackerState.RUNNING, now=START)
    await store.put(running)
    await store.put(replace(PENDING, expires=START + timedelta(1)))
    assert await store.live() == [running]
    await store.put(running.moved(TrackerState.TERMINATED, now=START))
    await store.put(running)
    assert await store.live() == []


async def test_a_heartbeat_keeps_a_daemons_own_sessions(store: TrackerStore) -> None:
    """Those that it names, and of those only its own."""
    theirs = replace(OTHER, daemon_id=NODE)
    await store.put(theirs)
    await store.put(PENDING)
    later = START + timedelta(minutes=1)
    await store.keep(PROXY, [PENDING.sid, theirs.sid], later)
    assert await store.live() == [theirs, replace(PENDING, expires=later)]


async def test_a_swept_tracker_is_gone_until_its_daemon_is_heard(store: TrackerStore) -> None:
    """A heartbeat revives it as it was; another daemon's does not."""
    running = PENDING.moved(TrackerState.RUNNING, now=START)
    later = START + timedelta(minutes=1)
    await store.put(running)
    await store.put(replace(running, swept=True))
    assert await store.live() == []
    await store.keep(NODE, [PENDING.sid], later)
    assert await store.live() == []
    await store.keep(PROXY, [PENDING.sid], later)
    assert await store.live() == [replace(running, expires=later)]


async def test_what_a_daemon_puts_replaces_what_was_swept(store: TrackerStore) -> None:
    """A state that was written before the network was cut, and the end after it."""
    running = PENDING.moved(TrackerState.RUNNING, now=START)
    await store.put(replace(running, swept=True))
    await store.put(PENDING)
    assert await store.live() == [PENDING]
    await store.put(replace(running, swept=True))
    await store.put(running.moved(TrackerState.TERMINATED, now=START))
    await store.keep(PROXY, [PENDING.sid], START + timedelta(minutes=1))
    assert await store.live() == []


async def test_a_session_that_has_ended_is_not_swept(store: TrackerStore) -> None:
    """The sweeper may have looked just before; a heartbeat would bring the session back to life."""
    await store.put(PENDING.moved(TrackerState.TERMINATED, now=START))
    await store.put(replace(PENDING, swept=True))
    await store.keep(PROXY, [PENDING.sid], START + timedelta(minutes=1))
    assert await store.live() == []

"""The stored locks, and how a change by another process is noticed."""

import asyncio
from contextlib import aclosing

import pytest
from sqlalchemy import text

from interlock.adapters.db.authorities import SqlClusterStore
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.locks import BEAT_S, POLL_S, SqlLockFeed, SqlLockStore
from interlock.core.errors import Denied
from interlock.domain.duties import RecordingMode
from interlock.domain.lock import MAX_LOCKS, Lock, LockKind, LockList
from interlock.ports import Cluster
from interlock.testing.clock import START, FakeClock
from interlock.testing.postgres import Place
from interlock.testing.stores import VirtualSleep

LOCK = Lock("l1", LockKind.USER, "alice", START)


async def test_there_is_an_end_to_locks(database: Database) -> None:
    """All of them travel to every node in one message."""
    store = SqlLockStore(database)
    row = {"kind": "user", "name": "x", "message": "", "created": "2026-01-01T00:00:00.000000Z", "created_by": ""}
    statement = text(
        "INSERT INTO locks (id, kind, name, message, created, created_by) "
        "VALUES (:id, :kind, :name, :message, :created, :created_by)"
    )
    await database.change(statement, [{**row, "id": f"many{number}"} for number in range(MAX_LOCKS)])
    with pytest.raises(Denied, match="locks already"):
        await store.add_lock(LOCK)
    await store.remove_lock("many0")
    await store.add_lock(LOCK)


async def test_a_lock_of_a_newer_version_can_be_listed_and_removed(database: Database) -> None:
    """It concerns nobody that this version knows of."""
    store = SqlLockStore(database)
    await store.add_lock(LOCK)
    await database.change(text("UPDATE locks SET kind = 'device'"))
    found = (await store.locks())[0]
    assert (found.id, found.name) == ("l1", "")
    await store.remove_lock("l1")


async def test_what_another_process_writes_is_noticed_at_the_next_look(database: Database, place: Place) -> None:
    """Another connection to the same database, as ilctl has it."""
    clock = FakeClock()
    sleep = VirtualSleep(clock)
    feed = SqlLockFeed(database, SqlLockStore(database), strict=True, clock=clock, sleep=sleep)
    other = await open_database(place)
    try:
        async with aclosing(feed.follow_locks()) as told:
            assert await anext(told) == LockList((), strict=True)
            await SqlLockStore(other).add_lock(LOCK)
            async with asyncio.TaskGroup() as tasks:
                change = tasks.create_task(anext(told))
                await sleep.wait_sleeper(POLL_S)
                sleep.advance(POLL_S)
            assert change.result() == LockList((LOCK,), strict=True)
    finally:
        await other.close()


async def test_how_long_answers_count_is_told_with_the_locks(database: Database) -> None:
    """As policy says now."""
    clusters, clock = SqlClusterStore(database), FakeClock()
    assert await clusters.offline_s() == 0
    await clusters.ensure_cluster(Cluster("c1", "demo", RecordingMode.NODE, START))
    assert await clusters.offline_s() == 0
    await clusters.set_offline_s(60)
    feed = SqlLockFeed(database, SqlLockStore(database), strict=False, clock=clock, sleep=VirtualSleep(clock))
    async with aclosing(feed.follow_locks()) as told:
        assert await anext(told) == LockList(offline_s=60, policy="0")


async def test_a_list_that_does_not_change_is_told_again(database: Database) -> None:
    """The sign that it is current; between two of them nothing is read or told."""
    clock = FakeClock()
    sleep = VirtualSleep(clock)
    feed = SqlLockFeed(database, SqlLockStore(database), strict=False, clock=clock, sleep=sleep)
    async with aclosing(feed.follow_locks()) as told:
        await anext(told)
        began = clock.monotonic()
        async with asyncio.TaskGroup() as tasks:
            again = tasks.create_task(anext(told))
            for _ in range(round(BEAT_S / POLL_S)):
                await sleep.wait_sleeper(POLL_S)
                assert not again.done()
                sleep.advance(POLL_S)
        assert again.result() == LockList()
        assert clock.monotonic() - began == pytest.approx(BEAT_S)

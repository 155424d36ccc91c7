"""What every lease store does: never more places than there are, and none for the dead."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.adapters.db.engine import open_database
from interlock.adapters.db.leases import SqlLeaseStore
from interlock.core.ids import DaemonId
from interlock.domain.lease import LEASE_TTL, Lease
from interlock.ports import LeaseStore
from interlock.testing.clock import START, FakeClock
from interlock.testing.limits import MemoryLeases
from interlock.testing.postgres import NewPlace

PROXY, NODE = DaemonId("proxy"), DaemonId("node")
FIRST = Lease("l1", "connections/demo/alice", PROXY, START + LEASE_TTL)
SECOND = replace(FIRST, id="l2")
THEIRS = replace(FIRST, id="l3", daemon_id=NODE)
OTHER = replace(FIRST, id="l4", semaphore="connections/demo/bob")


@pytest.fixture
def clock() -> FakeClock:
    """Time under control."""
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def store(
    request: pytest.FixtureRequest, new_place: NewPlace, clock: FakeClock
) -> AsyncIterator[LeaseStore]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield MemoryLeases(clock)
        return
    database = await open_database(new_place(request.param))
    yield SqlLeaseStore(database, clock)
    await database.close()


async def test_no_more_places_than_there_are(store: LeaseStore) -> None:
    """Counted over all daemons, and under each semaphore for itself."""
    assert await store.acquire(FIRST, 2)
    assert await store.acquire(THEIRS, 2)
    assert not await store.acquire(SECOND, 2)
    assert await store.acquire(OTHER, 1)
    assert await store.acquire(SECOND, 3)


async def test_a_place_that_is_asked_for_again_is_the_same(store: LeaseStore) -> None:
    """The first answer was lost; nobody else takes it over so."""
    assert await store.acquire(FIRST, 1)
    assert await store.acquire(FIRST, 1)
    assert not await store.acquire(SECOND, 1)
    assert await store.renew_leases(PROXY, ["l1"], FIRST.expires) == {"l1"}


async def test_asking_at_once_gives_no_place_twice(store: LeaseStore) -> None:
    """Twenty ask for three."""
    wanted = [replace(FIRST, id=f"x{number}") for number in range(20)]
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(store.acquire(each, 3)) for each in wanted]
    assert sum(each.result() for each in asked) == 3


async def test_a_place_that_was_given_back_is_free(store: LeaseStore) -> None:
    """By its own daemon only; giving back what is lost harms nobody."""
    assert await store.acquire(FIRST, 1)
    await store.release(NODE, ["l1", "l9"])
    assert not await store.acquire(SECOND, 1)
    await store.release(PROXY, ["l1", "l9"])
    assert await store.acquire(SECOND, 1)


async def test_a_dead_daemons_place_is_free_when_its_lease_expires(store: LeaseStore, clock: FakeClock) -> None:
    """Not a moment earlier."""
    assert await store.acquire(FIRST, 1)
    clock.advance(LEASE_TTL - timedelta(microseconds=1))
    assert not await store.acquire(THEIRS, 1)
    clock.advance(timedelta(microseconds=1))
    assert await store.acquire(THEIRS, 1)
    assert await store.renew_leases(PROXY, ["l1"], clock.now() + LEASE_TTL) == set()


async def test_a_heartbeat_keeps_a_daemons_own_places(store: LeaseStore, clock: FakeClock) -> None:
    """Those that it names, and of those only its own."""
    assert await store.acquire(FIRST, 2)
    assert await store.acquire(THEIRS, 2)
    clock.advance(LEASE_TTL / 2)
    assert await store.renew_leases(PROXY, ["l1", "l3", "l9"], clock.now() + LEASE_TTL) == {"l1"}
    clock.advance(LEASE_TTL * 0.75)
    assert not await store.acquire(SECOND, 1)
    assert await store.acquire(SECOND, 2)


async def test_a_place_that_nobody_asked_for_meanwhile_is_still_ones_own(
    store: LeaseStore, clock: FakeClock
) -> None:
    """An auth that was away for an hour ends nothing when it is back."""
    assert await store.acquire(FIRST, 1)
    clock.advance(timedelta(hours=1))
    assert await store.renew_leases(PROXY, ["l1"], clock.now() + LEASE_TTL) == {"l1"}
    assert not await store.acquire(SECOND, 1)


async def test_a_daemon_that_starts_again_gives_back_all_that_it_held(store: LeaseStore) -> None:
    """And nothing of others."""
    assert await store.acquire(FIRST, 3)
    assert await store.acquire(THEIRS, 3)
    await store.release_all(PROXY)
    assert not await store.acquire(SECOND, 1)
    assert await store.acquire(SECOND, 2)

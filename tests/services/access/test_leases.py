"""A daemon's places: taken, kept alive together, given back, and lost only when auth says so."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from interlock.core.errors import StoreError
from interlock.core.ids import DaemonId
from interlock.domain.lease import LEASE_TTL, Lease
from interlock.services.access.leases import RENEWAL_S, RETRY_S, Leases
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.limits import MemoryLeases
from interlock.testing.stores import VirtualSleep

DAEMON = DaemonId("proxy")
SEMAPHORE = "connections/demo/alice"


class Desk:
    """Running leases and what a test needs of them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sleep = VirtualSleep(self.clock)
        self.store = MemoryLeases(self.clock)
        self.leases = Leases(
            self.store, daemon_id=DAEMON, clock=self.clock, entropy=FakeEntropy(), sleep=self.sleep
        )
        self.lost: list[str] = []

    async def take(self, name: str = "first", limit: int = 1) -> str | None:
        """A place."""
        return await self.leases.take(SEMAPHORE, limit, lambda: self.lost.append(name))

    async def beat(self) -> None:
        """Let the next heartbeat happen."""
        await self.sleep.wait_sleeper(RENEWAL_S)
        self.sleep.advance(RENEWAL_S)
        await self.sleep.wait_sleeper(RENEWAL_S)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Running."""
    made = Desk()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.leases.run())
        yield made
        running.cancel()


async def test_no_more_places_than_there_are(desk: Desk) -> None:
    """A refusal leaves nothing in the store."""
    assert await desk.take(limit=2) is not None
    assert await desk.take(limit=2) is not None
    assert await desk.take(limit=2) is None
    assert len(desk.store.stored) == 2


async def test_a_place_that_was_given_back_can_be_taken_at_once(desk: Desk) -> None:
    """Whoever ends one connection and begins another must not be refused because the store is behind."""
    taken = await desk.take()
    assert taken is not None
    desk.leases.give_back(taken)
    desk.leases.give_back(taken)
    assert await desk.take() is not None


async def test_all_places_are_kept_by_one_heartbeat(desk: Desk) -> None:
    """For as long as the daemon lives."""
    await desk.take(limit=3)
    await desk.take(limit=3)
    for _ in range(int(LEASE_TTL.total_seconds() / RENEWAL_S) + 1):
        await desk.beat()
    assert all(each.expires > desk.clock.now() for each in desk.store.stored.values())
    assert desk.lost == []


async def test_a_place_that_nobody_else_has_is_taken_again(desk: Desk) -> None:
    """A clock that was set lets leases expire whose daemon was never silent."""
    await desk.take()
    [lease] = desk.store.stored
    desk.store.stored.clear()
    await desk.beat()
    assert list(desk.store.stored) == [lease]
    await desk.beat()
    assert desk.lost == []


async def test_a_place_that_is_given_back_while_it_is_taken_again_is_free(desk: Desk) -> None:
    """Whatever comes first."""
    taken = await desk.take()
    assert taken is not None
    desk.store.stored.clear()
    real = desk.store.acquire

    async def slowly(lease: Lease, limit: int) -> bool:
        desk.leases.give_back(taken)
        await asyncio.sleep(0)
        return await real(lease, limit)

    desk.store.acquire = slowly  # type: ignore[method-assign]
    await desk.beat()
    await desk.leases.settle()
    assert (desk.store.stored, desk.lost) == ({}, [])


async def test_whoever_loses_his_place_is_told_once(desk: Desk) -> None:
    """Another has it now."""
    await desk.take()
    desk.store.stored = {"theirs": Lease("theirs", SEMAPHORE, DaemonId("node"), desk.clock.now() + 3 * LEASE_TTL)}
    await desk.beat()
    await desk.beat()
    assert desk.lost == ["first"]


async def test_an_auth_that_is_away_takes_no_place(desk: Desk) -> None:
    """Nobody can take it there meanwhile either."""
    await desk.take()
    desk.store.failures = 5
    for _ in range(5):
        await desk.beat()
    assert desk.lost == []
    await desk.beat()
    assert desk.lost == []
    assert [each.expires > desk.clock.now() for each in desk.store.stored.values()] == [True]


async def test_nobody_gets_a_place_that_nobody_can_count(desk: Desk) -> None:
    """And what the store may have taken before the answer was lost is given back when it is there again."""
    await desk.take(limit=2)
    real = desk.store.acquire

    async def lose_the_answer(lease: Lease, limit: int) -> bool:
        await real(lease, limit)
        raise StoreError("the connection was cut")

    desk.store.acquire = lose_the_answer  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        await desk.take(limit=2)
    desk.store.acquire = real  # type: ignore[method-assign]
    assert await desk.take(limit=2) is not None
    assert len(desk.store.stored) == 2


async def test_a_place_is_given_back_as_soon_as_the_store_takes_it(desk: Desk) -> None:
    """Whether anybody asks for it or not."""
    taken = await desk.take()
    assert taken is not None
    desk.store.failures = 1
    desk.leases.give_back(taken)
    await desk.sleep.wait_sleeper(RETRY_S)
    assert desk.store.stored
    desk.sleep.advance(RETRY_S)
    await desk.leases.settle()
    assert desk.store.stored == {}


async def test_a_start_gives_back_what_the_process_before_held(desk: Desk) -> None:
    """Its connections died with it; those of others are theirs."""
    expires = desk.clock.now() + LEASE_TTL
    desk.store.stored = {
        "old": Lease("old", SEMAPHORE, DAEMON, expires),
        "theirs": Lease("theirs", "other", DaemonId("node"), expires),
    }
    fresh = Leases(desk.store, daemon_id=DAEMON, clock=desk.clock, entropy=FakeEntropy(), sleep=desk.sleep)
    assert await fresh.take(SEMAPHORE, 1, lambda: None) is not None
    assert "old" not in desk.store.stored
    assert "theirs" in desk.store.stored


async def test_a_daemon_that_stops_leaves_nothing_behind(desk: Desk) -> None:
    """Nor does it wait for a store that is away."""
    taken = await desk.take()
    assert taken is not None
    desk.leases.give_back(taken)
    desk.store.failures = 1
    await desk.leases.settle()
    await desk.leases.settle()
    assert desk.store.stored == {}

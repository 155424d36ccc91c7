"""What every store of used proofs of presence does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from interlock.adapters.db.engine import open_database
from interlock.adapters.db.proofs import SqlProofUses
from interlock.ports import ProofUses
from interlock.services.keys.presence import KEPT
from interlock.testing.clock import START
from interlock.testing.postgres import NewPlace
from interlock.testing.stores import MemoryProofs

Auths = tuple[ProofUses, ProofUses]


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def auths(request: pytest.FixtureRequest, new_place: NewPlace) -> AsyncIterator[Auths]:
    """Each implementation in turn, as two auths have it."""
    if request.param == "memory":
        store = MemoryProofs()
        yield store, store
        return
    place = new_place(request.param)
    async with AsyncExitStack() as stack:
        first = await open_database(place)
        stack.push_async_callback(first.close)
        second = await open_database(place)
        stack.push_async_callback(second.close)
        yield SqlProofUses(first), SqlProofUses(second)


async def use(store: ProofUses, proof: str, by: str, *, after: timedelta = timedelta(0)) -> bool:
    """Some time after the beginning."""
    now = START + after
    return await store.use_proof(proof, by, now=now, forget=now - KEPT)


async def test_the_first_use_counts_at_all_auths(auths: Auths) -> None:
    """And may be repeated, as its answer may have been lost."""
    one, two = auths
    assert await use(one, "proof", "key")
    assert await use(two, "proof", "key")
    assert not await use(two, "proof", "another")
    assert not await use(one, "proof", "another")
    assert await use(two, "another", "another")


async def test_of_two_at_once_one_wins(auths: Auths) -> None:
    """Wherever they ask."""
    for turn in range(5):
        asked = (use(store, f"proof {turn}", f"key {number}") for number, store in enumerate(auths * 2))
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each) for each in asked]
        assert sum(task.result() for task in running) == 1


async def test_uses_are_forgotten_once_they_are_stale_anyway(auths: Auths) -> None:
    """The store does not grow for ever; what is fresh stays."""
    one, _ = auths
    assert await use(one, "old", "key")
    assert await use(one, "new", "key", after=KEPT)
    later = KEPT * 2
    assert await use(one, "newer", "key", after=later - timedelta(seconds=1))
    assert await use(one, "old", "another", after=later)
    assert not await use(one, "newer", "another", after=later)

"""What every lock store does."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.adapters.db.engine import open_database
from interlock.adapters.db.locks import SqlLockStore
from interlock.core.errors import NotFound
from interlock.domain.lock import Lock, LockKind
from interlock.ports import LockStore
from interlock.testing.clock import START
from interlock.testing.limits import MemoryLocks
from interlock.testing.postgres import NewPlace

LOCK = Lock("l1", LockKind.USER, "alice", START, "call 4711", START + timedelta(hours=1), "root")
OTHER = Lock("l2", LockKind.SESSION, "s1", START - timedelta(minutes=1))


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def store(request: pytest.FixtureRequest, new_place: NewPlace) -> AsyncIterator[LockStore]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield MemoryLocks()
        return
    database = await open_database(new_place(request.param))
    yield SqlLockStore(database)
    await database.close()


async def test_locks_come_back_whole_and_oldest_first(store: LockStore) -> None:
    """Whatever was said of them, and what was left out."""
    await store.add_lock(LOCK)
    await store.add_lock(OTHER)
    assert await store.locks() == [OTHER, LOCK]


async def test_a_removed_lock_is_returned_and_gone(store: LockStore) -> None:
    """So that the audit log can say what it was."""
    await store.add_lock(LOCK)
    assert await store.remove_lock("l1") == LOCK
    assert await store.locks() == []
    with pytest.raises(NotFound, match="there is no lock l1"):
        await store.remove_lock("l1")


async def test_expired_locks_are_forgotten_when_the_next_is_made(store: LockStore) -> None:
    """Not before: a listing with an older clock still has them."""
    await store.add_lock(LOCK)
    late = replace(OTHER, created=START + timedelta(hours=2))
    await store.add_lock(late)
    assert await store.locks() == [late]

"""Looking at the database now and then, and sooner if it tells of a change."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from sqlalchemy import text

from interlock.adapters.db.changes import Changes
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.locks import POLL_S, SqlLockFeed, SqlLockStore
from interlock.domain.lock import Lock, LockKind, LockList
from interlock.services.audit.outbox import Sleep
from interlock.testing.clock import START, FakeClock
from interlock.testing.postgres import NewPlace
from interlock.testing.stores import VirtualSleep

pytestmark = pytest.mark.slow

LOCK = Lock("l1", LockKind.USER, "alice", START)
SECOND = Lock("l2", LockKind.USER, "bob", START)
LISTENERS = text("SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()")
HANG_UP = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
)


@pytest.fixture
async def both(new_place: NewPlace) -> AsyncIterator[tuple[Database, Database]]:
    """Two processes' databases, which are one."""
    place = new_place("postgres")
    opened = [await open_database(place) for _ in range(2)]
    yield opened[0], opened[1]
    for each in opened:
        await each.close()


class Looking:
    """A daemon that follows the locks, for which no time passes."""

    def __init__(self, database: Database) -> None:
        self.clock = FakeClock()
        self.sleep = VirtualSleep(self.clock)
        nap = database.changes.nap("locks", sleep=self.sleep)
        feed = SqlLockFeed(database, SqlLockStore(database), strict=False, clock=self.clock, sleep=nap)
        self.told = feed.follow_locks()


async def listens(database: Database) -> None:
    """Return when somebody listens."""
    while not await database.rows(LISTENERS):
        pass


async def over(nap: Sleep) -> None:
    """One nap."""
    await nap(1)


async def test_a_change_by_another_process_is_seen_at_once(both: tuple[Database, Database]) -> None:
    """No time passes for who looks; and nobody has to look for what did not change."""
    here, there = both
    looking = Looking(here)
    async with aclosing(looking.told) as told:
        assert await anext(told) == LockList()
        for lock in (LOCK, SECOND):
            await SqlLockStore(there).add_lock(lock)
            assert lock in (await anext(told)).locks
    assert looking.clock.monotonic() == FakeClock().monotonic()


async def test_who_changes_it_by_hand_is_noticed_too(both: tuple[Database, Database]) -> None:
    """An administrator with psql."""
    here, there = both
    async with aclosing(Looking(here).told) as told:
        await anext(told)
        await there.change(
            text(
                "INSERT INTO locks VALUES ('l1', 'user', 'alice', '', '2026-01-01T00:00:00.000000Z', NULL, 'psql')"
            )
        )
        assert [lock.name for lock in (await anext(told)).locks] == ["alice"]


async def test_a_lost_notification_is_made_up_for_by_the_next_look(both: tuple[Database, Database]) -> None:
    """As on a file."""
    here, there = both
    looking = Looking(here)
    async with aclosing(looking.told) as told:
        await anext(told)
        async with asyncio.TaskGroup() as tasks:
            change = tasks.create_task(anext(told))
            await listens(there)
            await looking.sleep.wait_sleeper(POLL_S)
            await there.change(text("ALTER TABLE locks DISABLE TRIGGER USER"))
            await SqlLockStore(there).add_lock(LOCK)
            assert not change.done()
            looking.sleep.advance(POLL_S)
        assert change.result().locks == (LOCK,)


async def test_a_lost_connection_is_made_anew(both: tuple[Database, Database]) -> None:
    """Then what may have been missed is looked for, and what comes is heard again."""
    here, there = both
    async with aclosing(Looking(here).told) as told:
        await anext(told)
        async with asyncio.TaskGroup() as tasks:
            change = tasks.create_task(anext(told))
            await listens(there)
            await there.rows(HANG_UP)
            await SqlLockStore(there).add_lock(LOCK)
        assert change.result().locks == (LOCK,)
        await listens(there)
        await SqlLockStore(there).add_lock(SECOND)
        assert (await anext(told)).locks == (LOCK, SECOND)


@pytest.mark.parametrize("table", ["trackers", "mode_rules", "cluster", "trusted_clusters", "users", "roles"])
async def test_tables_that_are_told_of(both: tuple[Database, Database], table: str) -> None:
    """Each for itself: a nap ends for the tables that it names."""
    here, there = both
    never = VirtualSleep(FakeClock())
    nap, other = here.changes.nap(table, sleep=never), here.changes.nap("locks", sleep=never)
    await nap(1)  # hears that it listens now
    await other(1)
    async with asyncio.TaskGroup() as tasks:
        ends, stays = tasks.create_task(over(nap)), tasks.create_task(over(other))
        await never.wait_sleeper(1)
        await there.change(text(f"DELETE FROM {table}"))
        await ends
        assert not stays.done()
        stays.cancel()


async def test_a_change_between_two_naps_is_not_slept_through(both: tuple[Database, Database]) -> None:
    """It came while its reader was busy with the one before."""
    here, there = both
    never = VirtualSleep(FakeClock())
    nap, witness = here.changes.nap("locks", sleep=never), here.changes.nap("locks", sleep=never)
    await nap(1)
    await witness(1)
    async with asyncio.TaskGroup() as tasks:
        heard = tasks.create_task(over(witness))
        await never.wait_sleeper(1)
        await SqlLockStore(there).add_lock(LOCK)
        await heard
    await nap(1)


async def test_a_file_tells_nothing() -> None:
    """The sleep is what it was."""
    changes = Changes(None)
    assert changes.nap("locks", sleep=asyncio.sleep) is asyncio.sleep
    changes.close()

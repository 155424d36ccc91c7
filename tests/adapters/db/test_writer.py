"""Writes that are committed together: fewer commits, and otherwise as if each were alone."""

import asyncio
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Connection, Engine, event, text

from interlock.adapters.db.backend import WRITES, driver
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.writer import GROUP
from interlock.core.errors import Denied, StoreError
from interlock.testing.postgres import Place

SHOWN = text("SELECT sid FROM twins ORDER BY seq")
ADD = text("INSERT INTO twins (sid, node, seen_from) VALUES (:sid, 'n', 'f')")


@pytest.fixture
def commits() -> Iterator[list[Connection]]:
    """One entry for each commit of a write transaction of this process."""
    seen: list[Connection] = []

    def note(connection: Connection) -> None:
        if connection.get_execution_options().get(WRITES):
            seen.append(connection)

    event.listen(Engine, "commit", note)
    yield seen
    event.remove(Engine, "commit", note)


def adding(name: str) -> Callable[[Connection], str]:
    """Store a row of this name; a second one of it fails."""

    def work(connection: Connection) -> str:
        connection.execute(ADD, {"sid": name})
        return name

    return work


async def shown(database: Database) -> list[str]:
    """What is stored, in its order."""
    return [row.sid for row in await database.rows(SHOWN)]


async def test_writes_that_wait_together_are_one_commit_in_their_order(
    database: Database, commits: list[Connection]
) -> None:
    """A hundred sessions that end at once cost the disk one fsync; each is told its own result."""
    names = [f"t{number}" for number in range(GROUP)]
    assert await asyncio.gather(*(database.write(adding(name)) for name in names)) == names
    assert len(commits) == 1
    assert await shown(database) == names


async def test_a_group_is_bounded(database: Database, commits: list[Connection]) -> None:
    """Other processes get their turn."""
    await asyncio.gather(*(database.write(adding(f"t{number}")) for number in range(2 * GROUP + 1)))
    assert len(commits) == 3


async def test_what_comes_during_a_commit_is_the_next_group(database: Database, commits: list[Connection]) -> None:
    """A writer that never rests still commits as seldom as it can."""
    later: list[asyncio.Task[str]] = []
    loop = asyncio.get_running_loop()
    added = asyncio.Event()

    def enqueue() -> None:
        later.extend(loop.create_task(database.write(adding(name))) for name in ("b", "c"))
        loop.call_soon(loop.call_soon, added.set)

    def first(connection: Connection) -> str:
        loop.call_soon_threadsafe(enqueue)
        asyncio.run_coroutine_threadsafe(added.wait(), loop).result(10)
        return adding("a")(connection)

    await database.write(first)
    await asyncio.gather(*later)
    assert len(commits) == 2
    assert await shown(database) == ["a", "b", "c"]


async def test_a_write_that_fails_undoes_only_itself(database: Database) -> None:
    """Not what it did before it failed, and not what the others did; each caller gets its own error."""

    def half(connection: Connection) -> str:
        adding("half")(connection)
        raise Denied("no")

    outcomes = await asyncio.gather(
        database.write(adding("one")),
        database.write(half),
        database.write(adding("one")),
        database.write(adding("two")),
        return_exceptions=True,
    )
    assert [outcomes[0], outcomes[3]] == ["one", "two"]
    assert isinstance(outcomes[1], Denied)
    assert isinstance(outcomes[2], StoreError)
    assert await shown(database) == ["one", "two"]


async def test_a_transaction_that_is_lost_fails_for_everybody_in_it(database: Database) -> None:
    """As SQLite undoes all of it when the disk is full: nobody is told that something is stored which is not."""

    def full(connection: Connection) -> str:
        driver(connection).execute("ROLLBACK")
        raise OSError(28, "No space left on device")

    writes = (database.write(adding("one")), database.write(full), database.write(adding("two")))
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(each) for each in outcomes] == [StoreError, StoreError, StoreError]
    assert await shown(database) == []
    assert await database.write(adding("three")) == "three"


async def test_a_caller_that_is_cancelled_does_not_undo_its_write(database: Database) -> None:
    """Nor does it disturb the others of the group."""
    task = asyncio.create_task(database.write(adding("cancelled")))
    await asyncio.sleep(0)
    task.cancel()
    assert await database.write(adding("other")) == "other"
    assert task.cancelled()
    assert await shown(database) == ["cancelled", "other"]


async def test_closing_writes_what_waits(place: Place) -> None:
    """Also what was handed over in the same step of the loop."""
    database = await open_database(place)
    task = asyncio.create_task(database.write(adding("last")))
    await asyncio.sleep(0)
    await database.close()
    assert await task == "last"
    again = await open_database(place)
    assert await shown(again) == ["last"]
    await again.close()


async def test_a_write_sees_what_the_one_before_it_in_the_group_did(database: Database) -> None:
    """So a count and a place taken by it are right however many ask at once (leases)."""

    def take(connection: Connection) -> bool:
        held = connection.execute(text("SELECT count(*) FROM twins")).scalar() or 0
        if held >= 3:
            return False
        adding(f"t{held}")(connection)
        return True

    assert await asyncio.gather(*(database.write(take) for _ in range(5))) == [True, True, True, False, False]

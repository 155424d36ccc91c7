"""The database: private, durable, migrated once, and shared with other processes."""

import asyncio
import stat
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from interlock.adapters.db import engine, schema
from interlock.adapters.db.engine import Database, open_database
from interlock.core.errors import ConfigError, StoreError
from interlock.testing.postgres import Place

OF_MONTHS = {None, "events_in_chain", "events_once_per_session"}


def modes(directory: Path) -> dict[str, int]:
    """The permissions of the database's files."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.glob("test.db*")}


async def test_the_file_and_its_companions_are_private(file: Database, tmp_path: Path) -> None:
    """0600 for the database and for its write-ahead log, which holds keys too."""
    await file.change(text("DELETE FROM users"))
    found = await asyncio.to_thread(modes, tmp_path)
    assert len(found) >= 2
    assert set(found.values()) == {0o600}


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 10_000)],
)
async def test_connections_are_durable_and_patient(file: Database, pragma: str, value: object) -> None:
    """WAL with synchronous=FULL: what was committed survives a power cut."""
    assert await file.read(lambda connection: connection.execute(text(f"PRAGMA {pragma}")).scalar()) == value


async def test_migrations_make_exactly_the_tables_that_the_stores_use(database: Database) -> None:
    """schema.py and the migrations do not drift apart."""

    def difference(connection: Connection) -> list[object]:
        monthly = connection.dialect.name == "postgresql"

        def is_compared(part: Any, name: str | None, kind: str, reflected: bool, _other: object) -> bool:
            """Events are in tables of months there, which have the unique keys (test_months)."""
            if kind == "table":
                return not (reflected and str(name).startswith("events_"))
            key = kind in {"index", "unique_constraint"} and part.table.name == "events" and name in OF_MONTHS
            return not (monthly and key)

        context = MigrationContext.configure(connection, opts={"include_object": is_compared})
        found: list[object] = compare_metadata(context, schema.metadata)
        return found

    assert await database.read(difference) == []


def test_head_is_the_newest_migration() -> None:
    """The constant that saves importing Alembic tells the truth."""
    config = Config()
    config.set_main_option("script_location", str(engine._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == engine.HEAD


async def test_two_first_starts_at_once_both_succeed(empty: Place) -> None:
    """One migrates, the other finds it done."""
    async with asyncio.TaskGroup() as tasks:
        both = [tasks.create_task(open_database(empty)) for _ in range(2)]
    for task in both:
        await task.result().close()


async def test_a_database_of_a_newer_version_is_refused(database: Database, place: Place) -> None:
    """Old code must not guess what new tables mean (R6)."""
    await database.change(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="newer Interlock"):
        await open_database(place)


async def test_what_is_no_database_is_a_store_error(tmp_path: Path) -> None:
    """With a sentence for the person and the library's words for the log."""
    (tmp_path / "junk.db").write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(StoreError) as caught:
        await open_database(tmp_path / "junk.db")
    assert caught.value.public == "the gateway's database is not available"
    assert "not a database" in caught.value.reason
    with pytest.raises(StoreError, match="cannot open"):
        await open_database(tmp_path / "no such directory" / "x.db")


async def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    """Write transactions are all or nothing."""

    def insert_twice(connection: Connection) -> None:
        for _ in range(2):
            connection.execute(text("INSERT INTO cluster VALUES (1, 'i', 'n', 'node', 't')"))

    with pytest.raises(StoreError):
        await database.write(insert_twice)
    assert await database.rows(text("SELECT * FROM cluster")) == []


async def test_writers_in_two_processes_wait_for_each_other(database: Database, place: Place) -> None:
    """Read-then-write in two processes at once: nobody fails, nothing is lost."""
    other = await open_database(place)

    def add(connection: Connection) -> None:
        count = connection.execute(text("SELECT count(*) FROM mode_rules")).scalar()
        connection.execute(text("INSERT INTO mode_rules VALUES (:labels, 'node')"), {"labels": str(count)})

    async def increment(mine: Database) -> None:
        for _ in range(10):
            await mine.write(add)

    async with asyncio.TaskGroup() as tasks:
        for each in (database, other, database):
            tasks.create_task(increment(each))
    await other.close()
    assert len(await database.rows(text("SELECT * FROM mode_rules"))) == 30

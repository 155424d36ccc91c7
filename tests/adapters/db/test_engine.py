"""The database file: private, durable, migrated once, and shared with other processes."""

import asyncio
import stat
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text

from interlock.adapters.db import engine, schema
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.trackers import SqlTrackerStore
from interlock.core.errors import ConfigError, StoreError

MOMENT = "2026-01-10T22:23:57.642000Z"
BODY = (
    '{"user":"alice","login":"root","hostname":"web1","target_id":"n1","cluster":"demo","sub_kind":"interlock",'
    '"recording_mode":"node","kind":"ssh","command":[],"participants":["alice"]}'
)
OLD_TRACKER = f"INSERT INTO trackers VALUES (:sid, :state, 0, 'd1', '{MOMENT}', '{MOMENT}', '{BODY}')"
OLD_EVENT = (
    "INSERT INTO events (uid, sid, event, time, user, ei, body) "
    f"VALUES (:uid, :sid, 'session.start', '{MOMENT}', 'alice', 0, json_object('uid', :uid))"
)


def modes(directory: Path) -> dict[str, int]:
    """The permissions of the database's files."""
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in directory.glob("test.db*")}


async def test_the_file_and_its_companions_are_private(database: Database, tmp_path: Path) -> None:
    """0600 for the database and for its write-ahead log, which holds keys too."""
    await database.change(text("DELETE FROM users"))
    found = await asyncio.to_thread(modes, tmp_path)
    assert len(found) >= 2
    assert set(found.values()) == {0o600}


@pytest.mark.parametrize(
    ("pragma", "value"),
    [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1), ("busy_timeout", 10_000)],
)
async def test_connections_are_durable_and_patient(database: Database, pragma: str, value: object) -> None:
    """WAL with synchronous=FULL: what was committed survives a power cut."""
    assert await database.read(lambda connection: connection.execute(text(f"PRAGMA {pragma}")).scalar()) == value


async def test_migrations_make_exactly_the_tables_that_the_stores_use(database: Database) -> None:
    """schema.py and the migrations do not drift apart."""

    def difference(connection: Connection) -> list[object]:
        found: list[object] = compare_metadata(MigrationContext.configure(connection), schema.metadata)
        return found

    assert await database.read(difference) == []


def test_head_is_the_newest_migration() -> None:
    """The constant that saves importing Alembic tells the truth."""
    config = Config()
    config.set_main_option("script_location", str(engine._MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == engine.HEAD


async def test_a_database_of_the_release_before_is_brought_up_to_date(tmp_path: Path) -> None:
    """With what it holds: live and ended sessions, and events, which are found by the new indices."""
    path = tmp_path / "old.db"
    old = create_engine(f"sqlite:///{path}")
    with old.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(engine._MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        for number, state in enumerate((0, 1, 2)):
            connection.execute(text(OLD_TRACKER), {"sid": f"s{number}", "state": state})
            connection.execute(text(OLD_EVENT), {"uid": f"u{number}", "sid": f"s{number}"})
    old.dispose()
    database = await open_database(path)
    assert [tracker.sid for tracker in await SqlTrackerStore(database).live()] == ["s0", "s1"]
    begun = await SqlAuditLog(database).begun(user="alice", before=3, limit=10)
    assert [(cursor, start["uid"]) for cursor, start in begun] == [(2, "u1"), (1, "u0")]
    await database.close()


async def test_two_first_starts_at_once_both_succeed(tmp_path: Path) -> None:
    """One migrates, the other finds it done."""
    async with asyncio.TaskGroup() as tasks:
        both = [tasks.create_task(open_database(tmp_path / "new.db")) for _ in range(2)]
    for task in both:
        await task.result().close()


async def test_a_database_of_a_newer_version_is_refused(database: Database, tmp_path: Path) -> None:
    """Old code must not guess what new tables mean (R6)."""
    await database.change(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="newer Interlock"):
        await open_database(tmp_path / "test.db")


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


async def test_writers_in_two_processes_wait_for_each_other(database: Database, tmp_path: Path) -> None:
    """Read-then-write in two processes at once: nobody fails, nothing is lost."""
    other = await open_database(tmp_path / "test.db")

    def add(connection: Connection) -> None:
        count = connection.execute(text("SELECT count(*) FROM tokens")).scalar()
        connection.execute(text("INSERT INTO tokens VALUES (:id, x'00', 't', 't', 1, 'node')"), {"id": str(count)})

    async def increment(mine: Database) -> None:
        for _ in range(10):
            await mine.write(add)

    async with asyncio.TaskGroup() as tasks:
        for each in (database, other, database):
            tasks.create_task(increment(each))
    await other.close()
    assert len(await database.rows(text("SELECT * FROM tokens"))) == 30

"""The database file: opened privately, migrated to this version's tables, and spoken to in short transactions.

Writers take the write lock when they begin (BEGIN IMMEDIATE): a transaction that reads first and writes later
would otherwise fail at once, without waiting, when another process wrote in between.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from interlock.core.errors import ConfigError, StoreError

HEAD = "0001"
"""The newest migration. Asked for before Alembic is imported, which costs every command a fifth of a second."""

BUSY_TIMEOUT_MS = 10_000
"""How long a process waits for another one's write transaction; ours last milliseconds."""

_WRITES = "interlock_writes"
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """An open database. Stores borrow connections from it; errors leave as StoreError."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._readers = engine
        self._writers = engine.execution_options(**{_WRITES: True})
        self._turn = asyncio.Lock()  # SQLite lets the second writer poll with growing pauses; a queue is faster

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """For one SELECT, which sees one state. No transaction: each of its statements is a trip to a thread."""
        with _named():
            async with self._readers.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A write transaction, durable when the block ends without an error."""
        with _named():
            async with self._turn, self._writers.begin() as connection:
                yield connection

    async def close(self) -> None:
        """Close all connections."""
        await self._readers.dispose()


class _named:  # noqa: N801 - reads as a statement
    """Gives the library's errors our name; the cause stays for the audit log only."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, SQLAlchemyError | OSError):
            raise StoreError("the gateway's database is not available", reason=str(error)) from error


async def open_database(path: Path) -> Database:
    """Open or create the database file (0600) and bring its tables up to date.

    StoreError if that fails, ConfigError if a newer Interlock made the file.
    """
    _create_private(path)
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}")
    event.listen(engine.sync_engine, "connect", _prepare)
    event.listen(engine.sync_engine, "begin", _begin)
    database = Database(engine)
    try:
        await _migrate(database)
    except BaseException:
        await database.close()
        raise
    return database


def _create_private(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"cannot open the database {path}: {error.strerror}", reason=str(error)) from error


def _prepare(connection: Any, record: object) -> None:
    del record
    connection.isolation_level = None  # transactions begin where _begin says, not where the driver guesses
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITES, False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


async def _migrate(database: Database) -> None:
    async with database.reading() as connection:
        if await connection.run_sync(_version) == HEAD:
            return
    async with database.writing() as connection:  # only one process migrates; the others find it done
        version = await connection.run_sync(_version)
        if version is not None and version > HEAD:
            raise ConfigError(
                "the data directory was made by a newer Interlock: install that version or a later one",
                reason=f"database version {version}, this Interlock knows {HEAD}",
            )
        await connection.run_sync(_upgrade)


def _version(connection: Connection) -> str | None:
    found = connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")).first()
    if found is None:
        return None
    version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return version


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

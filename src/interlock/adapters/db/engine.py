"""The database file: opened privately, migrated to this version's tables, and spoken to in short transactions.

A transaction runs as a whole in a worker thread: one trip there and back, where an asynchronous driver needs one
for each of its ten steps. What every session's set-up asks is looked up on the event loop itself, since the trip
would cost ten times the read (ADR-0005). What is written is committed in groups (`writer`). An asynchronous driver
of another database fits behind the same methods. Writers take the write lock when they begin (BEGIN IMMEDIATE):
one that reads first and writes later would otherwise fail at once, without waiting, when another process wrote in
between.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Executable, Row, create_engine, event, text

from interlock.adapters.db.prepared import Prepared, driver
from interlock.adapters.db.writer import GroupWriter, named_errors
from interlock.core.errors import ConfigError, StoreError

HEAD = "0008"
"""The newest migration. Asked for before Alembic is imported, which costs every command a fifth of a second."""

BUSY_TIMEOUT_MS = 10_000
"""How long a process waits for another one's write transaction; ours last milliseconds."""

READERS = 4
"""Threads that read at the same time; a read takes a fraction of a millisecond."""

_WAL_ATTEMPTS, _WAL_PAUSE_S = 100, 0.02

T = TypeVar("T")
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None

_WRITES = "interlock_writes"
_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """An open database. Stores hand it their statements; errors leave as StoreError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._readers = ThreadPoolExecutor(READERS, "database-read")
        self._writer = GroupWriter(engine.execution_options(**{_WRITES: True}))
        self._near: Connection | None = None  # of the event loop's thread, made when first asked; it never writes

    async def rows(self, query: Executable) -> Sequence[Row[Any]]:
        """The result of one SELECT."""
        return await self.read(lambda connection: connection.execute(query).all())

    async def change(self, statement: Executable, parameters: Parameters = None) -> int:
        """Run one statement in a transaction of its own; how many rows it changed. Durable when this returns."""
        return await self.write(lambda connection: connection.execute(statement, parameters).rowcount)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` finds, run in a thread. It must not write; each of its statements sees one state."""

        def run() -> T:
            with named_errors(), self._engine.connect() as connection:
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._readers, run)

    def look(self, query: Prepared, **values: Any) -> list[Any]:
        """The result of one SELECT on the caller's thread, which is the event loop's.

        For few rows by an index: ten microseconds, where a trip to a thread costs a hundred and more.
        """
        with named_errors():
            return query.rows(driver(self._here()), **values)

    def version(self) -> int:
        """Another number than before if anybody, in whatever process, has written since. A few microseconds."""
        with named_errors():
            return int(driver(self._here()).execute("PRAGMA data_version").fetchone()[0])

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a thread as one transaction: durable when this returns, undone if it raises.

        A caller that is cancelled does not stop it. Others' writes may share the commit; none sees a half of it.
        """
        return await self._writer.write(work)

    def _here(self) -> Connection:
        if self._near is None:
            self._near = self._engine.connect()
        return self._near

    async def close(self) -> None:
        """Let what was begun finish, and close all connections."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._readers.shutdown()
        if self._near is not None:
            self._near.close()
        self._engine.dispose()


async def open_database(path: Path) -> Database:
    """Open or create the database file (0600) and bring its tables up to date.

    StoreError if that fails, ConfigError if a newer Interlock made the file.
    """
    _create_private(path)
    engine = create_engine(f"sqlite:///{path}")
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
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
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    for pause in (*(_WAL_PAUSE_S,) * _WAL_ATTEMPTS, None):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:  # another process is switching a new file; SQLite does not wait for that
            if pause is None:
                raise
            sleep(pause)
    cursor.close()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(_WRITES, False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


async def _migrate(database: Database) -> None:
    if await database.read(_version) != HEAD:
        await database.write(_upgrade)  # only one process migrates; the others find it done


def _version(connection: Connection) -> str | None:
    found = connection.execute(text("SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'")).first()
    if found is None:
        return None
    version: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return version


def _upgrade(connection: Connection) -> None:
    version = _version(connection)
    if version is not None and version > HEAD:
        raise ConfigError(
            "the data directory was made by a newer Interlock: install that version or a later one",
            reason=f"database version {version}, this Interlock knows {HEAD}",
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

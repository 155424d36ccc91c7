"""The database: opened, migrated to this version's tables, and spoken to in short transactions.

A transaction runs as a whole in a worker thread: one trip there and back, where an asynchronous driver needs one
for each of its ten steps. What every session's set-up asks is looked up on the event loop itself if the database
is a file, since the trip would cost ten times the read (ADR-0005). What is written is committed in groups
(`writer`). What differs between the databases is asked of a `backend.Backend`.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Executable, Row, inspect, text

from interlock.adapters.db.backend import Backend, ConnectionLost, connected, driver, named_errors
from interlock.adapters.db.changes import Changes
from interlock.adapters.db.leads import SqlLeads
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.sqlite import Sqlite
from interlock.adapters.db.writer import GroupWriter
from interlock.core.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from interlock.adapters.db.postgres import PostgresUrl

HEAD = "0027"
"""The newest migration. Asked for before Alembic is imported, which costs every command a fifth of a second."""

READERS = 4
"""Threads that read at the same time; a read takes a fraction of a millisecond."""

GLANCE_S = 1.0
"""Seconds for which the event loop waits at most for a database that is not near; it is away then."""

T = TypeVar("T")
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None

_MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """An open database. Stores hand it their statements; errors leave as StoreError."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._engine = backend.engine()
        self._readers = ThreadPoolExecutor(READERS, "database-read")
        self._writer = GroupWriter(self._engine.execution_options(**backend.writing), backend)
        self.changes = Changes(backend.telling)
        self.leads = SqlLeads(backend)
        self._near: Connection | None = None  # of the event loop's thread, made when first asked; it never writes
        self._stuck: Future[Any] | None = None  # a glance that was not answered in time

    @property
    def shared(self) -> bool:
        """Whether auths on other machines may use it as well."""
        return self._backend.apart is not None

    async def rows(self, query: Executable) -> Sequence[Row[Any]]:
        """The result of one SELECT."""
        return await self.read(lambda connection: connection.execute(query).all())

    async def change(self, statement: Executable, parameters: Parameters = None) -> int:
        """Run one statement in a transaction of its own; how many rows it changed. Durable when this returns."""
        return await self.write(lambda connection: connection.execute(statement, parameters).rowcount)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` finds, run in a thread. It must not write; each of its statements sees one state."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def look(self, query: Prepared, **values: Any) -> list[Any]:
        """The result of one SELECT that finds few rows by an index.

        In a file, on the caller's thread, which is the event loop's: ten microseconds, where a trip to a thread
        costs a hundred and more.
        """
        if self._backend.near:
            return self._look_here(query, values)
        return await self.read(lambda connection: query.rows(connection, **values))

    def glance(self, query: Prepared, **values: Any) -> list[Any]:
        """The same for those who cannot wait; StoreError if the answer takes longer than `GLANCE_S`."""
        if self._backend.near:
            return self._look_here(query, values)
        if self._stuck is not None and not self._stuck.done():
            raise StoreError("the gateway's database is not available", reason="it has not answered yet")
        asked = self._readers.submit(self._read, lambda connection: query.rows(connection, **values))
        try:
            return asked.result(GLANCE_S)
        except TimeoutError as error:
            self._stuck = asked
            reason = f"no answer within {GLANCE_S} s"
            raise StoreError("the gateway's database is not available", reason=reason) from error

    async def version(self) -> object:
        """Another value than before if anybody, in whatever process, has written since."""
        if self._backend.near:
            with named_errors(self._backend):
                return self._version(self._here())
        return await self.read(self._version)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a thread as one transaction: durable when this returns, undone if it raises.

        A caller that is cancelled does not stop it. Others' writes may share the commit; none sees a half of it.
        It may run again if what it did has been undone. Nobody else writes between its beginning and the commit.
        """
        return await self._writer.write(work)

    def _read(self, work: Callable[[Connection], T]) -> T:
        try:
            return self._read_once(work)
        except ConnectionLost:  # perhaps the database is back already
            return self._read_once(work)

    def _read_once(self, work: Callable[[Connection], T]) -> T:
        with connected(self._engine, self._backend) as connection:
            return work(connection)

    def _look_here(self, query: Prepared, values: Mapping[str, Any]) -> list[Any]:
        with named_errors(self._backend):
            return query.rows(self._here(), **values)

    def _version(self, connection: Connection) -> object:
        return driver(connection).execute(self._backend.version).fetchone()[0]

    def _here(self) -> Connection:
        if self._near is None:
            self._near = self._engine.connect()
        return self._near

    async def scrub(self) -> None:
        """Leave nothing of what was replaced in the database's files, as far as that is in our hands."""
        await asyncio.to_thread(self._backend.scrub)

    async def close(self) -> None:
        """Let what was begun finish, and close all connections."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self.changes.close()
        self.leads.close()
        self._writer.close()
        self._readers.shutdown()
        if self._near is not None:
            self._near.close()
        self._engine.dispose()


async def open_database(place: "Path | PostgresUrl") -> Database:
    """Open the database, or create the file (0600), and bring its tables up to date.

    StoreError if that fails, ConfigError if a newer Interlock made it.
    """
    database = Database(_backend(place))
    try:
        await _migrate(database)
    except StoreError as error:
        await database.close()
        if isinstance(place, Path):
            raise
        said = " ".join(error.reason.partition(": ")[2].split())  # one line, without the exception's name
        public = f"cannot open the database {place}: {said or error.reason}"  # whoever starts us has to mend it
        raise StoreError(public, reason=error.reason) from error
    except BaseException:
        await database.close()
        raise
    return database


def _backend(place: "Path | PostgresUrl") -> Backend:
    if isinstance(place, Path):
        file = Sqlite(place)
        file.create()
        return file
    from interlock.adapters.db.postgres import Postgres  # its driver takes half a second to import

    return Postgres(place)


async def _migrate(database: Database) -> None:
    if await database.read(_version) != HEAD:
        await database.write(_upgrade)  # only one process migrates; the others find it done


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
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

"""What differs between the databases that we run on: a table of two, `sqlite.Sqlite` and `postgres.Postgres`.

Statements are SQLAlchemy Core and the same for both; where their SQL differs it is said in `words`. All else (how
to connect, how one writer at a time is had, what an error means) is asked of a `Backend`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from interlock.adapters.db.changes import Telling
from interlock.core.errors import StoreError

WRITES = "interlock_writes"
"""The one of these options by which the backends know such a transaction."""

BUSY_TIMEOUT_MS = 10_000
"""How long a process waits for another one's write transaction; ours last milliseconds."""


class Backend(Protocol):
    """One kind of database."""

    near: bool
    """Whether a read by an index costs less than the trip to a thread."""

    error: type[Exception]
    """What its driver raises."""

    version: str
    """A SELECT of one value, another one than before if anybody has written since."""

    writing: Mapping[str, Any]
    """Execution options of transactions that write: they begin with the turn to write."""

    def engine(self) -> Engine:
        """New. Without the options `writing` its connections only read."""
        ...

    @property
    def telling(self) -> Telling | None:
        """Hears of what others change; None if the database does not tell (`changes.Changes`)."""
        ...

    @property
    def apart(self) -> Callable[[], Any] | None:
        """Makes a driver's connection beside those of the pool; None if only this machine uses the database."""
        ...

    def undone(self, connection: Connection) -> bool:
        """Whether the database has undone the whole transaction, not only the statement that failed."""
        ...

    def hung_up(self, connection: Connection) -> bool:
        """Whether the connection is lost: nothing was done in it that was not committed."""
        ...

    def collided(self, error: BaseException) -> bool:
        """Whether the transaction failed by another one's fault, and may be tried again."""
        ...

    def scrub(self) -> None:
        """Leave nothing of what was replaced in the database's files, where that can be done. Blocks."""
        ...

    def reason(self, error: Exception) -> str:
        """What the driver says of it, without the values that were to be stored: there are keys among them."""
        ...


class ConnectionLost(StoreError):
    """The database hung up. Nothing that was not committed has been done."""


def driver(connection: Connection) -> Any:
    """The driver's own connection under one of SQLAlchemy's; in the same transaction."""
    return connection.connection.dbapi_connection


@contextmanager
def named_errors(backend: Backend) -> Iterator[None]:
    """Give the libraries' errors our name; the cause stays for the audit log only."""
    try:
        yield
    except (SQLAlchemyError, OSError, backend.error) as error:
        inner = error.orig if isinstance(error, DBAPIError) and isinstance(error.orig, Exception) else error
        raise StoreError("the gateway's database is not available", reason=backend.reason(inner)) from inner


@contextmanager
def connected(engine: Engine, backend: Backend) -> Iterator[Connection]:
    """A connection of the pool. StoreError if there is none, ConnectionLost if it is lost meanwhile."""
    with named_errors(backend):
        connection = engine.connect()
    try:
        with named_errors(backend):
            yield connection
    except Exception as error:
        if not backend.hung_up(connection):
            raise
        connection.invalidate()
        if isinstance(error, StoreError):
            raise ConnectionLost(error.public, reason=error.reason) from error
        raise
    finally:
        with suppress(SQLAlchemyError, backend.error):  # what could go wrong has been told
            connection.close()

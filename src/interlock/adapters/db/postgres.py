"""PostgreSQL: one database for several auths, by psycopg, synchronously (ADR-0015).

One transaction writes at a time, in all processes together, as in SQLite: each takes an advisory lock when it
begins. So what a write has read is still so when it commits, an event's number says when it was stored, and a
reader that follows them by number misses none. What a group costs is one commit, whoever waits for it.

A session that stops in the middle of a transaction is ended by the server, so that nobody waits for it long.
"""

import select
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, LiteralString

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import DeadlockDetected, SerializationFailure
from psycopg.pq import TransactionStatus
from psycopg.types.string import StrDumper, StrDumperUnknown
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError

from interlock.adapters.db.backend import BUSY_TIMEOUT_MS, WRITES, driver, named_errors
from interlock.adapters.db.changes import ANY, Telling
from interlock.core.errors import ConfigError

OLDEST = 13_00_00
"""PostgreSQL 13, whose snapshots can be compared as text."""

IDLE_TIMEOUT_MS = 10_000
"""A transaction in which nothing is asked for so long belongs to a process that hangs."""

STATEMENT_TIMEOUT_MS = 60_000
"""No statement of ours takes a second."""

CONNECT_TIMEOUT_S = 5

CHANNEL: LiteralString = "interlock"
"""On which the triggers notify, with a table's name."""

_TURN = 0x1E7E_2_10C4
"""The key of the advisory lock."""

_DEFAULTS: dict[str, str | int] = {
    "application_name": "interlock",
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "target_session_attrs": "read-write",  # of several hosts, the one that takes writes now
}
"""What libpq is told unless the URL says otherwise."""

_SETTINGS: LiteralString = """
    SELECT set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false),
           set_config('idle_in_transaction_session_timeout', %s, false),
           set_config('synchronous_commit',
                      CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'
                      ELSE current_setting('synchronous_commit') END, false),
           current_setting('server_encoding')"""
"""What is told stored is on the disk: a server that is set to answer before has to wait for us."""


@dataclass(frozen=True, slots=True)
class PostgresUrl:
    """Where a database is, in libpq's form: ``postgresql://user@host/name?sslmode=verify-full``."""

    _url: str = field(repr=False)  # may hold a password

    @classmethod
    def parse(cls, text: str) -> "PostgresUrl":
        """ConfigError, which repeats nothing of it, for what libpq cannot read."""
        if not text.startswith(("postgresql://", "postgres://")):
            raise ConfigError("the database must be a URL: postgresql://USER@HOST/NAME")
        try:
            conninfo_to_dict(text)
        except psycopg.Error:
            raise ConfigError(
                "the database's URL cannot be read: postgresql://USER@HOST/NAME?OPTION=..."
            ) from None
        return cls(text)

    @property
    def has_password(self) -> bool:
        """Whether the URL itself holds a secret."""
        return "password" in conninfo_to_dict(self._url)

    @property
    def text(self) -> str:
        """The URL as it is, secrets included."""
        return self._url

    def parameters(self) -> dict[str, Any]:
        """All that libpq is told."""
        return _DEFAULTS | dict(conninfo_to_dict(self._url)) | {"client_encoding": "utf8"}

    def __str__(self) -> str:
        """Which database it is, without secrets."""
        known = conninfo_to_dict(self._url)
        return f"postgresql://{known.get('host', 'localhost')}/{known.get('dbname', '')}"


class Postgres:
    """`backend.Backend`."""

    near = False
    error: type[Exception] = psycopg.Error
    writing: Mapping[str, Any] = MappingProxyType(
        {WRITES: True, "isolation_level": "READ COMMITTED", "preserve_rowcount": True}
    )
    version = "SELECT pg_current_snapshot()::text"

    def __init__(self, url: PostgresUrl) -> None:
        self._url = url

    def engine(self) -> Engine:
        """`Backend.engine`."""
        engine = create_engine(
            "postgresql+psycopg://",
            creator=self.connect,
            use_native_hstore=False,
            hide_parameters=True,
            isolation_level="AUTOCOMMIT",
        )
        event.listen(engine, "checkout", _check)
        event.listen(engine, "begin", _take_turn)
        return engine

    def connect(self) -> "psycopg.Connection[Any]":
        """A connection as all of ours are; psycopg.Error, ConfigError for a server that we cannot use."""
        connection = psycopg.connect(**self._url.parameters(), autocommit=True)
        try:
            _set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    @property
    def telling(self) -> Telling:
        """What the triggers of the tables notify of."""
        return self._tell

    @property
    def apart(self) -> "Callable[[], psycopg.Connection[Any]]":
        """Any of its machines may be its writer."""
        return self.connect

    def _tell(self, stop: int) -> Iterator[str]:
        with named_errors(self), self.connect() as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            yield ANY
            waiting = select.poll()
            for each in (connection.fileno(), stop):
                waiting.register(each, select.POLLIN)
            while all(ready != stop for ready, _ in waiting.poll()):
                connection.pgconn.consume_input()
                while (notification := connection.pgconn.notifies()) is not None:
                    yield notification.extra.decode()

    def undone(self, connection: Connection) -> bool:
        """When it hung up."""
        return self.hung_up(connection) or driver(connection).info.transaction_status not in {
            TransactionStatus.INTRANS,
            TransactionStatus.INERROR,
        }

    def hung_up(self, connection: Connection) -> bool:
        """Or the network did."""
        return connection.invalidated or bool(driver(connection).closed)

    def collided(self, error: BaseException) -> bool:
        """With somebody who writes without the turn, as an administrator by psql may."""
        return isinstance(error, SerializationFailure | DeadlockDetected)

    def scrub(self) -> None:
        """`Backend.scrub`: what a server keeps, in its log and archives too, is its administrator's."""

    def reason(self, error: Exception) -> str:
        """Without the DETAIL, which quotes the row."""
        primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        return f"{type(error).__name__}: {primary or error}"


def _set_up(connection: "psycopg.Connection[Any]") -> None:
    for dumper in (_Text, _UnknownText):
        connection.adapters.register_dumper(str, dumper)
    timeouts = [str(each) for each in (BUSY_TIMEOUT_MS, STATEMENT_TIMEOUT_MS, IDLE_TIMEOUT_MS)]
    *_, encoding = connection.execute(_SETTINGS, timeouts).fetchone() or ("",)
    if connection.info.server_version < OLDEST:
        raise ConfigError("the database is older than PostgreSQL 13")
    if encoding != "UTF8":
        raise ConfigError(f"the database must be made with ENCODING 'UTF8', not {encoding}")


class _Text(StrDumper):
    """Text as JSON columns have it: a NUL, which PostgreSQL cannot hold, as a visible escape."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\x00", "\\x00"))


class _UnknownText(StrDumperUnknown):
    """The same, where a statement does not say the type; the default is the one registered last."""

    def dump(self, obj: str) -> Any:
        return super().dump(obj.replace("\x00", "\\x00"))


def _check(connection: "psycopg.Connection[Any]", record: object, proxy: object) -> None:
    """A server that went away has said so, or closed: then all that lie in the pool are of no use."""
    del record, proxy
    waiting = select.poll()  # which takes any number of a descriptor
    if not connection.closed:
        waiting.register(connection.fileno(), select.POLLIN)
    if connection.closed or waiting.poll(0):
        raise InvalidatePoolError


def _take_turn(connection: Connection) -> None:
    if connection.get_execution_options().get(WRITES, False):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TURN})")

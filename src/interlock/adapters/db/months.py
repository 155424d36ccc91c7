"""The tables of months that PostgreSQL keeps events in: made before they are needed, dropped when nothing is left.

What is dropped from a month by policy (`retention`) leaves dead rows behind, for the server to tidy up; a month of
which nothing is left is dropped as a whole, and its disk is free at once. SQLite has one table.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import partial

from sqlalchemy import Connection, text

from interlock.adapters.db.engine import Database

AHEAD = 2
"""Months beyond this one for which there are tables."""

LOCK_TIMEOUT_MS = 200
"""How long a table is waited for. Whoever reads all of the log holds it, and all who write wait behind us."""

_MAKE = text("SELECT interlock_events_month(:month)")
_TIMEOUT = text("SELECT current_setting('lock_timeout')")
_SET_TIMEOUT = text("SELECT set_config('lock_timeout', :value, true)")
_PARTS = text(
    "SELECT relid::text AS name FROM pg_partition_tree('events') "
    "WHERE isleaf AND relid::text ~ '_[0-9]{4}_[0-9]{2}$' ORDER BY name"
)


class EventMonths:
    """Keeps up with the calendar."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tend(self, now: datetime) -> tuple[int, list[str]]:
        """Make the tables of this month and the next, drop empty ones of months before the last.

        How many were made, and the names of those dropped. Each is a transaction of its own. StoreError: ask
        again; perhaps somebody reads all of the log.
        """
        made = 0
        wanted = [_month(now, ahead) for ahead in range(AHEAD + 1)]
        for month in await self._database.read(lambda connection: _missing(connection, wanted)):
            made += await self._database.write(partial(_make, month=month))
        last = _name(_month(now, -1))  # for which daemons may still tell something
        empty = await self._database.read(lambda connection: _empty(connection, last))
        return made, [name for name in empty if await self._database.write(partial(_drop, name=name))]


def _missing(connection: Connection, wanted: list[str]) -> list[str]:
    there = _parts(connection)
    return [month for month in wanted if _name(month) not in there] if there is not None else []


def _empty(connection: Connection, before: str) -> list[str]:
    past = [name for name in _parts(connection) or () if name < before]
    return [name for name in past if _is_empty(connection, name)]


def _parts(connection: Connection) -> list[str] | None:
    """The tables of months; None if this database has none."""
    return list(connection.execute(_PARTS).scalars()) if connection.dialect.name == "postgresql" else None


def _make(connection: Connection, *, month: str) -> int:
    with _impatient(connection):
        return int(connection.execute(_MAKE, {"month": month}).scalar() or False)


def _drop(connection: Connection, *, name: str) -> bool:
    """Whether it was there, and still empty."""
    with _impatient(connection):
        if name not in (_parts(connection) or ()) or not _is_empty(connection, name):
            return False
        connection.exec_driver_sql(f"DROP TABLE {name}")
        return True


def _is_empty(connection: Connection, name: str) -> bool:
    return not connection.exec_driver_sql(f"SELECT FROM {name} LIMIT 1").rowcount


@contextmanager
def _impatient(connection: Connection) -> Iterator[None]:
    """Wait for locks `LOCK_TIMEOUT_MS` at most; not so what others write in the same transaction."""
    before = connection.execute(_TIMEOUT).scalar()
    connection.execute(_SET_TIMEOUT, {"value": str(LOCK_TIMEOUT_MS)})
    yield
    connection.execute(_SET_TIMEOUT, {"value": before})  # an error undoes the whole of it


def _name(month: str) -> str:
    return f"events_{month.replace('-', '_')}"


def _month(now: datetime, ahead: int) -> str:
    months = now.year * 12 + now.month - 1 + ahead
    return f"{months // 12:04}-{months % 12 + 1:02}"

"""The tables of months that PostgreSQL keeps events in: made before they are needed, dropped when nothing is left.

What is dropped from a month by policy (`retention`) leaves dead rows behind, for the server to tidy up; a month of
which nothing is left is dropped as a whole, and its disk is free at once. SQLite has one table.
"""

from datetime import datetime

from sqlalchemy import Connection, text

from interlock.adapters.db.engine import Database

AHEAD = 2
"""Months beyond this one for which there are tables."""

_MAKE = text("SELECT interlock_events_month(:month)")
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

        How many were made, and the names of those dropped. StoreError.
        """
        return await self._database.write(lambda connection: _tend(connection, now))


def _tend(connection: Connection, now: datetime) -> tuple[int, list[str]]:
    if connection.dialect.name != "postgresql":
        return 0, []
    wanted = [_month(now, ahead) for ahead in range(AHEAD + 1)]
    made = [month for month in wanted if connection.execute(_MAKE, {"month": month}).scalar()]
    last = f"events_{_month(now, -1).replace('-', '_')}"  # for which daemons may still tell something
    past = [name for name in connection.execute(_PARTS).scalars() if name < last]
    empty = [name for name in past if not connection.exec_driver_sql(f"SELECT FROM {name} LIMIT 1").rowcount]
    for name in empty:
        connection.exec_driver_sql(f"DROP TABLE {name}")
    return len(made), empty


def _month(now: datetime, ahead: int) -> str:
    months = now.year * 12 + now.month - 1 + ahead
    return f"{months // 12:04}-{months % 12 + 1:02}"

"""Leases: one row per place that is taken. A row that has expired counts for nothing, whoever forgot it."""

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Connection, and_, delete, func, or_, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.columns import is_one_of
from interlock.adapters.db.engine import Database
from interlock.adapters.db.words import insert
from interlock.core.ids import DaemonId
from interlock.domain.lease import Lease
from interlock.ports import Clock


class SqlLeaseStore:
    """`ports.LeaseStore`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def acquire(self, lease: Lease, limit: int) -> bool:
        """Count and take in one transaction, which is the only one that writes at that moment.

        One that the daemon has already, whose answer was lost, is no second one.
        """
        table = schema.leases
        here = table.c.semaphore == lease.semaphore
        again = and_(table.c.id == lease.id, table.c.daemon_id == lease.daemon_id)
        row = {
            "id": lease.id,
            "semaphore": lease.semaphore,
            "daemon_id": lease.daemon_id,
            "expires": lease.expires,
        }

        def take(connection: Connection) -> bool:
            over = or_(table.c.expires <= self._clock.now(), again)
            connection.execute(delete(table).where(here, over))
            held = connection.execute(select(func.count()).select_from(table).where(here)).scalar()
            if int(held or 0) >= limit:
                return False
            connection.execute(insert(table).values(row))
            return True

        return await self._database.write(take)

    async def renew_leases(self, daemon: DaemonId, leases: Iterable[str], expires: datetime) -> set[str]:
        """One heartbeat; those that the daemon still has."""
        table = schema.leases
        mine = (table.c.daemon_id == daemon, is_one_of(table.c.id, leases))

        def extend(connection: Connection) -> set[str]:
            connection.execute(update(table).where(*mine).values(expires=expires))
            return set(connection.execute(select(table.c.id).where(*mine)).scalars())

        return await self._database.write(extend)

    async def release(self, daemon: DaemonId, leases: Iterable[str]) -> None:
        """Give places back."""
        table = schema.leases
        await self._database.change(
            delete(table).where(table.c.daemon_id == daemon, is_one_of(table.c.id, leases))
        )

    async def release_all(self, daemon: DaemonId) -> None:
        """Give back whatever earlier processes of the daemon held (`lease.holder_of`)."""
        holder = schema.leases.c.daemon_id
        theirs = or_(holder == daemon, holder.startswith(f"{daemon}.", autoescape=True))
        await self._database.change(delete(schema.leases).where(theirs))

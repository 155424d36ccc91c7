"""Locks, and how a daemon in auth's own process learns of them: whoever wrote the database, it sees the change."""

from collections.abc import AsyncGenerator
from typing import Any

import structlog
from sqlalchemy import Connection, Row, delete, func, select

from interlock.adapters.db import schema
from interlock.adapters.db.authorities import SqlClusterStore
from interlock.adapters.db.engine import Database
from interlock.adapters.db.policy import policy_number
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.rotations import trust_digest
from interlock.adapters.db.words import insert
from interlock.core.errors import Denied, NotFound
from interlock.domain.lock import MAX_LOCKS, Lock, LockKind, LockList
from interlock.ports import Clock, LockSource
from interlock.services.audit.outbox import Sleep

POLL_S = 0.5
"""Seconds between two looks at the database's change counter: a few microseconds each, once per gateway. What
``ilctl`` writes has to be noticed in another process, and to have ended what is live within two seconds."""

BEAT_S = 5.0
"""Seconds after which the list is told again though nothing has changed: it is still current."""

_log = structlog.get_logger(__name__)

_ALL = Prepared(select(schema.locks).order_by(schema.locks.c.created, schema.locks.c.id))


class SqlLockStore:
    """`ports.LockStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def locks(self) -> list[Lock]:
        """All that are stored, oldest first."""
        return [_lock(row) for row in await self._database.look(_ALL)]

    async def add_lock(self, lock: Lock) -> None:
        """Store it, and forget what has expired; Denied if there are too many."""
        table = schema.locks
        row = {
            "id": lock.id,
            "kind": lock.kind.value,
            "name": lock.name,
            "message": lock.message,
            "created": lock.created,
            "expires": lock.expires,
            "created_by": lock.created_by,
        }

        def add(connection: Connection) -> None:
            connection.execute(delete(table).where(table.c.expires <= lock.created))
            if int(connection.execute(select(func.count()).select_from(table)).scalar() or 0) >= MAX_LOCKS:
                raise Denied(f"there are {MAX_LOCKS} locks already: remove some, or lock a role instead")
            connection.execute(insert(table).values(row))

        await self._database.write(add)

    async def remove_lock(self, lock_id: str) -> Lock:
        """Forget a lock; NotFound if there is none."""
        table = schema.locks

        def remove(connection: Connection) -> Row[Any] | None:
            found = connection.execute(select(table).where(table.c.id == lock_id)).first()
            connection.execute(delete(table).where(table.c.id == lock_id))
            return found

        row = await self._database.write(remove)
        if row is None:
            raise NotFound(f"there is no lock {lock_id}")
        return _lock(row)


class SqlLockFeed:
    """`ports.LockFeed` for the process that has the database open."""

    def __init__(self, database: Database, store: LockSource, *, strict: bool, clock: Clock, sleep: Sleep) -> None:
        self._database = database
        self._store = store
        self._policy = SqlClusterStore(database)
        self._strict = strict
        self._clock = clock
        self._sleep = sleep

    async def follow_locks(self) -> AsyncGenerator[LockList, None]:
        """The list now, and whenever anything in the database has changed or `BEAT_S` have passed."""
        known: LockList | None = None
        seen: object
        seen, told = None, 0.0
        while True:
            now, version = self._clock.monotonic(), await self._database.version()
            due = now - told >= BEAT_S
            if version != seen or due:
                locks, offline_s = tuple(await self._store.locks()), await self._policy.offline_s()
                trust, number = await trust_digest(self._database), await policy_number(self._database)
                seen, found = version, LockList(locks, self._strict, offline_s, trust, number)
                if found != known or due:
                    known, told = found, now
                    yield found
            await self._sleep(POLL_S)


def _lock(row: Row[Any]) -> Lock:
    try:
        kind = LockKind(row.kind)
    except ValueError:  # made by a newer version: nobody can be compared with it, but it can be listed and removed
        _log.error("lock.unknown_kind", lock=row.id, kind=row.kind, consequence="it locks nothing")
        return Lock(row.id, LockKind.SESSION, "", row.created, row.message, row.expires, row.created_by)
    return Lock(row.id, kind, row.name, row.created, row.message, row.expires, row.created_by)

"""Whose session an ID is, where several auths have one database: whoever names it there first."""

from datetime import datetime

from sqlalchemy import BindParameter, Connection, bindparam, delete, exists, literal, or_, select

from interlock.adapters.db import schema
from interlock.adapters.db.engine import Database
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.words import insert
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import Kind

_CLAIMS, _EVENTS = schema.claims, schema.events
_SID: BindParameter[str] = bindparam("sid")
_OWNER = select(_CLAIMS.c.daemon).where(_CLAIMS.c.sid == _SID)
_KNOWN = Prepared(
    select(literal(1).label("known")).where(
        or_(
            exists().where(_CLAIMS.c.sid == _SID),
            exists().where(_EVENTS.c.sid == _SID, _EVENTS.c.event != Kind.SESSION_REJECTED.event),
        )
    )
)


class SqlSharedClaims:
    """`ports.SharedClaims` and `ports.SessionLookup`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, sid: SessionId, daemon: DaemonId, *, now: datetime) -> DaemonId:
        """`ports.SharedClaims`."""

        def first(connection: Connection) -> str:
            row = {"sid": sid, "daemon": daemon, "claimed": now}
            connection.execute(insert(_CLAIMS).values(row).on_conflict_do_nothing())
            return str(connection.execute(_OWNER, {"sid": sid}).scalar_one())

        return DaemonId(await self._database.write(first))

    async def forget(self, before: datetime) -> int:
        """`ports.SharedClaims`."""
        return await self._database.change(delete(_CLAIMS).where(_CLAIMS.c.claimed < before))

    def knows(self, sid: SessionId) -> bool:
        """Whether it is claimed, or anything but refusals is stored of it: `ports.SessionLookup`."""
        return bool(self._database.glance(_KNOWN, sid=sid))

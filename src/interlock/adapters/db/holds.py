"""Legal holds, and which stored events and sessions they keep."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, or_, select

from interlock.adapters.db import schema
from interlock.adapters.db.columns import each_of
from interlock.adapters.db.engine import Database
from interlock.adapters.db.words import insert
from interlock.core.errors import NotFound
from interlock.core.ids import SessionId
from interlock.domain.hold import Hold, HoldKind

_HOLDS, _EVENTS, _TWINS = schema.holds, schema.events, schema.twins


class SqlHoldStore:
    """`ports.HoldStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def holds(self) -> list[Hold]:
        """`ports.HoldStore`."""
        rows = await self._database.rows(select(_HOLDS).order_by(_HOLDS.c.created, _HOLDS.c.id))
        return [_hold(row) for row in rows]

    async def add_hold(self, hold: Hold) -> None:
        """`ports.HoldStore`."""
        row = {
            "id": hold.id,
            "kind": hold.kind.value,
            "name": hold.name,
            "reason": hold.reason,
            "created": hold.created,
            "created_by": hold.created_by,
        }
        await self._database.change(insert(_HOLDS).values(row))

    async def remove_hold(self, hold_id: str) -> Hold:
        """`ports.HoldStore`."""
        rows = await self._database.rows(select(_HOLDS).where(_HOLDS.c.id == hold_id))
        if not rows or not await self._database.change(delete(_HOLDS).where(_HOLDS.c.id == hold_id)):
            raise NotFound(f"there is no hold {hold_id}: see ilctl holds ls")
        return _hold(rows[0])

    async def held(self, sids: Iterable[SessionId]) -> set[SessionId]:
        """`ports.HoldStore`."""
        asked = each_of(sids).subquery()
        query = select(asked.c.value).where(sid_is_held(asked.c.value))
        return {SessionId(row.value) for row in await self._database.rows(query)}


def is_held() -> ColumnElement[bool]:
    """Whether a row of the table of events must stay."""
    by_user = select(_HOLDS.c.name).where(_HOLDS.c.kind == HoldKind.USER.value)
    return or_(_EVENTS.c.user.in_(by_user), sid_is_held(_EVENTS.c.sid)).is_(True)


def sid_is_held(sid: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether this session is, or its twin, or whoever took part in it."""
    told = _EVENTS.alias()
    by_id = select(_HOLDS.c.name).where(_HOLDS.c.kind == HoldKind.SESSION.value)
    by_user = (
        select(told.c.sid)
        .join(_HOLDS, (_HOLDS.c.kind == HoldKind.USER.value) & (_HOLDS.c.name == told.c.user))
        .where(told.c.sid.is_not(None))
    )
    named = by_id.union_all(by_user).subquery()
    wanted = select(named.c.name)
    folded = select(_TWINS.c.folded).where(_TWINS.c.sid.in_(wanted), _TWINS.c.folded.is_not(None))
    ours = select(_TWINS.c.sid).where(_TWINS.c.folded.in_(wanted))
    return or_(sid.in_(wanted), sid.in_(folded), sid.in_(ours))


def _hold(row: Row[Any]) -> Hold:
    return Hold(row.id, HoldKind(row.kind), row.name, row.reason, row.created, row.created_by)

"""The audit log: append-only, a chain (`chain`), and idempotent by its indexes, so that twice is stored once."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select

from interlock.adapters.db import schema
from interlock.adapters.db.chain import Chain
from interlock.adapters.db.columns import is_one_of
from interlock.adapters.db.engine import Database
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.revising import make_way, restate, store
from interlock.adapters.db.twins import find_twins
from interlock.adapters.db.words import code_of
from interlock.core.ids import SessionId
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.twin import TOLD_BY_BOTH, folded
from interlock.ports import EventFilter

_DECODER = msgspec.json.Decoder(dict[str, Any])
_EVENTS = schema.events

_TOLD = Prepared(
    select(_EVENTS.c.seq)
    .where(_EVENTS.c.sid == bindparam("sid"), _EVENTS.c.event != Kind.SESSION_REJECTED.event)
    .limit(1)
)


class SqlAuditLog:
    """`ports.AuditLog`, `ports.EventReader` and `ports.SessionLookup`."""

    def __init__(self, database: Database, writer: str = "auth") -> None:
        """``writer``: in whose chain this process appends; several processes may share one."""
        self._database = database
        self._writer = writer

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """Store the events durably, in order, in one transaction.

        Dropped quietly: an event whose uid is stored, and a second one of `ONCE_PER_SESSION`. What auth made up
        gives way (`revising`).
        """
        if events:
            await self._database.write(lambda connection: append_events(connection, self._writer, events))

    def knows(self, sid: SessionId) -> bool:
        """Whether anything but refusals is stored of this session. Synchronous: readers wait for nobody here."""
        return bool(self._database.glance(_TOLD, sid=sid))

    async def begun(
        self, *, user: str | None, before: int | None, limit: int
    ) -> list[tuple[int, dict[str, JsonValue]]]:
        """Starts of sessions with their cursors, newest first: `ports.BegunSessions`."""
        table = schema.events
        query = select(table.c.seq, table.c.body).order_by(table.c.seq.desc()).limit(limit)
        query = query.where(~table.c.hidden)
        if user is None:
            query = query.where(table.c.event == Kind.SESSION_START.event)
        else:
            query = query.where(table.c.user == user, schema.SESSION_BEGAN)
        if before is not None:
            query = query.where(table.c.seq < before)
        return [(row.seq, _DECODER.decode(row.body)) for row in await self._database.rows(query)]

    async def have_begun(self, sids: Iterable[SessionId]) -> set[SessionId]:
        """Those of these sessions whose start is known."""
        table = schema.events
        start = schema.told_as(table) == Kind.SESSION_START.event
        query = select(table.c.sid).where(is_one_of(table.c.sid, sids), start, ~table.c.hidden)
        return {SessionId(row.sid) for row in await self._database.rows(query)}

    async def deleted(self, sids: Iterable[SessionId]) -> set[SessionId]:
        """`ports.BegunSessions`."""
        table = schema.events
        gone = schema.told_as(table) == Kind.RECORDING_DELETE.event
        query = select(table.c.sid).where(is_one_of(table.c.sid, sids), gone)
        return {SessionId(row.sid) for row in await self._database.rows(query)}

    async def events(self, wanted: EventFilter) -> list[dict[str, JsonValue]]:
        """The events that match, oldest first; a node's twin of a session counts as that session."""
        return [event for _, event in await self.page(wanted)]

    async def page(self, wanted: EventFilter) -> list[tuple[int, dict[str, JsonValue]]]:
        """The same, each with its cursor, which is its number in the order of arrival."""
        table, twins = schema.events, schema.twins
        order = table.c.seq.desc() if wanted.newest else table.c.seq
        query = (
            select(table.c.seq, table.c.body, twins.c.sid.label("one"))
            .outerjoin(twins, twins.c.folded == table.c.sid)
            .where(~table.c.hidden)
            .order_by(order)
            .limit(wanted.limit)
        )
        if wanted.sid is not None:
            query = query.where(table.c.sid == wanted.sid if wanted.as_told else _same(wanted.sid))
        if wanted.user is not None:
            query = query.where(table.c.user == wanted.user)
        if wanted.event is not None:
            kind = table.c.event if wanted.sid is None else schema.told_as(table)
            query = query.where(kind == wanted.event)
        if wanted.before is not None:
            query = query.where(table.c.seq < wanted.before)
        if wanted.after is not None:
            query = query.where(table.c.seq > wanted.after)
        if not (wanted.as_told or wanted.duplicates):
            code = code_of(table.c.body)
            query = query.where(or_(twins.c.sid.is_(None), code.not_in(TOLD_BY_BOTH)))
        rows = await self._database.rows(query)
        found = [(row.seq, _DECODER.decode(row.body), row.one) for row in rows]
        if wanted.newest:
            found.reverse()
        plain = wanted.as_told
        return [(seq, body if one is None or plain else folded(body, one)) for seq, body, one in found]


def _same(sid: str) -> ColumnElement[bool]:
    """Events of this session, whichever of its IDs is asked for, and of its twin."""
    table, twins = schema.events, schema.twins
    one = func.coalesce(select(twins.c.sid).where(twins.c.folded == sid).scalar_subquery(), sid)
    twin = select(twins.c.folded).where(twins.c.sid == one).scalar_subquery()
    return or_(table.c.sid == one, table.c.sid == twin)


def append_events(connection: Connection, writer: str, events: Sequence[AuditEvent]) -> None:
    """`SqlAuditLog.append` in a transaction that may do more."""
    chain = Chain(connection, writer)
    told, made_up = make_way(chain, events)
    restate(chain, made_up, store(chain, told))
    chain.close()
    find_twins(connection, told)

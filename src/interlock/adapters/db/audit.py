"""The audit log: append-only, and idempotent by its indexes, so that emitting twice is stored once."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, or_, select, text

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump, each_of, whole_text
from interlock.adapters.db.engine import Database
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.twins import find_twins
from interlock.adapters.db.words import code_of, insert
from interlock.core.ids import SessionId
from interlock.domain.audit import NEXT, SYNTHESIZED, AuditEvent, JsonValue, Kind
from interlock.domain.twin import TOLD_BY_BOTH, folded
from interlock.ports import EventFilter

_DECODER = msgspec.json.Decoder(dict[str, Any])
_EVENTS = schema.events
_BY_AUTH = text("synthesized = 'auth'")  # as the index has it

_STORE = Prepared(
    insert(_EVENTS)
    .values({each.name: bindparam(each.name) for each in _EVENTS.c if each is not _EVENTS.c.seq})
    .on_conflict_do_nothing()
)
_TOLD = Prepared(
    select(_EVENTS.c.seq)
    .where(_EVENTS.c.sid == bindparam("sid"), _EVENTS.c.event != Kind.SESSION_REJECTED.event)
    .limit(1)
)
_MADE_UP = Prepared(
    select(*(each for each in _EVENTS.c if each is not _EVENTS.c.seq))
    .where(_BY_AUTH, _EVENTS.c.sid == bindparam("sid"))
    .order_by(_EVENTS.c.seq)
)
_TAKE_BACK = Prepared(delete(_EVENTS).where(_BY_AUTH, _EVENTS.c.sid == bindparam("sid")))


class SqlAuditLog:
    """`ports.AuditLog`, `ports.EventReader` and `ports.SessionLookup`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """Store the events durably, in order, in one transaction.

        Dropped quietly: an event whose uid is stored, and a second one of `ONCE_PER_SESSION`. An end that auth
        made up is taken out first and comes last, if no other has taken its place.
        """
        if events:
            await self._database.write(lambda connection: _append(connection, events))

    def knows(self, sid: SessionId) -> bool:
        """Whether anything but refusals is stored of this session. Synchronous: readers wait for nobody here."""
        return bool(self._database.glance(_TOLD, sid=sid))

    async def begun(
        self, *, user: str | None, before: int | None, limit: int
    ) -> list[tuple[int, dict[str, JsonValue]]]:
        """Starts of sessions with their cursors, newest first: `ports.BegunSessions`."""
        table = schema.events
        query = select(table.c.seq, table.c.body).order_by(table.c.seq.desc()).limit(limit)
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
        query = select(table.c.sid).where(table.c.sid.in_(each_of(sids)), start)
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


def _append(connection: Connection, events: Sequence[AuditEvent]) -> None:
    made_up = _take_ends(connection, {event.sid for event in events if event.sid is not None})
    if all(event.index != NEXT for event in events):
        _STORE.run_all(connection, (_row(event) for event in events))
    else:
        for event in events:
            index = event.index if event.index != NEXT else _next(connection, event.sid)
            _STORE.run(connection, **_row(replace(event, index=index)))
    for row in made_up:
        row["ei"] = _next(connection, row["sid"])
        row["body"] = dump(_DECODER.decode(row["body"]) | {"ei": row["ei"]})
        _STORE.run(connection, **row)
    find_twins(connection, events)


def _take_ends(connection: Connection, sids: Iterable[SessionId]) -> list[dict[str, Any]]:
    """Remove the ends that auth made up for these sessions; what they were."""
    taken = [row._asdict() for sid in sids for row in _MADE_UP.rows(connection, sid=sid)]
    for sid in {row["sid"] for row in taken}:
        _TAKE_BACK.run(connection, sid=sid)
    return taken


def _next(connection: Connection, sid: SessionId | None) -> int:
    table = schema.events
    highest = connection.execute(select(func.max(table.c.ei)).where(table.c.sid == sid)).scalar()
    return 0 if highest is None else int(highest) + 1


def _row(event: AuditEvent) -> dict[str, object]:
    body = event.to_json()
    user = body.get("user")
    return {
        "uid": event.uid,
        "sid": event.sid,
        "event": event.kind.event,
        "time": event.time,
        "user": whole_text(user) if isinstance(user, str) else None,
        "ei": event.index,
        "synthesized": body.get(SYNTHESIZED),
        "body": dump(body),
    }

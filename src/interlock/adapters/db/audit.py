"""The audit log: append-only, and idempotent by its indexes, so that emitting twice is stored once."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, select, text
from sqlalchemy.dialects.sqlite import insert

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump, whole_text
from interlock.adapters.db.engine import Database
from interlock.core.ids import SessionId
from interlock.domain.audit import NEXT, SYNTHESIZED, AuditEvent, JsonValue, Kind
from interlock.ports import EventFilter

_DECODER = msgspec.json.Decoder(dict[str, Any])


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
        table = schema.events
        refusal = Kind.SESSION_REJECTED.event
        query = select(table.c.seq).where(table.c.sid == sid, table.c.event != refusal).limit(1)
        return self._database.read_now(lambda connection: connection.execute(query).first()) is not None

    async def events(self, wanted: EventFilter) -> list[dict[str, JsonValue]]:
        """The events that match, oldest first."""
        table = schema.events
        order = table.c.seq.desc() if wanted.newest else table.c.seq
        query = select(table.c.body).order_by(order).limit(wanted.limit)
        for column, value in (
            (table.c.sid, wanted.sid),
            (table.c.user, wanted.user),
            (table.c.event, wanted.event),
        ):
            if value is not None:
                query = query.where(column == value)
        rows = await self._database.rows(query)
        return [_DECODER.decode(row.body) for row in (reversed(rows) if wanted.newest else rows)]


def _append(connection: Connection, events: Sequence[AuditEvent]) -> None:
    made_up = _take_ends(connection, {event.sid for event in events if event.sid is not None})
    store = insert(schema.events).on_conflict_do_nothing()
    if all(event.index != NEXT for event in events):
        connection.execute(store, [_row(event) for event in events])
    else:
        for event in events:
            index = event.index if event.index != NEXT else _next(connection, event.sid)
            connection.execute(store, _row(replace(event, index=index)))
    for row in made_up:
        row["ei"] = _next(connection, row["sid"])
        row["body"] = dump(_DECODER.decode(row["body"]) | {"ei": row["ei"]})
        connection.execute(store, row)


def _take_ends(connection: Connection, sids: Iterable[SessionId]) -> list[dict[str, Any]]:
    """Remove the ends that auth made up for these sessions; what they were."""
    table = schema.events
    wanted = (text("synthesized = 'auth'"), table.c.sid.in_(list(sids)))
    taken = connection.execute(select(*(each for each in table.c if each is not table.c.seq)).where(*wanted)).all()
    if taken:
        connection.execute(delete(table).where(*wanted))
    return [row._asdict() for row in taken]


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

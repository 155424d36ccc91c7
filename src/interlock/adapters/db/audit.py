"""The audit log: append-only, and idempotent by its indexes, so that emitting twice is stored once."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump, whole_text
from interlock.adapters.db.engine import Database
from interlock.core.ids import SessionId
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.ports import EventFilter

_DECODER = msgspec.json.Decoder(dict[str, Any])


class SqlAuditLog:
    """`ports.AuditLog`, `ports.EventReader` and `ports.SessionLookup`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """Store the events durably, in order, in one transaction.

        Dropped quietly: an event whose uid is stored, and a second session.start or session.end of a session.
        """
        if not events:
            return
        rows = [_row(event) for event in events]
        await self._database.change(insert(schema.events).on_conflict_do_nothing(), rows)

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
        "body": dump(body),
    }

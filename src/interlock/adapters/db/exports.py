"""The audit log as exports read it, and their cursors."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, literal, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.engine import Database
from interlock.adapters.db.words import insert
from interlock.core.errors import NotFound, StoreError
from interlock.domain.export import Cursor, Record, in_order
from interlock.ports import ExportState

_EVENTS, _WRITERS, _CHECKPOINTS, _EXPORTS = schema.events, schema.writers, schema.checkpoints, schema.exports


class SqlExports:
    """`ports.ExportSource` and `ports.ExportCursors`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, cursor: Cursor, *, limit: int, until: Cursor | None = None) -> list[Record]:
        """`ports.ExportSource`."""
        return await self._database.read(lambda connection: _after(connection, cursor, limit, until))

    async def state(self, name: str, *, now: datetime) -> ExportState:
        """`ports.ExportCursors`."""
        row = {"name": name, "cursor": str(Cursor()), "pending": None, "changed": now}
        query = select(_EXPORTS).where(_EXPORTS.c.name == name)
        if not (rows := await self._database.rows(query)):
            await self._database.change(insert(_EXPORTS).values(row).on_conflict_do_nothing())
            rows = await self._database.rows(query)
        return _state(rows[0])

    async def states(self) -> list[ExportState]:
        """`ports.ExportCursors`."""
        return [_state(row) for row in await self._database.rows(select(_EXPORTS).order_by(_EXPORTS.c.name))]

    async def move(
        self, before: ExportState, *, cursor: Cursor, pending: Cursor | None, now: datetime
    ) -> ExportState:
        """`ports.ExportCursors`."""
        was = None if before.pending is None else str(before.pending)
        mine = (_EXPORTS.c.name == before.name, _EXPORTS.c.cursor == str(before.cursor))
        same = _EXPORTS.c.pending.is_(None) if was is None else _EXPORTS.c.pending == was
        row = {"cursor": str(cursor), "pending": None if pending is None else str(pending), "changed": now}
        if not await self._database.change(update(_EXPORTS).where(*mine, same).values(row)):
            public = f"somebody else runs the export {before.name} as well"
            raise StoreError(public, reason=public)
        return ExportState(before.name, cursor, pending, now)

    async def taken(self, names: Iterable[str]) -> Mapping[str, int] | None:
        """`ports.ExportCursors`."""
        known = dict.fromkeys(names, Cursor()) | {state.name: state.cursor for state in await self.states()}
        cursors = list(known.values())
        if not cursors:
            return None
        writers = await self._database.rows(select(_WRITERS.c.id, _WRITERS.c.name))
        return {row.name: min(cursor.of(row.id) for cursor in cursors) for row in writers}

    async def forget(self, name: str) -> None:
        """Do without this export, which holds up nothing any more. NotFound."""
        if not await self._database.change(delete(_EXPORTS).where(_EXPORTS.c.name == name)):
            raise NotFound(f"there is no export {name[:100]}: see ilctl exports ls")

    async def has(self, uid: str, cursor: Cursor) -> bool:
        """Whether a line of this log can be the last of a file: its event is there, or it was a checkpoint."""
        if await self._database.rows(select(_EVENTS.c.seq).where(_EVENTS.c.uid == uid)):
            return True
        signed = select(_CHECKPOINTS).where(_CHECKPOINTS.c.number == cursor.checkpoint)
        rows = await self._database.rows(signed)
        found = in_order(Cursor(), (), ((row.number, row.body, bytes(row.signature)) for row in rows))
        return any(record.uid == uid for record in found)

    async def behind(self, cursor: Cursor) -> int:
        """How many events the log has beyond it, those counted that policy has dropped."""
        writers = await self._database.rows(select(_WRITERS.c.id, _WRITERS.c.number))
        return sum(max(0, row.number - cursor.of(row.id)) for row in writers)


def _after(connection: Connection, cursor: Cursor, limit: int, until: Cursor | None) -> list[Record]:
    found: list[Any] = []
    for writer in connection.execute(select(_WRITERS.c.id, _WRITERS.c.name).order_by(_WRITERS.c.id)).all():
        number = _EVENTS.c.number
        columns = _EVENTS.c.seq, _EVENTS.c.writer, number, _EVENTS.c.uid, _EVENTS.c.body, _EVENTS.c.hash
        name = literal(writer.name).label("name")
        query = select(*columns, name).where(_EVENTS.c.writer == writer.id, number > cursor.of(writer.id))
        if until is not None:
            query = query.where(number <= until.of(writer.id))
        found += connection.execute(query.order_by(number).limit(limit)).all()
    events = sorted(found, key=lambda row: (row.seq, row.writer))[:limit]
    query = select(_CHECKPOINTS).where(_CHECKPOINTS.c.number > cursor.checkpoint)
    if until is not None:
        query = query.where(_CHECKPOINTS.c.number <= until.checkpoint)
    room = limit - len(events)
    signed = connection.execute(query.order_by(_CHECKPOINTS.c.number).limit(room)).all() if room else []
    return in_order(
        cursor,
        ((row.writer, row.name, row.number, row.uid, row.body, bytes(row.hash)) for row in events),
        ((row.number, row.body, bytes(row.signature)) for row in signed),
    )


def _state(row: Row[Any]) -> ExportState:
    pending = None if row.pending is None else Cursor.parse(row.pending)
    return ExportState(row.name, Cursor.parse(row.cursor), pending, row.changed)

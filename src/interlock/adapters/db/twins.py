"""Which of a node's sessions are twins of ours, kept beside the audit log, which itself stays as it was told.

A twin is found in the transaction that stores the last thing needed to know it: our session's start, the node's,
or how the node calls the session. So it does not matter which comes first, and nobody sees a half of it.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, bindparam, func, or_, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.columns import is_one_of
from interlock.adapters.db.engine import Database
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.words import insert
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.twin import CLOCKS_APART, Twin, same_session

_DECODER = msgspec.json.Decoder(dict[str, Any])
_TWINS = schema.twins
_EVENTS = schema.events
_TOUCHED = Prepared(
    select(_TWINS)
    .where(
        or_(
            _TWINS.c.sid == bindparam("sid"),
            _TWINS.c.named == bindparam("named"),
            (_TWINS.c.node == bindparam("node"))
            & (_TWINS.c.seen_from == bindparam("seen_from"))
            & _TWINS.c.folded.is_(None),
        )
    )
    .order_by(_TWINS.c.seq)
)


class SqlTwinStore:
    """`ports.TwinStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, twin: Twin) -> None:
        """Expect a twin; the first name that its node gives it counts."""

        def work(connection: Connection) -> None:
            row = {"sid": twin.sid, "node": twin.node, "seen_from": twin.seen_from, "named": twin.named}
            statement = insert(_TWINS).values(row)
            named = func.coalesce(_TWINS.c.named, statement.excluded.named)
            statement = statement.on_conflict_do_update(index_elements=["sid"], set_={"named": named})
            connection.execute(statement)
            _settle(connection, _twins(connection, _TWINS.c.sid == twin.sid))

        await self._database.write(work)

    async def folded(self, among: Iterable[SessionId]) -> dict[SessionId, SessionId]:
        """Those of these IDs that are a node's for a twin, and ours of the same session."""
        query = select(_TWINS.c.folded, _TWINS.c.sid).where(is_one_of(_TWINS.c.folded, among))
        return {SessionId(row.folded): SessionId(row.sid) for row in await self._database.rows(query)}

    async def one(self, sid: SessionId) -> SessionId:
        """The ID under which a session is shown."""
        query = select(_TWINS.c.sid).where(_TWINS.c.folded == sid)
        rows = await self._database.rows(query)
        return SessionId(rows[0].sid) if rows else sid


def find_twins(connection: Connection, events: Sequence[AuditEvent]) -> None:
    """These events have just been stored: fold what they are the last missing piece of."""
    for event in events:
        if event.kind is Kind.SESSION_START and event.sid is not None:
            node, seen_from = event.fields.get("recorded_by"), event.fields.get("addr.remote")
            touched = _TOUCHED.rows(connection, sid=event.sid, named=event.sid, node=node, seen_from=seen_from)
            _settle(connection, touched)


def _twins(connection: Connection, which: Any) -> list[Row[Any]]:
    return list(connection.execute(select(_TWINS).where(which).order_by(_TWINS.c.seq)).all())


def _settle(connection: Connection, rows: Iterable[Row[Any]]) -> None:
    for row in rows:
        twin = Twin(
            SessionId(row.sid),
            DaemonId(row.node),
            row.seen_from,
            SessionId(row.named) if row.named is not None else None,
        )
        ours = _told(connection, twin.sid, Kind.SESSION_START)
        if ours is None or (twin.named is not None and row.folded == twin.named):
            continue
        if twin.named is not None:
            _fold_named(connection, twin, ours)
        elif row.folded is None:
            _fold_found(connection, twin, ours)


def _fold_named(connection: Connection, twin: Twin, ours: dict[str, JsonValue]) -> None:
    """The node's word is better than our guess, which then was another session's."""
    theirs = _told(connection, SessionId(str(twin.named)), Kind.SESSION_START)
    if theirs is None or not same_session(twin, ours, _ended(connection, twin.sid), theirs):
        return
    wrong = _twins(connection, (_TWINS.c.folded == twin.named) & (_TWINS.c.sid != twin.sid))
    if any(row.named == twin.named for row in wrong):
        return  # named twice: the first channel has it
    for row in wrong:
        connection.execute(update(_TWINS).where(_TWINS.c.sid == row.sid).values(folded=None))
    connection.execute(update(_TWINS).where(_TWINS.c.sid == twin.sid).values(folded=twin.named))
    _settle(connection, [row for each in wrong for row in _twins(connection, _TWINS.c.sid == each.sid)])


def _fold_found(connection: Connection, twin: Twin, ours: dict[str, JsonValue]) -> None:
    """The first of the node's sessions that fits and that nobody else has."""
    began = datetime.fromisoformat(str(ours["time"]))
    query = (
        select(_EVENTS.c.sid, _EVENTS.c.body)
        .outerjoin(_TWINS, _TWINS.c.folded == _EVENTS.c.sid)
        .where(_EVENTS.c.user == ours.get("user"), schema.SESSION_BEGAN)
        .where(_EVENTS.c.time >= began - CLOCKS_APART, _TWINS.c.sid.is_(None), ~_EVENTS.c.hidden)
        .order_by(_EVENTS.c.seq)
    )
    ended = _ended(connection, twin.sid)
    for row in connection.execute(query):
        if same_session(twin, ours, ended, _DECODER.decode(row.body)):
            connection.execute(update(_TWINS).where(_TWINS.c.sid == twin.sid).values(folded=row.sid))
            return


def _told(connection: Connection, sid: SessionId, kind: Kind) -> dict[str, JsonValue] | None:
    query = select(_EVENTS.c.body).where(
        _EVENTS.c.sid == sid, schema.told_as(_EVENTS) == kind.event, ~_EVENTS.c.hidden
    )
    row = connection.execute(query).first()
    return _DECODER.decode(row.body) if row is not None else None


def _ended(connection: Connection, sid: SessionId) -> datetime | None:
    end = _told(connection, sid, Kind.SESSION_END)
    return datetime.fromisoformat(str(end["time"])) if end is not None else None

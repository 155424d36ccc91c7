"""Session trackers: one short-lived row per session, which only ever moves forward."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Row, delete, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump
from interlock.adapters.db.engine import Database
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.tracker import Tracker, TrackerState

KEEP_TERMINATED = timedelta(days=1)
"""A terminated or swept tracker stays this long, so that a late write cannot bring its session back to life."""

_ORDER = list(TrackerState)
_TERMINATED = _ORDER.index(TrackerState.TERMINATED)
_COLUMNS = ("sid", "state", "swept", "created", "expires", "daemon_id")


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    user: str
    login: str
    hostname: str
    target_id: str
    cluster: str
    sub_kind: str
    recording_mode: str
    kind: str
    command: tuple[str, ...]
    participants: tuple[str, ...]
    reason: str = ""
    invited: tuple[str, ...] = ()
    terminal: bool = False
    origin_cluster: str = ""


_DECODER = msgspec.json.Decoder(_Body)


class SqlTrackerStore:
    """`ports.TrackerStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, tracker: Tracker) -> None:
        """Create or replace; a write with an earlier state than the stored one is dropped, unless it was swept."""
        table, row = schema.trackers, _row(tracker)
        statement = insert(table).values(row)
        follows = or_(table.c.state <= statement.excluded.state, table.c.swept)
        statement = statement.on_conflict_do_update(index_elements=["sid"], set_=row, where=follows)
        await self._database.change(statement)
        if tracker.swept or tracker.state is TrackerState.TERMINATED:
            over = or_(table.c.state == _TERMINATED, table.c.swept)
            old = table.c.expires < tracker.expires - KEEP_TERMINATED
            await self._database.change(delete(table).where(over, old))

    async def keep(self, daemon: DaemonId, sids: Iterable[SessionId], expires: datetime) -> None:
        """One heartbeat for all sessions of a daemon; what was swept lives again, others' are left alone."""
        table = schema.trackers
        mine = (table.c.daemon_id == daemon, table.c.sid.in_(list(sids)), table.c.state != _TERMINATED)
        later = update(table).where(*mine, table.c.expires < expires).values(expires=expires, swept=False)
        await self._database.change(later)

    async def live(self) -> list[Tracker]:
        """Pending and running trackers, expired ones that nobody swept included, oldest first."""
        table = schema.trackers
        live = (table.c.state != _TERMINATED, ~table.c.swept)
        wanted = select(table).where(*live).order_by(table.c.created, table.c.sid)
        return [_tracker(row) for row in await self._database.rows(wanted)]


def _row(tracker: Tracker) -> dict[str, object]:
    fields = asdict(tracker)
    row = {name: fields.pop(name) for name in _COLUMNS}
    row["state"] = _ORDER.index(tracker.state)
    row["body"] = dump(fields)
    return row


def _tracker(row: Row[Any]) -> Tracker:
    body = _DECODER.decode(row.body)
    return Tracker(
        sid=SessionId(row.sid),
        state=_ORDER[row.state],
        created=row.created,
        expires=row.expires,
        user=body.user,
        login=body.login,
        hostname=body.hostname,
        target_id=DaemonId(body.target_id),
        daemon_id=DaemonId(row.daemon_id),
        cluster=body.cluster,
        sub_kind=body.sub_kind,
        recording_mode=body.recording_mode,
        kind=body.kind,
        command=body.command,
        participants=body.participants,
        reason=body.reason,
        invited=body.invited,
        terminal=body.terminal,
        origin_cluster=body.origin_cluster,
        swept=row.swept,
    )

"""Session trackers: one short-lived row per session, which only ever moves forward."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, String, bindparam, delete, func, literal, or_, select, tuple_, update

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump, is_one_of
from interlock.adapters.db.engine import Database
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.words import insert
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.tracker import Tracker, TrackerState, parse_cursor

KEEP_TERMINATED = timedelta(days=1)
"""A terminated or swept tracker stays this long, so that a late write cannot bring its session back to life."""

PURGE_EVERY = timedelta(seconds=10)
"""How often it is looked for those."""

_ORDER = list(TrackerState)
_TERMINATED = _ORDER.index(TrackerState.TERMINATED)
_TABLE = schema.trackers


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


def _put() -> Prepared:
    statement = insert(_TABLE).values({each.name: bindparam(each.name) for each in _TABLE.c})
    follows = or_(_TABLE.c.state <= statement.excluded.state, _TABLE.c.swept)
    changed = {each.name: statement.excluded[each.name] for each in _TABLE.c}
    return Prepared(statement.on_conflict_do_update(index_elements=["sid"], set_=changed, where=follows))


_PUT = _put()


class SqlTrackerStore:
    """`ports.TrackerStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._purged: datetime | None = None  # the expiry, then, of those that were put

    async def put(self, tracker: Tracker) -> None:
        """Create or replace; a write with an earlier state than the stored one is dropped, unless it was swept."""
        await self.put_all((tracker,))

    async def put_all(self, trackers: Sequence[Tracker]) -> None:
        """The same for several, in one transaction."""
        await self._database.write(lambda connection: self._put(connection, trackers))

    def _put(self, connection: Connection, trackers: Sequence[Tracker]) -> None:
        _PUT.run_all(connection, map(_row, trackers))
        over = [each.expires for each in trackers if each.swept or each.state is TrackerState.TERMINATED]
        if over and (self._purged is None or max(over) >= self._purged + PURGE_EVERY):
            self._purged = max(over)
            old = _TABLE.c.expires < self._purged - KEEP_TERMINATED
            connection.execute(delete(_TABLE).where(schema.TRACKER_IS_OVER, old))

    async def keep(self, daemon: DaemonId, sids: Iterable[SessionId], expires: datetime) -> None:
        """One heartbeat for all sessions of a daemon; what was swept lives again, others' are left alone."""
        table = schema.trackers
        mine = (table.c.daemon_id == daemon, is_one_of(table.c.sid, sids), table.c.state != _TERMINATED)
        later = update(table).where(*mine, table.c.expires < expires).values(expires=expires, swept=False)
        await self._database.change(later)

    async def live(self) -> list[Tracker]:
        """Pending and running trackers, expired ones that nobody swept included, oldest first."""
        table = schema.trackers
        wanted = select(table).where(schema.TRACKER_LIVES).order_by(table.c.created, table.c.sid)
        return [_tracker(row) for row in await self._database.rows(wanted)]

    async def count_live(self, daemon: DaemonId) -> int:
        """`ports.KnownTrackers`."""
        wanted = select(func.count()).where(schema.TRACKER_LIVES, schema.trackers.c.daemon_id == daemon)
        [[count]] = await self._database.rows(wanted)
        return int(count)

    async def page(self, *, after: str, limit: int) -> list[Tracker]:
        """`ports.TrackerPages`."""
        table = schema.trackers
        place = tuple_(table.c.created, table.c.sid)
        wanted = select(table).where(schema.TRACKER_LIVES).order_by(table.c.created, table.c.sid).limit(limit)
        if after:
            at, sid = parse_cursor(after)
            wanted = wanted.where(place > tuple_(literal(at, schema.Moment), literal(sid, String)))
        return [_tracker(row) for row in await self._database.rows(wanted)]

    async def among(self, sids: Iterable[SessionId]) -> list[Tracker]:
        """`ports.TrackerPages`."""
        wanted = select(schema.trackers).where(is_one_of(schema.trackers.c.sid, sids), schema.TRACKER_LIVES)
        return [_tracker(row) for row in await self._database.rows(wanted)]

    async def find(self, sid: SessionId) -> Tracker | None:
        """`ports.TrackerLookup`."""
        wanted = select(schema.trackers).where(schema.trackers.c.sid == sid, schema.TRACKER_LIVES)
        return next((_tracker(row) for row in await self._database.rows(wanted)), None)


def _row(tracker: Tracker) -> dict[str, object]:
    body = _Body(
        user=tracker.user,
        login=tracker.login,
        hostname=tracker.hostname,
        target_id=tracker.target_id,
        cluster=tracker.cluster,
        sub_kind=tracker.sub_kind,
        recording_mode=tracker.recording_mode,
        kind=tracker.kind,
        command=tracker.command,
        participants=tracker.participants,
        reason=tracker.reason,
        invited=tracker.invited,
        terminal=tracker.terminal,
        origin_cluster=tracker.origin_cluster,
    )
    return {
        "sid": tracker.sid,
        "state": _ORDER.index(tracker.state),
        "swept": tracker.swept,
        "daemon_id": tracker.daemon_id,
        "created": tracker.created,
        "expires": tracker.expires,
        "body": dump(body),
    }


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

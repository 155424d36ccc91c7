"""What a session, a sweep or a page of a list costs does not grow with what is stored.

Costs are counted in steps of SQLite's virtual machine, which are the same on every machine at every time.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text

from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.leases import SqlLeaseStore
from interlock.adapters.db.trackers import SqlTrackerStore
from interlock.adapters.db.twins import SqlTwinStore
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.lease import Lease
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState
from interlock.domain.twin import Twin
from interlock.ports import EventFilter
from interlock.services.audit.emitter import EventFactory
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy

FEW, MANY = 500, 10_000
"""Stored events, and a seventh as many sessions. Twenty times as many may make the trees a little deeper."""

GRANULE = 10  # steps between two counts

DAEMON = DaemonId("99999999-2222-4333-8444-555555555555")
SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
TRACKER = Tracker(
    sid=SID,
    state=TrackerState.RUNNING,
    created=START,
    expires=START + TRACKER_TTL,
    user="alice",
    login="root",
    hostname="web1",
    target_id=DAEMON,
    daemon_id=DAEMON,
    cluster="demo",
    sub_kind="openssh",
    recording_mode="proxy",
)


class Stores:
    """All stores over one database, with a count of what SQLite did."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.audit, self.trackers = SqlAuditLog(database), SqlTrackerStore(database)
        self.twins, self.leases = SqlTwinStore(database), SqlLeaseStore(database, FakeClock())
        self.factory = EventFactory(cluster="demo", clock=FakeClock(), entropy=FakeEntropy())
        self.steps = 0
        event.listen(database._engine, "engine_connect", self._count)

    def _count(self, connection: Connection) -> None:
        def more() -> int:
            self.steps += GRANULE
            return 0

        raw = connection.connection.driver_connection
        assert raw is not None
        raw.set_progress_handler(more, GRANULE)

    async def fill(self, events: int) -> None:
        """Sessions of a hundred people that have ended, each with seven events and its tracker."""
        fill = text("""
            WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :events - 1)
            INSERT INTO events (uid, sid, event, time, user, ei, writer, number, hash, hidden, body)
            SELECT 'u' || i, printf('00000000-0000-4000-8000-%012d', i / 7),
                   json_extract(:names, '$[' || (i % 7) || ']'), '2026-01-01T00:00:00.000000Z',
                   'user' || (i / 7 % 100), i % 7, 1000, i + 1, x'00', 0,
                   json_object('event', 'x', 'code', 'X', 'user', 'user' || (i / 7 % 100), 'sid', 's',
                               'time', '2026-01-01T00:00:00Z', 'recorded_by', 'd')
            FROM n""")
        names = '["session.start","resize","exec","session.leave","session.end","session.data","session.upload"]'
        ended = text("""
            INSERT INTO trackers (sid, state, swept, daemon_id, created, expires, body)
            SELECT sid, 2, 0, :daemon, time, '2027-01-01T00:00:00.000000Z', '{}'
            FROM events WHERE event = 'session.start'""")
        await self.database.change(fill, {"events": events, "names": names})
        await self.database.change(ended, {"daemon": DAEMON})

    async def cost(self, work: Callable[["Stores"], Awaitable[object]]) -> int:
        """The steps that this takes."""
        before = self.steps
        await work(self)
        return self.steps - before


async def _append(stores: Stores) -> None:
    from interlock.domain.audit import Kind

    fields = {"user": "user1", "recorded_by": DAEMON, "addr.remote": "10.0.0.1:1"}
    kinds = (Kind.SESSION_START, Kind.SESSION_END, Kind.SESSION_LEAVE, Kind.SESSION_DATA, Kind.SESSION_UPLOAD)
    await stores.audit.append([stores.factory.make(kind, dict(fields), sid=SID) for kind in kinds])


async def _end(stores: Stores) -> None:
    await stores.trackers.put(replace(TRACKER, state=TrackerState.TERMINATED))


async def _knows(stores: Stores) -> None:
    stores.audit.knows(SID)


ASKED: dict[str, Callable[[Stores], Awaitable[object]]] = {
    "store a session's events": _append,
    "store a tracker": lambda stores: stores.trackers.put(TRACKER),
    "end a tracker, and forget old ones": _end,
    "a heartbeat": lambda stores: stores.trackers.keep(DAEMON, [SID], START + TRACKER_TTL),
    "live trackers": lambda stores: stores.trackers.live(),
    "a page of live trackers": lambda stores: stores.trackers.page(after=TRACKER.cursor, limit=5),
    "some live trackers": lambda stores: stores.trackers.among([SID]),
    "one live tracker": lambda stores: stores.trackers.find(SID),
    "was there such a session": _knows,
    "a session's events": lambda stores: stores.audit.events(EventFilter(sid=SID)),
    "the newest events": lambda stores: stores.audit.events(EventFilter(limit=50, newest=True)),
    "a user's newest events": lambda s: s.audit.events(EventFilter(user="user1", limit=5, newest=True)),
    "the newest of a kind": lambda s: s.audit.events(EventFilter(event="resize", limit=5, newest=True)),
    "the latest sessions": lambda stores: stores.audit.begun(user=None, before=None, limit=5),
    "a user's latest sessions": lambda s: s.audit.begun(user="user1", before=400, limit=5),
    "have these begun": lambda stores: stores.audit.have_begun([SID]),
    "which are twins": lambda stores: stores.twins.folded([SID]),
    "expect a twin": lambda stores: stores.twins.put(Twin(SID, DAEMON, "10.0.0.1:1")),
    "whose twin": lambda stores: stores.twins.one(SID),
    "take a place": lambda s: s.leases.acquire(Lease("l1", "alice", DAEMON, START + timedelta(1)), 5),
    "keep a place": lambda s: s.leases.renew_leases(DAEMON, ["l1"], START + timedelta(2)),
    "give a place back": lambda s: s.leases.release(DAEMON, ["l1"]),
}


async def make(path: Path, events: int) -> None:
    """A database file with so many events in it."""
    database = await open_database(path)
    stores = Stores(database)
    await stores.fill(events)
    await _append(stores)
    await database.close()


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The files of a young cluster and of an old one. Tests work on copies."""
    directory = tmp_path_factory.mktemp("grown")
    paths = [directory / f"{size}.db" for size in (FEW, MANY)]
    for path, size in zip(paths, (FEW, MANY), strict=True):
        asyncio.run(make(path, size))
    return paths


@pytest.fixture
async def both(grown: list[Path], tmp_path: Path) -> AsyncIterator[list[Stores]]:
    """A young cluster and an old one."""
    databases = [await open_database(Path(shutil.copy(path, tmp_path))) for path in grown]
    yield [Stores(database) for database in databases]
    for database in databases:
        await database.close()


@pytest.mark.parametrize("asked", ASKED)
async def test_what_is_stored_does_not_count(both: list[Stores], asked: str) -> None:
    """The same steps, but for what the depth of the trees adds."""
    few, many = [await each.cost(ASKED[asked]) for each in both]
    assert many <= few * 1.2 + 10 * GRANULE


@pytest.mark.parametrize("sessions", [2, pytest.param(2000, marks=pytest.mark.slow)])
async def test_a_heartbeat_is_one_statement(both: list[Stores], sessions: int) -> None:
    """However many sessions a daemon has."""
    statements: list[str] = []
    stores = both[0]
    event.listen(
        stores.database._engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    sids = [SessionId(f"aaaaaaaa-0000-4000-8000-{number:012d}") for number in range(sessions)]
    await stores.trackers.put_all([replace(TRACKER, sid=sid) for sid in sids])
    statements.clear()
    later = START + 2 * TRACKER_TTL
    await stores.trackers.keep(DAEMON, sids, later)
    assert len([each for each in statements if each.startswith("UPDATE")]) == 1
    assert {tracker.expires for tracker in await stores.trackers.live()} == {later}

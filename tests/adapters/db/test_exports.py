"""What exports read: everything, once, while several processes append and policy drops."""

import asyncio

import pytest

from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.exports import SqlExports
from interlock.core.errors import NotFound
from interlock.core.ids import SessionId
from interlock.domain.audit import AuditEvent, Kind
from interlock.domain.export import Cursor
from interlock.testing.clock import START
from interlock.testing.postgres import Place

SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")


def event(uid: str) -> AuditEvent:
    """Of some session."""
    return AuditEvent(Kind.EXEC, START, uid, "demo", SID)


@pytest.mark.parametrize("limit", [pytest.param(1, marks=pytest.mark.slow), 3, 100])
async def test_a_reader_never_skips_what_others_are_just_storing(
    database: Database, place: Place, limit: int
) -> None:
    """Whichever transaction is committed first: each event once, and each writer's in their order."""
    other = await open_database(place)
    logs = [SqlAuditLog(each, name) for each, name in ((database, "one"), (other, "two"), (other, "three"))]
    exports, seen, done = SqlExports(database), list[str](), asyncio.Event()

    async def append(log: SqlAuditLog, who: int) -> None:
        for number in range(25):
            await log.append([event(f"{who}:{2 * number}"), event(f"{who}:{2 * number + 1}")])

    async def read() -> None:
        cursor = Cursor()
        while True:
            last = done.is_set()
            records = await exports.after(cursor, limit=limit)
            seen.extend(record.uid for record in records)
            if records:
                cursor = Cursor.parse(str(records[-1].cursor))
            elif last:
                return

    async with asyncio.TaskGroup() as tasks:
        reading = tasks.create_task(read())
        async with asyncio.TaskGroup() as writing:
            for who, log in enumerate(logs):
                writing.create_task(append(log, who))
        done.set()
        await reading
    await other.close()
    assert len(seen) == len(set(seen)) == 150
    for who in range(3):
        assert [uid for uid in seen if uid.startswith(f"{who}:")] == [f"{who}:{number}" for number in range(50)]


async def test_what_is_under_way_is_read_again_exactly(database: Database) -> None:
    """Whatever was stored since."""
    exports = SqlExports(database)
    for number in range(4):
        await SqlAuditLog(database, ("one", "two")[number % 2]).append([event(f"u{number}")])
    records = await exports.after(Cursor(), limit=3)
    for number in range(4, 8):
        await SqlAuditLog(database, ("one", "two", "three")[number % 3]).append([event(f"u{number}")])
    again = await exports.after(Cursor(), limit=500, until=records[-1].cursor)
    assert [record.line for record in again] == [record.line for record in records]


async def test_retention_may_have_what_all_exports_have(database: Database) -> None:
    """The slowest counts, whichever auth's file has it, and one that has never run has nothing."""
    exports = SqlExports(database)
    await SqlAuditLog(database, "one").append([event("u1"), event("u2")])
    assert await exports.taken([]) is None
    for name, cursor in (("a", Cursor(0, {1: 2})), ("b", Cursor(0, {1: 1}))):
        state = await exports.state(name, now=START)
        await exports.move(state, cursor=cursor, pending=None, now=START)
    assert await exports.taken(["a"]) == await exports.taken([]) == {"one": 1}
    assert await exports.taken(["a", "new"]) == {"one": 0}
    await exports.forget("b")
    assert await exports.taken([]) == {"one": 2}
    with pytest.raises(NotFound, match="no export b"):
        await exports.forget("b")

"""Every stored event is in one writer's chain, whoever stores it, however often it is told."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from interlock.adapters.db import schema
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.evidence import SqlEvidenceStore
from interlock.core.ids import SessionId
from interlock.domain.audit import BY_AUTH, NEXT, SYNTHESIZED, AuditEvent, Kind
from interlock.domain.chain import genesis, link
from interlock.services.audit.verifying import verify
from interlock.testing.clock import START
from interlock.testing.postgres import Place

SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")


def event(uid: str, kind: Kind = Kind.EXEC, index: int = 0) -> AuditEvent:
    """One of a session."""
    return AuditEvent(kind, START, uid, "demo", SID, index, {"user": "alice"})


def made_up(kind: Kind = Kind.SESSION_END, uid: str = "auth") -> AuditEvent:
    """By auth."""
    return AuditEvent(kind, START, uid, "demo", SID, NEXT, {"user": "alice", SYNTHESIZED: BY_AUTH})


async def whole(database: Database) -> bool:
    """Whether all chains are."""
    return await SqlEvidenceStore(database).inspect(lambda evidence: verify(evidence, []).findings == [])


async def test_a_hash_covers_the_one_before_and_the_body(database: Database) -> None:
    """As the documents say, so that another program can verify it."""
    await SqlAuditLog(database, "gateway").append([event("u1"), event("u2", index=1)])
    rows = await database.rows(select(schema.events).order_by(schema.events.c.seq))
    first = link(genesis("gateway"), rows[0].body.encode())
    assert [(row.number, row.hash) for row in rows] == [(1, first), (2, link(first, rows[1].body.encode()))]


async def test_writers_have_chains_of_their_own(database: Database, place: Place) -> None:
    """Also two processes on one database; a writer that comes back goes on where it was."""
    other = await open_database(place)
    logs = [SqlAuditLog(database, "one"), SqlAuditLog(other, "two"), SqlAuditLog(other, "one")]
    for number in range(9):
        await logs[number % 3].append([event(f"u{number}", index=number)])
    await other.close()
    names = select(schema.writers.c.name, schema.writers.c.number)
    assert {tuple(row) for row in await database.rows(names)} == {("one", 6), ("two", 3)}
    assert await whole(database)


@given(st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(0, 9), min_size=1, max_size=5)), max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
async def test_retries_of_several_writers_at_once_keep_the_chains_whole(
    database: Database, batches: list[tuple[int, list[int]]]
) -> None:
    """Each batch is told twice, interleaved with all others: every event is stored once, in one chain."""
    await database.change(text("DELETE FROM events"))
    await database.change(text("DELETE FROM writers"))
    logs = [SqlAuditLog(database, f"writer {number}") for number in range(3)]
    async with asyncio.TaskGroup() as tasks:
        for _ in range(2):
            for writer, numbers in batches:
                tasks.create_task(logs[writer].append([event(f"u{n}", index=n) for n in numbers]))
    uids = [row.uid for row in await database.rows(select(schema.events.c.uid))]
    assert sorted(uids) == sorted({f"u{n}" for _, numbers in batches for n in numbers})
    assert await whole(database)


async def test_an_append_that_fails_leaves_the_chain_as_it_was(database: Database) -> None:
    """And the next one goes on from there."""
    log = SqlAuditLog(database)
    await log.append([event("u1")])
    with pytest.raises(ValueError, match="without zone"):
        await log.append([event("u2"), replace(event("u3"), time=START.replace(tzinfo=None))])
    await log.append([event("u4", index=1)])
    assert [row.uid for row in await database.rows(select(schema.events.c.uid))] == ["u1", "u4"]
    assert await whole(database)


async def test_what_is_superseded_stays_and_a_mark_says_so(database: Database) -> None:
    """An end that auth made up: moved behind what came, and then replaced; nothing is gone."""
    log = SqlAuditLog(database)
    await log.append([event("u1", Kind.SESSION_START)])
    await log.append([made_up()])
    await log.append([event("u2", index=1)])
    await log.append([event("u3", Kind.SESSION_END, index=2)])
    columns = schema.events.c.event, schema.events.c.ei, schema.events.c.hidden
    rows = await database.rows(select(*columns).order_by(schema.events.c.seq))
    assert [tuple(row) for row in rows] == [
        ("session.start", 0, False),
        ("session.end", 1, True),
        ("exec", 1, False),
        ("audit.superseded", 0, True),
        ("session.end", 2, True),
        ("audit.superseded", 0, True),
        ("session.end", 2, False),
    ]
    assert await whole(database)


async def test_each_version_of_an_end_has_a_uid_of_its_own(database: Database) -> None:
    """Whoever got the one that was made up does not take the real one for the same."""
    log = SqlAuditLog(database)
    await log.append([event("u1", Kind.SESSION_START), made_up()])
    await log.append([event("u2", index=1)])
    await log.append([event("u3", Kind.SESSION_END, index=2)])
    ends = select(schema.events.c.uid).where(schema.events.c.event == "session.end")
    assert len({row.uid for row in await database.rows(ends)}) == 3


@pytest.mark.parametrize("kind", [Kind.SESSION_END, Kind.SESSION_LEAVE, Kind.EXEC])
async def test_telling_again_what_was_made_up_leaves_no_trace(database: Database, kind: Kind) -> None:
    """Neither before nor after the daemon's own came."""
    from interlock.domain.audit import repeatable_uid

    log = SqlAuditLog(database)
    await log.append([event("u1", Kind.SESSION_START)])
    for _ in range(2):
        await log.append([made_up(kind)])
    own = replace(event(repeatable_uid(SID, kind.event), kind, 1))
    for _ in range(2):
        await log.append([own])
        await log.append([made_up(kind), made_up(kind, "another")])
    columns = schema.events.c.uid, schema.events.c.hidden
    rows = await database.rows(select(*columns).where(schema.events.c.event == kind.event))
    assert {tuple(row) for row in rows} == {("auth", True), (own.uid, False)}
    marks = select(schema.events).where(schema.events.c.event == "audit.superseded")
    assert len(await database.rows(marks)) == 1

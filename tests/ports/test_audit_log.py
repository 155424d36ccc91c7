"""What every audit log does: each fact is kept once, in order, however often it is told."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import open_database
from interlock.core.ids import SessionId
from interlock.domain.audit import (
    BY_AUTH,
    BY_RECOVERY,
    NEXT,
    ONCE_PER_SESSION,
    SYNTHESIZED,
    AuditEvent,
    Kind,
    repeatable_uid,
)
from interlock.ports import AuditLog, EventFilter, EventReader
from interlock.testing.clock import START
from interlock.testing.postgres import NewPlace
from interlock.testing.stores import MemoryAuditLog

SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")
THIRD = SessionId("cccccccc-0000-4000-8000-000000000003")
OTHER = SessionId("bbbbbbbb-0000-4000-8000-000000000002")


class Log(AuditLog, EventReader, Protocol):
    """Both sides of the log."""


def event(uid: str, kind: Kind, sid: SessionId | None = SID, index: int = 0, user: str = "alice") -> AuditEvent:
    """An event with a few fields."""
    return AuditEvent(kind, START + timedelta(seconds=index), uid, "demo", sid, index, {"user": user})


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def log(request: pytest.FixtureRequest, new_place: NewPlace) -> AsyncIterator[Log]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield MemoryAuditLog()
        return
    database = await open_database(new_place(request.param))
    yield SqlAuditLog(database)
    await database.close()


async def uids(log: Log, wanted: EventFilter | None = None) -> list[object]:
    """What is stored."""
    return [each["uid"] for each in await log.events(wanted or EventFilter())]


async def test_an_event_comes_back_as_it_is_exported(log: Log) -> None:
    """Byte for byte the JSON of the domain."""
    start = event("u1", Kind.SESSION_START)
    login = event("u2", Kind.USER_LOGIN, sid=None)
    await log.append([start, login])
    assert await log.events(EventFilter()) == [start.to_json(), login.to_json()]


async def test_appending_again_changes_nothing(log: Log) -> None:
    """The same batch, and a batch that is new in part."""
    first, second = event("u1", Kind.SESSION_START), event("u2", Kind.EXEC, index=1)
    await log.append([first])
    await log.append([first, second])
    await log.append([])
    assert await uids(log) == ["u1", "u2"]


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.event in ONCE_PER_SESSION])
async def test_a_session_starts_ends_and_is_uploaded_once(log: Log, kind: Kind) -> None:
    """The first one counts, also within one batch; other sessions are not concerned."""
    await log.append([event("u1", kind), event("u2", kind)])
    await log.append([event("u3", kind, index=9), event("u4", kind, sid=OTHER)])
    assert await uids(log) == ["u1", "u4"]


async def numbers(log: Log, sid: SessionId = SID) -> list[tuple[object, object]]:
    """Name and number of a session's events."""
    return [(each["event"], each["ei"]) for each in await log.events(EventFilter(sid=sid))]


async def test_the_log_numbers_what_recovery_tells(log: Log) -> None:
    """What is dropped as told before takes no number; other sessions are not concerned."""
    await log.append([event("u1", Kind.SESSION_START), event("u2", Kind.EXEC, index=1)])
    await log.append([event("u3", Kind.SESSION_START, sid=OTHER, index=7)])
    again = [event("u4", Kind.SESSION_START, index=NEXT), event("u2", Kind.EXEC, index=NEXT)]
    for _ in range(2):
        await log.append([*again, event("u5", Kind.SESSION_END, index=NEXT)])
        await log.append([event("u6", Kind.SESSION_LEAVE, index=NEXT)])
    assert await numbers(log) == [("session.start", 0), ("exec", 1), ("session.end", 2), ("session.leave", 3)]
    await log.append([event("u7", Kind.SESSION_START, sid=THIRD, index=NEXT)])
    assert await numbers(log, THIRD) == [("session.start", 0)]


def made_up(uid: str = "auth") -> AuditEvent:
    """An end that auth made up."""
    return AuditEvent(Kind.SESSION_END, START, uid, "demo", SID, NEXT, {"user": "alice", SYNTHESIZED: BY_AUTH})


async def test_a_made_up_end_gives_way_to_the_real_one(log: Log) -> None:
    """A daemon that was only cut off tells the rest of its session: one end, its own, and no number twice."""
    await log.append([event("u1", Kind.SESSION_START)])
    await log.append([made_up()])
    await log.append([made_up("auth again")])
    assert await numbers(log) == [("session.start", 0), ("session.end", 1)]
    await log.append([event("u2", Kind.SESSION_RESIZE, index=1)])
    assert await numbers(log) == [("session.start", 0), ("resize", 1), ("session.end", 2)]
    await log.append([event("u3", Kind.SESSION_END, index=2), event("u4", Kind.SESSION_LEAVE, index=3)])
    assert await numbers(log) == [("session.start", 0), ("resize", 1), ("session.end", 2), ("session.leave", 3)]
    assert await uids(log) == ["u1", "u2", "u3", "u4"]


async def test_a_made_up_start_gives_way_too(log: Log) -> None:
    """A daemon that comes back tells the whole session; until it does, start and end stay in this order."""
    start = replace(made_up("start"), kind=Kind.SESSION_START)
    await log.append([start, made_up("end")])
    assert await numbers(log) == [("session.start", 0), ("session.end", 1)]
    await log.append([event("u0", Kind.SESSION_START)])
    assert await numbers(log) == [("session.start", 0), ("session.end", 1)]
    await log.append([event("u1", Kind.SESSION_END, index=1)])
    assert await uids(log) == ["u0", "u1"]


async def test_a_made_up_end_replaces_nothing(log: Log) -> None:
    """Auth may have looked just before the end was stored."""
    await log.append([event("u1", Kind.SESSION_START), event("u2", Kind.SESSION_END, index=1)])
    await log.append([made_up()])
    assert await uids(log) == ["u1", "u2"]


async def test_an_end_that_recovery_made_up_stays(log: Log) -> None:
    """It knows the recording; nothing real can follow, and auth knows less."""
    recovered = AuditEvent(Kind.SESSION_END, START, "r", "demo", SID, NEXT, {SYNTHESIZED: BY_RECOVERY})
    await log.append([event("u1", Kind.SESSION_START), made_up()])
    await log.append([recovered])
    await log.append([made_up()])
    assert await uids(log) == ["u1", "r"]
    assert await numbers(log) == [("session.start", 0), ("session.end", 1)]


async def test_other_events_may_happen_often(log: Log) -> None:
    """Only those with a name of `ONCE_PER_SESSION` are unique in a session."""
    await log.append([event(f"u{n}", Kind.SESSION_RESIZE, index=n) for n in range(5)])
    assert len(await uids(log)) == 5


async def test_filters_narrow_and_keep_the_order(log: Log) -> None:
    """By session, user, name; limited to the oldest."""
    await log.append([event("u1", Kind.SESSION_START), event("u2", Kind.SESSION_START, sid=OTHER, user="bob")])
    await log.append([event("u3", Kind.SESSION_END, index=1)])
    assert await uids(log, EventFilter(sid=SID)) == ["u1", "u3"]
    assert await uids(log, EventFilter(user="bob")) == ["u2"]
    assert await uids(log, EventFilter(event="session.start")) == ["u1", "u2"]
    assert await uids(log, EventFilter(sid=SID, event="session.end")) == ["u3"]
    assert await uids(log, EventFilter(limit=2)) == ["u1", "u2"]


@given(st.lists(st.integers(min_value=0, max_value=3), max_size=12), st.integers(min_value=1, max_value=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
async def test_any_retry_pattern_stores_each_event_once(log: Log, order: list[int], batch: int) -> None:
    """At-least-once emission plus this store is exactly-once."""
    told = [event(f"r{number}", Kind.EXEC, index=number) for number in order]
    for at in range(0, len(told), batch):
        await log.append(told[at : at + batch])
    stored = [uid for uid in await uids(log) if str(uid).startswith("r")]
    assert len(stored) == len(set(stored))
    assert {f"r{number}" for number in order} <= set(map(str, stored))


async def test_every_party_leaves(log: Log) -> None:
    """A session has a leave for each; the owner's has one uid, so that recovery may tell it again."""
    owners = repeatable_uid(SID, Kind.SESSION_LEAVE.event)
    await log.append([event("u1", Kind.SESSION_LEAVE), event("u2", Kind.SESSION_LEAVE, index=1)])
    for _ in range(2):
        await log.append([event(owners, Kind.SESSION_LEAVE, index=NEXT)])
    assert await uids(log) == ["u1", "u2", owners]

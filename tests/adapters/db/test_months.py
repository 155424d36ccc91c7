"""Events in a table for each month: what holds for one table holds for all of them together."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from interlock.adapters.db import postgres as postgres_module
from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.months import EventMonths
from interlock.core.errors import StoreError
from interlock.core.ids import SessionId
from interlock.domain.audit import AuditEvent, Kind
from interlock.ports import EventFilter
from interlock.testing.database import put_database
from interlock.testing.postgres import NewPlace

SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")
JANUARY, FEBRUARY = datetime(2031, 1, 31, 23, 59, 59, tzinfo=UTC), datetime(2031, 2, 1, tzinfo=UTC)
PLACES = text("SELECT tableoid::regclass::text AS part, uid FROM events ORDER BY seq")


@pytest.fixture
async def months(new_place: NewPlace) -> AsyncIterator[Database]:
    """A database with tables for the months from January 2031 on."""
    database = await open_database(new_place("postgres"))
    await EventMonths(database).tend(JANUARY)
    yield database
    await database.close()


def event(uid: str, kind: Kind, at: datetime) -> AuditEvent:
    """An event of the session."""
    return AuditEvent(kind, at, uid, "demo", SID, 0, {"user": "alice"})


async def places(database: Database) -> dict[str, str]:
    """In which table each event is."""
    return {row.uid: row.part for row in await database.rows(PLACES)}


@pytest.mark.slow
async def test_each_month_has_its_table_and_all_are_one_log(months: Database) -> None:
    """In the order of arrival, whatever the times are; one without a table for its month is not lost."""
    log = SqlAuditLog(months)
    told = [
        event("february", Kind.EXEC, FEBRUARY),
        event("january", Kind.EXEC, JANUARY),
        event("past", Kind.EXEC, datetime(1999, 1, 1, tzinfo=UTC)),
    ]
    await log.append(told)
    assert await places(months) == {
        "february": "events_2031_02",
        "january": "events_2031_01",
        "past": "events_other",
    }
    for wanted in (EventFilter(), EventFilter(sid=SID), EventFilter(user="alice"), EventFilter(event="exec")):
        assert [each["uid"] for each in await log.events(wanted)] == ["february", "january", "past"]


@pytest.mark.slow
async def test_what_is_once_is_once_over_all_months(months: Database) -> None:
    """Also when it is told again with another time; keys of one table would not see it."""
    log = SqlAuditLog(months)
    await log.append([event("u1", Kind.SESSION_END, JANUARY), event("u2", Kind.EXEC, JANUARY)])
    await log.append([event("u3", Kind.SESSION_END, FEBRUARY), event("u2", Kind.EXEC, FEBRUARY)])
    await log.append([event("u4", Kind.SESSION_UPLOAD, JANUARY), event("u5", Kind.SESSION_UPLOAD, FEBRUARY)])
    assert [each["uid"] for each in await log.events(EventFilter())] == ["u1", "u2", "u4"]


@pytest.mark.slow
async def test_what_waits_for_its_month_goes_there(months: Database) -> None:
    """A node whose clock is ahead."""
    await SqlAuditLog(months).append([event("u1", Kind.EXEC, FEBRUARY + timedelta(days=70))])
    assert await places(months) == {"u1": "events_other"}
    assert await EventMonths(months).tend(FEBRUARY) == (1, [])
    assert await EventMonths(months).tend(FEBRUARY) == (0, [])
    assert await places(months) == {"u1": "events_2031_04"}


@pytest.mark.slow
async def test_a_past_month_of_which_nothing_is_left_is_dropped(months: Database) -> None:
    """One in which something is held stays, as does the last month's, this one's and what is to come."""
    log = SqlAuditLog(months)
    await log.append([event("u1", Kind.EXEC, JANUARY), event("u2", Kind.EXEC, FEBRUARY)])
    await months.change(text("DELETE FROM events WHERE uid = 'u1'"))
    made, dropped = await EventMonths(months).tend(datetime(2031, 4, 1, tzinfo=UTC))
    assert (made, dropped) == (3, ["events_2031_01"])
    assert await places(months) == {"u2": "events_2031_02"}
    await log.append([event("u3", Kind.EXEC, JANUARY)])
    assert (await places(months))["u3"] == "events_other"


@pytest.mark.slow
async def test_a_long_reader_holds_up_the_calendar_and_nobody_else(
    new_place: NewPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ilctl events verify is; everybody who writes would wait behind tables that are made or dropped."""
    monkeypatch.setattr(postgres_module, "BUSY_TIMEOUT_MS", 0)  # as long as it takes
    database = await open_database(new_place("postgres"))
    await EventMonths(database).tend(JANUARY)
    reading, done = threading.Event(), threading.Event()

    def read(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql("SELECT count(*) FROM events")
        reading.set()
        done.wait()
        connection.exec_driver_sql("ROLLBACK")

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(database.read(read))
        await asyncio.to_thread(reading.wait)
        try:
            for later in (FEBRUARY, datetime(2031, 4, 1, tzinfo=UTC)):
                with pytest.raises(StoreError) as caught:
                    await EventMonths(database).tend(later)
                assert "lock timeout" in caught.value.reason
                await SqlAuditLog(database).append([event(f"u{later}", Kind.EXEC, JANUARY)])
        finally:
            done.set()
    shown = await asyncio.gather(
        EventMonths(database).tend(FEBRUARY),
        database.write(lambda connection: connection.exec_driver_sql("SHOW lock_timeout").scalar()),
    )
    assert shown == [(1, []), "0"]
    await database.close()


@pytest.mark.slow
async def test_every_months_table_has_the_keys(months: Database) -> None:
    """They hold within it even if the trigger is not there."""
    keys = text(
        "SELECT relid::regclass::text AS part, count(*) AS keys FROM pg_partition_tree('events') "
        "JOIN pg_index ON indrelid = relid AND indisunique WHERE isleaf GROUP BY relid"
    )
    found = {row.part: row.keys for row in await months.rows(keys)}
    assert {"events_other", "events_2031_01", "events_2031_02", "events_2031_03"} <= set(found)
    assert set(found.values()) == {4}  # with that of seq


async def test_a_file_has_one_table(tmp_path: Path) -> None:
    """There is nothing to do."""
    put_database(tmp_path / "test.db")
    database = await open_database(tmp_path / "test.db")
    assert await EventMonths(database).tend(JANUARY) == (0, [])
    await database.close()

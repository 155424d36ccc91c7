"""The audit log in SQLite, beyond what every audit log does (tests/ports/test_audit_log.py)."""

import pytest

from interlock.adapters.db.audit import SqlAuditLog
from interlock.adapters.db.engine import Database
from interlock.core.ids import SessionId
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.ports import EventFilter
from interlock.testing.clock import START

SID = SessionId("aaaaaaaa-0000-4000-8000-000000000001")


@pytest.fixture
def log(database: Database) -> SqlAuditLog:
    """The audit log."""
    return SqlAuditLog(database)


async def test_a_limit_leaves_the_newest_events_if_asked(log: SqlAuditLog) -> None:
    """Which is what people want of a listing; they are listed oldest first all the same."""
    await log.append([AuditEvent(Kind.EXEC, START, f"u{n}", "demo", SID, n) for n in range(5)])
    stored = await log.events(EventFilter(limit=2, newest=True))
    assert [event["uid"] for event in stored] == ["u3", "u4"]


async def test_what_a_peer_sent_never_stops_the_log(log: SqlAuditLog) -> None:
    """Half characters, NUL, escapes, numbers of any size: all are stored and can be read."""
    hostile = b"\xff\x00\x1b]0;x\x07".decode(errors="surrogateescape")
    fields: dict[str, JsonValue] = {"user": hostile, "command": hostile, "argv": [hostile], "tx": 2**63}
    await log.append([AuditEvent(Kind.EXEC, START, "u1", "demo", SID, 0, fields)])
    [stored] = await log.events(EventFilter())
    assert stored["tx"] == 2**63
    assert str(stored["command"]).endswith("\x00\x1b]0;x\x07")


async def test_a_session_is_known_by_anything_but_refusals(log: SqlAuditLog) -> None:
    """A refused channel has no record that a session under its ID could spoil."""
    other = SessionId("bbbbbbbb-0000-4000-8000-000000000002")
    await log.append([AuditEvent(Kind.SESSION_REJECTED, START, "u1", "demo", SID)])
    assert not log.knows(SID)
    await log.append([AuditEvent(Kind.SESSION_END, START, "u2", "demo", SID)])
    assert log.knows(SID)
    assert not log.knows(other)

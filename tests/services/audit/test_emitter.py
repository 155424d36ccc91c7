"""Events: stamped, numbered, stored in order."""

import asyncio
from datetime import UTC, datetime

import pytest

from interlock.core.errors import LocalProtocolError
from interlock.core.ids import SessionId
from interlock.domain.audit import Kind
from interlock.services.audit.emitter import Emitter, EventFactory, SessionJournal
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.stores import MemoryAuditLog

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")


def factory() -> EventFactory:
    """A factory of a cluster named demo."""
    return EventFactory(cluster="demo", clock=FakeClock(), entropy=FakeEntropy())


def test_an_event_is_stamped() -> None:
    """uid, time and cluster come from the factory."""
    event = factory().make(Kind.AUTH_FAILURE, {"user": "jeff"})
    assert event.to_json() == {
        "ei": 0,
        "event": "auth",
        "code": "T3007W",
        "time": "2026-01-10T22:23:57.642Z",
        "uid": "00000000-0000-4000-8000-000000000001",
        "cluster_name": "demo",
        "user": "jeff",
    }


def test_a_reconstructed_event_has_its_own_time() -> None:
    """What happened before a crash is not dated to the recovery."""
    event = factory().make(Kind.SESSION_START, {}, time=datetime(2020, 1, 1, tzinfo=UTC))
    assert event.to_json()["time"] == "2020-01-01T00:00:00.000Z"


def test_a_field_with_a_name_of_the_envelope_is_a_bug() -> None:
    """It would not be stored, so whoever passes it must learn of it."""
    with pytest.raises(LocalProtocolError):
        factory().make(Kind.SESSION_START, {"time": "yesterday"})


def test_bytes_that_are_no_text_are_made_visible() -> None:
    """A command of arbitrary bytes cannot make an event that no store takes."""
    odd = b"ls \xff\xc3\xbc".decode("utf-8", "surrogateescape")
    event = factory().make(Kind.EXEC, {"command": odd, "initial_command": [odd], "exitCode": "0"})
    assert event.fields["command"] == "ls \\udcffü"
    assert event.fields["initial_command"] == ["ls \\udcffü"]


async def test_events_of_a_session_are_numbered_without_gaps_and_stored_in_order() -> None:
    """ei runs from 0; a store that is away for a while changes nothing about it."""
    log = MemoryAuditLog(failures=2)

    async def no_time(_seconds: float) -> None:
        await asyncio.sleep(0)

    emitter = Emitter(log, sleep=no_time)
    journal = SessionJournal(SID, emitter, factory())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(emitter.run())
        for kind in (Kind.SESSION_START, Kind.SESSION_RESIZE, Kind.SESSION_END):
            journal.add(kind, {})
        await emitter.flush()
        journal.add(Kind.SESSION_LEAVE, {})
        emitter.stop()
    assert log.of(SID) == [
        (0, "session.start", "T2000I"),
        (1, "resize", "T2002I"),
        (2, "session.end", "T2004I"),
        (3, "session.leave", "T2003I"),
    ]
    assert emitter.healthy

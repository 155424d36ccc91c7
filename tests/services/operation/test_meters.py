"""What one process counts."""

from datetime import UTC, datetime

from interlock.domain.audit import AuditEvent, Kind
from interlock.domain.metrics import Metric
from interlock.services.operation.meters import Meters


def event(kind: Kind) -> AuditEvent:
    """One of now."""
    return AuditEvent(kind, datetime(2026, 1, 1, tzinfo=UTC), "uid", "demo", fields={})


def test_events_are_counted_by_name_and_refusals_by_what_was_refused() -> None:
    """Nothing that a peer sent becomes a label."""
    meters = Meters()
    for kind in (
        Kind.SESSION_START,
        Kind.SESSION_START,
        Kind.AUTH_FAILURE,
        Kind.SFTP_DISALLOWED,
        Kind.RECORDING_LAPSE,
    ):
        meters.told(event(kind))
    reading = meters.reading()
    assert reading.value(Metric.EVENTS, "session.start") == 2
    assert reading.values[Metric.REFUSED.name] == {"authentication": 1, "file": 1}
    assert reading.value(Metric.LAPSES) == 1


def test_gauges_are_asked_for_when_somebody_looks() -> None:
    """And not kept; two that say something of one number are added, or the worse one counts."""
    meters, live = Meters(), [1]
    meters.watch(Metric.LIVE, lambda: live[0])
    meters.watch(Metric.LIVE, lambda: 10)
    meters.watch(Metric.AUDIT_LAG, lambda: 3.0)
    meters.watch(Metric.AUDIT_LAG, lambda: 1.0)
    assert meters.reading().value(Metric.LIVE) == 11
    live[0] = 5
    assert meters.reading().value(Metric.LIVE) == 15
    assert meters.reading().value(Metric.AUDIT_LAG) == 3.0
    assert meters.reading().value(Metric.PROCESSES) == 1


def test_a_reading_is_a_copy() -> None:
    """What is counted later does not change it."""
    meters = Meters()
    before = meters.reading()
    meters.count(Metric.RELAYED, 5, "to_client")
    meters.set_up(0.2)
    assert before.value(Metric.RELAYED, "to_client") == 0
    assert sum(before.set_up.classes) == 0
    assert meters.reading().value(Metric.RELAYED, "to_client") == 5

"""The table of metrics, and how what several processes counted becomes one reading."""

import re

from interlock.domain.audit import Kind
from interlock.domain.metrics import BOUNDS_S, REFUSALS, Metric, Reading, Shape, Times


def test_every_metric_is_named_as_prometheus_wants_it() -> None:
    """Once, in base units, and what only grows says so."""
    assert len({metric.title for metric in Metric}) == len(Metric)
    for metric in Metric:
        assert re.fullmatch(r"interlock_[a-z_]+", metric.title)
        assert metric.title.endswith("_total") == (metric.shape is Shape.COUNTER)
        assert metric.text.endswith(".")
        assert not metric.title.endswith(("_ms", "_kb", "_mb"))


def test_every_refusal_that_has_an_event_is_counted() -> None:
    """Whatever event says by its name or code that somebody was refused."""
    told = {kind for kind in Kind if "DISALLOWED" in kind.name or "REJECTED" in kind.name}
    told |= {Kind.AUTH_FAILURE, Kind.USER_LOGIN_FAILURE, Kind.PORT_FAILURE, Kind.X11_FAILURE, Kind.AGENT_FAILURE}
    assert set(REFUSALS) == told


def test_counters_add_up_and_the_worst_lag_counts() -> None:
    """Of two processes."""
    one, other = Reading(), Reading()
    for reading, live, lag in ((one, 2, 0.5), (other, 3, 0.1)):
        reading.add(Metric.LIVE, live)
        reading.add(Metric.RECORDER_LAG, lag)
        reading.add(Metric.RELAYED, 10, "to_client")
    one.add(Metric.RELAYED, 1, "from_client")
    one.set_up.note(0.03)
    other.set_up.note(99.0)
    found = Reading.sum([one, other])
    assert (found.value(Metric.LIVE), found.value(Metric.RECORDER_LAG)) == (5, 0.5)
    assert found.values[Metric.RELAYED.name] == {"to_client": 20, "from_client": 1}
    assert (sum(found.set_up.classes), found.set_up.classes[-1], found.set_up.total) == (2, 1, 99.03)
    assert one.value(Metric.LIVE) == 2, "a sum changed what it was made of"


def test_what_lasts_has_no_gauges() -> None:
    """What a worker has counted stays true when it is gone; what it had at that moment does not."""
    reading = Reading()
    reading.add(Metric.LIVE, 2)
    reading.add(Metric.AUDIT_LAG, 2)
    reading.add(Metric.SESSIONS, 7, "proxy")
    reading.set_up.note(0.01)
    kept = reading.lasting()
    assert kept.values == {Metric.SESSIONS.name: {"proxy": 7}}
    assert kept.set_up == reading.set_up
    assert kept.set_up is not reading.set_up


def test_a_time_falls_into_the_class_that_its_bound_includes() -> None:
    """As Prometheus has it: less than or equal."""
    times = Times()
    for bound in BOUNDS_S:
        times.note(bound)
    assert times.classes == [1] * len(BOUNDS_S) + [0]

"""What Prometheus reads, read by its own parser."""

from prometheus_client.parser import text_string_to_metric_families

from interlock.adapters.monitor.exposition import exposition
from interlock.domain.metrics import Metric, Reading


def samples(reading: Reading) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample, by name and labels."""
    families = text_string_to_metric_families(exposition(reading).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}


def test_everything_is_there_before_anything_happened() -> None:
    """What has no label is 0; what has labels has no series yet, but its help."""
    found = samples(Reading())
    for metric in Metric:
        if not metric.label and metric is not Metric.SET_UP:
            assert found[metric.title, frozenset()] == 0
        assert f"# HELP {metric.title.removesuffix('_total')}".encode() in exposition(Reading())
    assert found["interlock_session_setup_seconds_count", frozenset()] == 0


def test_values_labels_and_the_histogram() -> None:
    """Buckets are cumulative, and the last one is all."""
    reading = Reading()
    reading.add(Metric.RELAYED, 2**40, "to_client")
    reading.add(Metric.LIVE, 3)
    for seconds in (0.03, 0.15, 60.0):
        reading.set_up.note(seconds)
    found = samples(reading)
    assert found["interlock_relay_bytes_total", frozenset({("direction", "to_client")})] == 2**40
    assert found["interlock_sessions_live", frozenset()] == 3
    buckets = {dict(labels)["le"]: n for (name, labels), n in found.items() if name.endswith("_bucket")}
    assert (buckets["0.02"], buckets["0.05"], buckets["0.2"], buckets["20.0"], buckets["+Inf"]) == (0, 1, 2, 2, 3)
    assert found["interlock_session_setup_seconds_sum", frozenset()] == 60.18

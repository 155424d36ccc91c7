"""A reading as Prometheus reads it: text format 0.0.4, by the library of the project itself."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from interlock.domain.metrics import BOUNDS_S, Metric, Reading, Shape

CONTENT_TYPE = CONTENT_TYPE_LATEST


def exposition(reading: Reading) -> bytes:
    """All metrics; those of one number also if nothing was counted."""
    return generate_latest(_Once(reading))


class _Once(Collector):
    """A collector of what was read already, where the library expects a registry."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    def collect(self) -> Iterator[Family]:
        """All families."""
        for metric in Metric:
            yield (
                _histogram(metric, self._reading)
                if metric.shape is Shape.HISTOGRAM
                else _plain(metric, self._reading)
            )


def _plain(metric: Metric, reading: Reading) -> Family:
    labels = [metric.label] if metric.label else []
    made = CounterMetricFamily if metric.shape is Shape.COUNTER else GaugeMetricFamily
    family = made(metric.title, metric.text, labels=labels)
    series = reading.values.get(metric.name, {} if labels else {"": 0.0})
    for value, amount in sorted(series.items()):
        family.add_metric([value] if labels else [], amount)
    return family


def _histogram(metric: Metric, reading: Reading) -> Family:
    times = reading.set_up
    bounds = [*(str(bound) for bound in BOUNDS_S), "+Inf"]
    family = HistogramMetricFamily(metric.title, metric.text)
    buckets = list(zip(bounds, (float(n) for n in accumulate(times.classes)), strict=True))
    family.add_metric([], buckets=buckets, sum_value=times.total)
    return family

"""Counts what one process does, for whoever watches it. Nothing here is on the path of a packet.

What only grows is counted when it happens; what is true at a moment is asked for when somebody looks.
"""

from collections.abc import Callable

from interlock.domain.audit import AuditEvent, Kind
from interlock.domain.metrics import REFUSALS, Metric, Reading, Times

Ask = Callable[[], float]


class Meters:
    """Of one process."""

    def __init__(self) -> None:
        self._counted = Reading()
        self._asked: list[tuple[Metric, str, Ask]] = []

    def told(self, event: AuditEvent) -> None:
        """An audit event was emitted."""
        kind = event.kind
        self._counted.add(Metric.EVENTS, 1, kind.event)
        if kind in REFUSALS:
            self._counted.add(Metric.REFUSED, 1, REFUSALS[kind])
        elif kind is Kind.RECORDING_LAPSE:
            self._counted.add(Metric.LAPSES, 1)

    def count(self, metric: Metric, amount: float = 1, label: str = "") -> None:
        """Something happened."""
        self._counted.add(metric, amount, label)

    def set_up(self, seconds: float) -> None:
        """A connection's first session was agreed, so many seconds after the connection was accepted."""
        self._counted.set_up.note(seconds)

    def watch(self, metric: Metric, ask: Ask, label: str = "") -> None:
        """Ask for this number whenever somebody looks; several may say something of one series."""
        self._asked.append((metric, label, ask))

    def reading(self) -> Reading:
        """What is true now."""
        counted = self._counted
        found = Reading(
            {name: dict(series) for name, series in counted.values.items()},
            Times(list(counted.set_up.classes), counted.set_up.total),
        )
        for metric, label, ask in self._asked:
            found.add(metric, ask(), label)
        found.add(Metric.PROCESSES, 1)
        return found

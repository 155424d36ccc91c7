"""What a daemon counts for whoever watches it: one table, and numbers that several processes add up.

Names follow Prometheus: base units, ``_total`` for what only grows. A label's values come from our own tables,
never from what a peer sends, so that the number of series is bounded.
"""

from bisect import bisect_left
from collections.abc import Iterable
from enum import Enum
from typing import Self

import msgspec

from interlock.domain.audit import Kind


class Shape(Enum):
    """How a metric behaves."""

    COUNTER = "counter"  # only grows
    GAUGE = "gauge"  # of all processes together
    WORST = "worst"  # a gauge of which the process that is worst off counts
    HISTOGRAM = "histogram"


class Metric(Enum):
    """Every metric: (name, shape, help, label or none)."""

    SESSIONS = ("interlock_sessions_total", Shape.COUNTER, "Sessions that began, by recording mode.", "mode")
    LIVE = ("interlock_sessions_live", Shape.GAUGE, "Sessions that have not ended.", "")
    SET_UP = (
        "interlock_session_setup_seconds",
        Shape.HISTOGRAM,
        "From a connection's acceptance by the proxy to its first session's agreed ID.",
        "",
    )
    RELAYED = ("interlock_relay_bytes_total", Shape.COUNTER, "Bytes of sessions, by direction.", "direction")
    EVENTS = ("interlock_audit_events_total", Shape.COUNTER, "Audit events emitted, by name.", "event")
    REFUSED = ("interlock_refused_total", Shape.COUNTER, "Refusals, by what was refused.", "reason")
    LAPSES = (
        "interlock_recording_lapses_total",
        Shape.COUNTER,
        "Sessions that went on unrecorded for a time.",
        "",
    )
    RECORDER_LAG = (
        "interlock_recorder_lag_seconds",
        Shape.WORST,
        "Age of the oldest output that its recording does not have on disk.",
        "",
    )
    LIVE_BYTES = (
        "interlock_live_recordings_bytes",
        Shape.GAUGE,
        "Bytes of recordings in the making, which stay on the disk until their sessions end.",
        "",
    )
    UPLOAD_BACKLOG = ("interlock_upload_backlog", Shape.GAUGE, "Recordings that wait to be stored.", "")
    STORAGE_AWAY = (
        "interlock_storage_away",
        Shape.WORST,
        "1 while the storage of recordings does not answer.",
        "",
    )
    ROOM_STEP = (
        "interlock_recording_room_step",
        Shape.WORST,
        "Room for recordings: 0 enough, 1 spilling, 2 refusing new ones, 3 nothing is recorded.",
        "",
    )
    NO_ROOM = ("interlock_recording_refused_total", Shape.COUNTER, "Recordings not begun for want of room.", "")
    AUDIT_BACKLOG = ("interlock_audit_backlog", Shape.GAUGE, "Events that wait to be stored.", "")
    AUDIT_LAG = ("interlock_audit_lag_seconds", Shape.WORST, "Age of the oldest event that waits.", "")
    PROCESSES = ("interlock_processes", Shape.GAUGE, "Processes that answered.", "")

    @property
    def title(self) -> str:
        """Its name."""
        return str(self.value[0])

    @property
    def shape(self) -> Shape:
        """How it behaves."""
        return self.value[1]

    @property
    def text(self) -> str:
        """What it says, for people."""
        return str(self.value[2])

    @property
    def label(self) -> str:
        """What tells its series apart; empty if it is one number."""
        return str(self.value[3])


REFUSALS: dict[Kind, str] = {
    Kind.AUTH_FAILURE: "authentication",
    Kind.USER_LOGIN_FAILURE: "sign-in",
    Kind.SESSION_REJECTED: "session",
    Kind.PORT_FAILURE: "forward",
    Kind.X11_FAILURE: "x11",
    Kind.AGENT_FAILURE: "agent",
    Kind.SFTP_DISALLOWED: "file",
    Kind.SCP_DISALLOWED: "file",
}
"""Events that say that somebody did not get what he asked for."""

BOUNDS_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Upper bounds of the set-up times' classes; beyond the last there is one more class."""


class Times(msgspec.Struct):
    """A histogram of seconds."""

    classes: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total: float = 0.0

    def note(self, seconds: float) -> None:
        """One more."""
        self.classes[bisect_left(BOUNDS_S, seconds)] += 1
        self.total += seconds


class Reading(msgspec.Struct):
    """What was counted, by one process or by several."""

    values: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)  # by metric, then by label's value
    set_up: Times = msgspec.field(default_factory=Times)

    def add(self, metric: Metric, amount: float, label: str = "") -> None:
        """One more says so much of it."""
        series = self.values.setdefault(metric.name, {})
        before = series.get(label, 0.0)
        series[label] = max(before, amount) if metric.shape is Shape.WORST else before + amount

    def value(self, metric: Metric, label: str = "") -> float:
        """How much it is; 0 if nothing was noted."""
        return self.values.get(metric.name, {}).get(label, 0.0)

    def lasting(self) -> Self:
        """What stays true when the process has ended: without its gauges."""
        kept = {
            m.name: dict(self.values[m.name]) for m in Metric if m.shape is Shape.COUNTER and m.name in self.values
        }
        return type(self)(kept, Times(list(self.set_up.classes), self.set_up.total))

    @classmethod
    def sum(cls, readings: Iterable["Reading"]) -> Self:
        """Of several processes."""
        found = cls()
        for reading in readings:
            for metric in Metric:
                for label, amount in reading.values.get(metric.name, {}).items():
                    found.add(metric, amount, label)
            found.set_up.classes = [
                a + b for a, b in zip(found.set_up.classes, reading.set_up.classes, strict=True)
            ]
            found.set_up.total += reading.set_up.total
        return found

"""A clock that stands still until the test moves it."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 10, 22, 23, 57, 642000, tzinfo=UTC)
"""Where every fake clock begins, unless the test says otherwise."""


class FakeClock:
    """`ports.Clock` under the test's control; wall clock and monotonic clock move together."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._monotonic = 1000.0

    def now(self) -> datetime:
        """The wall clock, in UTC with time zone."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that never go backwards."""
        return self._monotonic

    def advance(self, by: timedelta | float) -> None:
        """Let time pass: a timedelta or seconds; ValueError if it would run backwards."""
        step = by if isinstance(by, timedelta) else timedelta(seconds=by)
        if step < timedelta(0):
            msg = "a clock does not run backwards: use step_wall for a clock that was set back"
            raise ValueError(msg)
        self._now += step
        self._monotonic += step.total_seconds()

    def step_wall(self, by: timedelta) -> None:
        """Set the wall clock, forwards or back, as an administrator or NTP does; no time passes."""
        self._now += by

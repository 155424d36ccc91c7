"""One timer for all long waits: rounded up, cancelled, spread over steps, and none when nothing waits."""

import tracemalloc
from collections.abc import Callable

import pytest

from interlock.services.access.wheel import AT_ONCE, TICK_S, Wheel
from interlock.services.timers import Timer
from interlock.testing.clock import FakeClock
from interlock.testing.stores import FakeTimer, FakeTimers

DAY_S = 86_400.0


class Bench:
    """A wheel on a clock and a loop that the test moves."""

    def __init__(self) -> None:
        self.clock, self.timers = FakeClock(), FakeTimers()
        self.wheel = Wheel(self.clock, call_later=self.call_later)
        self.called: list[object] = []
        self.due: dict[FakeTimer, float] = {}

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeTimer:
        """The loop's, with the time at which it is due."""
        timer = self.timers.call_later(delay, callback)
        self.due[timer] = self.clock.monotonic() + delay
        return timer

    def wait(self, delay: float, name: object) -> object:
        """Call with this name after so long."""
        return self.wheel.call_later(delay, lambda: self.called.append(name))

    def pass_time(self, seconds: float) -> None:
        """As a loop would: one timer after the other."""
        until = self.clock.monotonic() + seconds
        while self.timers.pending and (due := self.due[self.timers.pending[0]]) <= until:
            self.clock.advance(max(due - self.clock.monotonic(), 0))
            self.timers.fire()
        self.clock.advance(until - self.clock.monotonic())


@pytest.fixture
def bench() -> Bench:
    """An empty wheel."""
    return Bench()


def test_a_call_comes_when_it_is_due_or_a_tick_later(bench: Bench) -> None:
    """Never early, and in the order of the times."""
    bench.wait(7.3, "late")
    bench.wait(2.5, "soon")
    bench.pass_time(2.4)
    assert bench.called == []
    bench.pass_time(0.1 + TICK_S)
    assert bench.called == ["soon"]
    bench.pass_time(3.7)
    assert bench.called == ["soon"]
    bench.pass_time(0.1 + TICK_S)
    assert bench.called == ["soon", "late"]


def test_a_thousand_waits_have_one_timer(bench: Bench) -> None:
    """Whatever waits how long; and none once nothing waits any more."""
    for each in range(1000):
        bench.wait(5 + each % 60, each)
    assert len(bench.timers.pending) == 1
    bench.pass_time(70)
    assert sorted(bench.called, key=str) == sorted(range(1000), key=str)
    assert not bench.timers.pending


def test_an_earlier_wait_moves_the_timer(bench: Bench) -> None:
    """The one that was armed for later is not left behind."""
    bench.wait(60, "later")
    bench.wait(5, "sooner")
    assert len(bench.timers.pending) == 1
    bench.pass_time(5 + TICK_S)
    assert bench.called == ["sooner"]


def test_what_is_cancelled_is_not_called(bench: Bench) -> None:
    """Also by somebody who is called at the same tick."""
    early = bench.wheel.call_later(5, lambda: bench.called.append("early"))
    early.cancel()
    others: list[Timer] = []

    def cancel_other() -> None:
        others[0].cancel()

    bench.wheel.call_later(6, cancel_other)
    others.append(bench.wheel.call_later(6, lambda: bench.called.append("second")))
    bench.pass_time(10)
    assert bench.called == []


def test_nothing_is_kept_of_what_is_cancelled(bench: Bench) -> None:
    """Connections come and go by the million while the deadline of none of them, a day ahead, is reached."""

    def come_and_go() -> None:
        for each in range(5_000):
            bench.wheel.call_later(DAY_S + each % 3, lambda: None).cancel()

    come_and_go()
    tracemalloc.start()
    try:
        come_and_go()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 5_000
    bench.wait(5, "later")
    bench.pass_time(5 + TICK_S)
    assert bench.called == ["later"]
    assert not bench.timers.pending


def test_one_is_called_beside_those_that_are_cancelled(bench: Bench) -> None:
    """At the same tick, which was emptied before."""
    for _ in range(3):
        bench.wheel.call_later(5, lambda: bench.called.append("never")).cancel()
    bench.wait(5, "called")
    bench.wheel.call_later(5, lambda: bench.called.append("never")).cancel()
    bench.pass_time(5 + TICK_S)
    assert bench.called == ["called"]
    assert not bench.timers.pending


def test_a_full_tick_is_spread_over_steps(bench: Bench) -> None:
    """Packets get their turn in between."""
    for each in range(2 * AT_ONCE + 1):
        bench.wait(5, each)
    steps = []
    bench.clock.advance(6)
    while bench.timers.pending:
        bench.timers.fire()
        steps.append(len(bench.called))
    assert steps == [AT_ONCE, 2 * AT_ONCE, 2 * AT_ONCE + 1]


def test_one_who_waits_again_is_called_again(bench: Bench) -> None:
    """From within its own call."""

    def again() -> None:
        bench.called.append(bench.clock.monotonic())
        bench.wheel.call_later(10, again)

    bench.wheel.call_later(10, again)
    bench.pass_time(35)
    assert len(bench.called) == 3
    assert len(bench.timers.pending) == 1


def test_a_bug_of_one_stops_no_other(bench: Bench) -> None:
    """It is logged."""

    def fails() -> None:
        raise RuntimeError

    bench.wheel.call_later(5, fails)
    bench.wait(5, "other")
    bench.wait(9, "later")
    bench.pass_time(20)
    assert bench.called == ["other", "later"]


def test_a_short_wait_is_not_rounded(bench: Bench) -> None:
    """What must happen now is the loop's."""
    bench.wait(0, "now")
    bench.pass_time(0)
    assert bench.called == ["now"]

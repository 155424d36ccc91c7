"""The fake clock moves only when told."""

from datetime import timedelta

import pytest

from interlock.testing.clock import START, FakeClock


def test_time_stands_still_until_advanced() -> None:
    """Both readings move by what advance was given, in seconds or as timedelta."""
    clock = FakeClock()
    before = clock.monotonic()
    assert clock.now() == START
    clock.advance(1.5)
    clock.advance(timedelta(seconds=1))
    assert clock.now() == START + timedelta(seconds=2.5)
    assert clock.monotonic() == before + 2.5


def test_advance_never_runs_backwards_but_the_wall_clock_may_be_set_back() -> None:
    """A negative advance is a mistake of the test; step_wall moves the wall clock alone."""
    clock = FakeClock()
    before = clock.monotonic()
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)
    clock.step_wall(-timedelta(hours=1))
    assert clock.now() == START - timedelta(hours=1)
    assert clock.monotonic() == before

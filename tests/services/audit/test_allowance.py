"""So much at once, and more as time passes."""

from interlock.services.audit.allowance import Allowance


def test_what_is_taken_comes_back_with_time_and_never_grows_beyond_the_most() -> None:
    """However long nobody has taken anything."""
    allowance = Allowance(10, 2, now=100.0)
    assert allowance.take(10, now=100.0)
    assert not allowance.take(now=100.0)
    assert not allowance.take(3, now=101.0), "two have come"
    assert allowance.take(2, now=101.0)
    assert not allowance.take(11, now=10_000.0)
    assert allowance.take(10, now=10_000.0)


def test_what_was_not_used_can_be_taken_again() -> None:
    """And never becomes more than the most."""
    allowance = Allowance(10, 0, now=0.0)
    assert allowance.take(6, now=0.0)
    allowance.give_back(6)
    assert allowance.take(10, now=0.0)
    allowance.give_back(1000)
    assert not allowance.take(11, now=0.0)


def test_a_clock_that_goes_back_gives_nothing() -> None:
    """Nor does it take anything."""
    allowance = Allowance(1, 1, now=100.0)
    assert allowance.take(now=100.0)
    assert not allowance.take(now=50.0)
    assert allowance.take(now=51.0)

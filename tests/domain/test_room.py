"""The steps of the ladder: where they begin, and that nobody goes up and down at their edges."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.domain.room import EASE, Bounds, Step, Usage

MIB = 1024 * 1024
BOUNDS = Bounds(spill=100, refuse=50, reserve=20)


def usage(beside: int) -> Usage:
    """So many bytes are free beside what is set aside."""
    return Usage(1000, beside, BOUNDS.reserve)


@pytest.mark.parametrize(
    ("beside", "step"),
    [
        (1000, Step.ENOUGH),
        (100, Step.ENOUGH),
        (99, Step.SPILL),
        (50, Step.SPILL),
        (49, Step.REFUSE),
        (5, Step.REFUSE),
        (4, Step.RESERVE),
        (0, Step.RESERVE),
    ],
)
def test_each_step_begins_at_its_bound(beside: int, step: Step) -> None:
    """On the way up."""
    assert BOUNDS.step(usage(beside), Step.ENOUGH) is step


def test_the_way_down_takes_more_room() -> None:
    """A quarter more than the step's bound; several steps at once if there is room for that."""
    assert BOUNDS.step(usage(60), Step.REFUSE) is Step.REFUSE
    assert BOUNDS.step(usage(63), Step.REFUSE) is Step.SPILL
    assert BOUNDS.step(usage(110), Step.SPILL) is Step.SPILL
    assert BOUNDS.step(usage(126), Step.RESERVE) is Step.ENOUGH


def test_giving_away_what_was_set_aside_is_no_step_down() -> None:
    """There is as much room as before, of which it is a part."""
    assert BOUNDS.step(Usage(1000, 20 + 4, 0), Step.RESERVE) is Step.RESERVE
    assert BOUNDS.step(Usage(1000, 20 + 7, 0), Step.RESERVE) is Step.REFUSE


@given(st.integers(0, 200), st.sampled_from(Step))
def test_a_step_is_kept_while_nothing_changes(free: int, before: Step) -> None:
    """Looking twice is looking once."""
    once = BOUNDS.step(usage(free), before)
    assert BOUNDS.step(usage(free), once) is once
    assert once <= BOUNDS.step(usage(max(0, free - 1)), once)


def test_bounds_follow_the_size_of_the_disk() -> None:
    """A large one keeps gigabytes, and a small one is of use too; what an administrator says counts."""
    assert Bounds.of(1000 * 1024 * MIB) == Bounds(2048 * MIB, 512 * MIB, 32 * MIB)
    small = Bounds.of(100 * MIB)
    assert small.spill * EASE < 100 * MIB / 4
    assert small.last < small.reserve < small.refuse < small.spill
    assert Bounds.of(100 * MIB, spill=7, refuse=5, reserve=3) == Bounds(7, 5, 3)

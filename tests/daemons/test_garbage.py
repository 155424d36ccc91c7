"""What a daemon's looks for garbage leave out."""

import gc
from collections.abc import Iterator

import pytest

from interlock.daemons import garbage


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """The thresholds of the tests' own process."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_a_daemon_s_modules_are_left_out_and_what_it_makes_is_not() -> None:
    """Also if the program had put looks off while it started."""
    garbage.start_sooner()
    assert gc.get_threshold()[0] == garbage.STARTING
    made = [object() for _ in range(3)]  # no list of a frozen module, but one that is there when it settles
    garbage.settle()
    assert gc.get_threshold()[0] == garbage.YOUNG
    assert not any(each is made for each in gc.get_objects())
    later = list(made)
    assert any(each is later for each in gc.get_objects())

"""``ilctl offline``."""

from collections.abc import Callable
from typing import Any

import pytest

Ilctl = Callable[..., Any]


def test_how_long_answers_count_can_be_changed(ilctl: Ilctl) -> None:
    """Not at all at first; each change is in the audit log."""
    assert ilctl("offline", "show").out == "off\n"
    assert ilctl("offline", "set", "24h").code == 0
    assert ilctl("offline", "show").out == "86400s\n"
    assert ilctl("offline", "set", "off").code == 0
    assert ilctl("offline", "show", "--format", "json").json() == {"offline_s": 0}
    told = ilctl("events", "ls", "--type", "access.offline.update", "--format", "json").json()
    assert [event["offline_s"] for event in told] == [86400, 0]


@pytest.mark.parametrize("wanted", ["25h", "0", "for ever"])
def test_what_makes_no_sense_changes_nothing(ilctl: Ilctl, wanted: str) -> None:
    """More than a day, or no time at all."""
    assert ilctl("offline", "set", wanted).code == 2
    assert ilctl("offline", "show").out == "off\n"

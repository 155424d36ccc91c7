"""``ilctl mode``."""

from collections.abc import Callable
from typing import Any

import pytest

from interlock.domain.duties import RecordingMode

Ilctl = Callable[..., Any]


def test_the_recording_mode_can_be_changed(ilctl: Ilctl) -> None:
    """It is node at first; every mode that there is can be set."""
    assert ilctl("mode", "show").out == "node\n"
    for mode in RecordingMode:
        assert ilctl("mode", "set", mode.value).code == 0
        assert ilctl("mode", "show", "--format", "json").json() == {"recording_mode": mode.value}


def test_rules_by_label(ilctl: Ilctl) -> None:
    """Added, replaced, listed, removed; each change is in the audit log."""
    assert ilctl("mode", "rule", "add", "--labels", "env=prod", "proxy-sync").code == 0
    assert ilctl("mode", "rule", "add", "--labels", "env=prod", "proxy").code == 0
    assert ilctl("mode", "rule", "add", "off", "--labels", "*").code == 0
    listed = ilctl("mode", "rule", "ls", "--format", "json").json()
    assert listed == [{"labels": {"*": "*"}, "mode": "off"}, {"labels": {"env": "prod"}, "mode": "proxy"}]
    assert ilctl("mode", "rule", "rm", "--labels", "env=prod").code == 0
    assert ilctl("mode", "rule", "rm", "--labels", "env=prod").code == 3
    told = ilctl("events", "ls", "--type", "session_recording_config.update", "--format", "json").json()
    assert [(event["session_recording"], event["node_labels"]) for event in told] == [
        ("proxy-sync", {"env": "prod"}),
        ("proxy", {"env": "prod"}),
        ("off", {"*": "*"}),
        ("", {"env": "prod"}),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("set", "nowhere"),
        ("rule", "add", "--labels", "env=prod", "nowhere"),
        ("rule", "add", "--labels", ",", "proxy"),
        ("rule", "add", "--labels", "env", "proxy"),
        ("rule", "add", "proxy"),
    ],
)
def test_what_makes_no_sense_changes_nothing(ilctl: Ilctl, arguments: tuple[str, ...]) -> None:
    """A mode that is none, a rule without labels."""
    assert ilctl("mode", *arguments).code == 2
    assert ilctl("mode", "show").out == "node\n"
    assert ilctl("mode", "rule", "ls", "--format", "json").json() == []

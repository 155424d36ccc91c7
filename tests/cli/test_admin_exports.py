"""``ilctl events export`` and ``ilctl exports``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Ilctl = Callable[..., Any]


def tell(ilctl: Ilctl, *names: str) -> None:
    """An event for each."""
    for name in names:
        assert ilctl("roles", "add", name, "--logins", "root", "--labels", "*").code == 0


def named(text: str) -> list[str]:
    """What the events of some lines are about."""
    return [json.loads(line)["name"] for line in text.splitlines()]


def test_lines_go_on_behind_any_of_them(ilctl: Ilctl) -> None:
    """Each says where it is; a cursor that is none is not the beginning."""
    tell(ilctl, "a", "b", "c")
    lines = ilctl("events", "export").out
    assert named(lines) == ["a", "b", "c"]
    cursor = json.loads(lines.splitlines()[1])["audit"]["cursor"]
    assert named(ilctl("events", "export", "--after", cursor).out) == ["c"]
    assert ilctl("events", "export", "--after", "yesterday").code == 3


def test_a_file_goes_on_where_it_is(ilctl: Ilctl, tmp_path: Path) -> None:
    """However often it is asked for."""
    out = tmp_path / "events.jsonl"
    tell(ilctl, "a", "b")
    for _ in range(2):
        assert ilctl("events", "export", "--out", out).code == 0
    tell(ilctl, "c")
    ilctl("events", "export", "--out", out)
    assert named(out.read_text()) == ["a", "b", "c"]


def test_a_file_of_another_log_is_not_continued(ilctl: Ilctl, tmp_path: Path) -> None:
    """A log that was restored from a backup does not have what was delivered since; somebody has to decide."""
    out = tmp_path / "events.jsonl"
    tell(ilctl, "a")
    ilctl("events", "export", "--out", out)
    out.write_text(out.read_text().replace('"uid":"', '"uid":"x'))
    refused = ilctl("events", "export", "--out", out)
    assert (refused.code, "--after" in refused.err) == (1, True)
    assert ilctl("events", "export", "--out", out, "--after", "0").code == 0
    assert named(out.read_text()) == ["a", "a"]


def test_exports_of_the_gateway_are_listed(ilctl: Ilctl) -> None:
    """None before one has run."""
    assert ilctl("exports", "ls", "--format", "json").json() == []


def test_an_export_that_nobody_runs_is_forgotten(ilctl: Ilctl) -> None:
    """By its name, and no other."""
    result = ilctl("exports", "rm", "siem")
    assert (result.code, "no export siem" in result.err) == (3, True)

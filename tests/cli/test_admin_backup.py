"""``ilctl backup`` and ``restore``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Ilctl = Callable[..., Any]


def test_a_gateway_moves_to_another_directory(
    ilctl: Ilctl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its people are there again, and both audit logs tell of it."""
    assert ilctl("roles", "add", "ops", "--logins", "root", "--labels", "*").code == 0
    file = tmp_path / "backup.tar"
    made = ilctl("backup", file)
    assert (made.code, "backed up: " in made.err, file.stat().st_mode & 0o777) == (0, True, 0o600)
    assert [row["event"] for row in ilctl("events", "ls", "--format", "json").json()][-1] == "cluster.backup"
    monkeypatch.setenv("INTERLOCK_DATA_DIR", str(tmp_path / "new"))
    assert ilctl("restore", file).code == 0
    assert [row["name"] for row in ilctl("roles", "ls", "--format", "json").json()] == ["ops"]
    last = ilctl("events", "ls", "--format", "json").json()[-1]
    assert (last["event"], last["code"]) == ("cluster.restore", "ILB01I")
    again = ilctl("restore", file)
    assert (again.code, "not empty" in again.err) == (1, True)


def test_what_cannot_be_backed_up_or_read(first_ilctl: Ilctl, tmp_path: Path) -> None:
    """A clear word, and no new gateway by accident."""
    missing = first_ilctl("backup", tmp_path / "b.tar")
    assert (missing.code, "there is no gateway" in missing.err) == (3, True)
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "b.tar").exists()
    assert "cannot read" in first_ilctl("restore", tmp_path / "nothing").err

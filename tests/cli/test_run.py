"""``interlock start``: what it refuses before anything runs."""

from pathlib import Path

import pytest

from interlock.cli.output import run_app
from interlock.cli.run import app
from interlock.daemons.config import MAX_WORKERS


@pytest.mark.parametrize("workers", [-1, MAX_WORKERS + 1])
def test_an_impossible_number_of_workers_is_refused(
    tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the command line as in the file, and nothing is made for it."""
    monkeypatch.setattr(
        "sys.argv", ["interlock", "start", "--workers", str(workers), "--data-dir", str(tmp_path / "d")]
    )
    with pytest.raises(SystemExit):
        run_app(app, "interlock")
    assert f"workers must be 0 to {MAX_WORKERS}, not {workers}" in capsys.readouterr().err
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("database", ["postgresql://bob:hush@db.example/gate", "mysql://bob:hush@db.example/gate"])
def test_a_password_on_the_command_line_is_refused_and_not_repeated(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every user of the machine could read it; and what is no database's URL may have one in it as well."""
    monkeypatch.setattr(
        "sys.argv", ["interlock", "start", "--database", database, "--data-dir", str(tmp_path / "d")]
    )
    with pytest.raises(SystemExit) as ended:
        run_app(app, "interlock")
    said = capsys.readouterr()
    assert ended.value.code
    assert "hush" not in said.out + said.err
    assert "database" in said.err or "password" in said.err
    assert not (tmp_path / "d").exists()

"""``ilctl`` as tests call it: in this process, through its real entry point."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from interlock.cli.admin import main
from interlock.daemons.database import DATABASE
from interlock.testing.database import put_database


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command printed, and how it ended."""

    code: object
    out: str
    err: str

    def json(self) -> Any:
        """The listing."""
        return json.loads(self.out)


Ilctl = Callable[..., Outcome]


@pytest.fixture(autouse=True, scope="session")
def commands_are_made_once() -> Iterator[None]:
    """Typer makes all of a program's commands anew at each call: two thirds of what a call in a test costs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.main.get_command", cache(get_command))
        yield


@pytest.fixture
def ilctl(first_ilctl: Ilctl, tmp_path: Path) -> Ilctl:
    """Runs one command on a data directory of the test's own, which has a database without anything in it."""
    (tmp_path / "data").mkdir(mode=0o700)
    put_database(tmp_path / "data" / DATABASE)
    return first_ilctl


@pytest.fixture
def first_ilctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ilctl:
    """Runs one command on a data directory of the test's own, which does not exist yet."""
    monkeypatch.setenv("INTERLOCK_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["ilctl", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Outcome(ended.value.code, printed.out, printed.err)

    return run

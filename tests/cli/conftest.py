"""``ilctl`` as tests call it: in this process, through its real entry point."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from interlock.cli.admin import main


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


@pytest.fixture
def ilctl(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """Runs one command on a data directory of the test's own."""
    monkeypatch.setenv("INTERLOCK_DATA_DIR", str(tmp_path / "data"))

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.argv", ["ilctl", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Outcome(ended.value.code, printed.out, printed.err)

    return run

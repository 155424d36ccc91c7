"""A kept file has what was stored last, whole, or nothing; whoever it belongs to is told what to do about it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from interlock.core.errors import ConfigError
from interlock.daemons.kept import KeptFile


@dataclass(frozen=True)
class Value:
    """Something to keep."""

    name: str


def file(path: Path) -> KeptFile[Value]:
    """Of one."""
    return KeptFile(path / "value.json", Value, otherwise=" and begin again")


def test_what_was_stored_last(tmp_path: Path) -> None:
    """For nobody else to read, and nothing beside it."""
    kept = file(tmp_path)
    assert kept.load() is None
    for name in ("one", "two"):
        kept.save(Value(name))
        assert file(tmp_path).load() == Value(name)
    [only] = tmp_path.iterdir()
    assert only.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{", b'{"name": 1}', b"\xff"])
def test_what_is_no_such_value(tmp_path: Path, content: bytes) -> None:
    """It says which file, and what to do."""
    (tmp_path / "value.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"value.json is damaged: remove it and begin again"):
        file(tmp_path).load()


def test_a_disk_that_refuses(tmp_path: Path) -> None:
    """Reading and writing."""
    (tmp_path / "value.json").mkdir()
    with pytest.raises(ConfigError, match="cannot read"):
        file(tmp_path).load()
    with pytest.raises(ConfigError, match="cannot write"):
        file(tmp_path).save(Value("one"))

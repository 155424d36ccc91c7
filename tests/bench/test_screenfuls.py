"""The text that terminals are fed with: always the same, and like what terminals show."""

from pathlib import Path

import pytest
from bench.screenfuls import screenfuls, write_screenfuls


def test_it_is_always_the_same() -> None:
    """Runs can be compared; more of it only goes on."""
    assert screenfuls(100_000) == screenfuls(100_000)
    assert screenfuls(100_000)[:50_000] == screenfuls(50_000)


@pytest.mark.parametrize("size", [1, 1 << 20, (1 << 20) + 5, 3_000_000])
def test_file_has_exactly_the_size(tmp_path: Path, size: int) -> None:
    """Speed is size over time."""
    path = tmp_path / "text"
    write_screenfuls(path, size)
    assert path.stat().st_size == size


def test_it_has_colours_lines_and_other_scripts() -> None:
    """What recorders and screens have to work on."""
    text = screenfuls(200_000)
    assert text.count(b"\r\n") > 1000
    assert text.count(b"\x1b[") > 500
    assert "日本語".encode() in text
    assert 0 < sum(byte > 127 for byte in text) < len(text) / 2

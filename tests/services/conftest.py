"""A daemon for each test of sessions."""

from pathlib import Path

import pytest

from interlock.testing.daemon import Daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """A daemon that has never run."""
    return Daemon(tmp_path / "recordings")

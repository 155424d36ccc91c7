"""A real database file for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.adapters.db.engine import Database, open_database
from interlock.testing.clock import FakeClock


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A new database."""
    opened = await open_database(tmp_path / "test.db")
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> FakeClock:
    """Time under control."""
    return FakeClock()

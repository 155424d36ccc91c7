"""A real database for each test: a file, and one of PostgreSQL."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from interlock.adapters.db.engine import Database, open_database
from interlock.testing.clock import FakeClock
from interlock.testing.database import put_database
from interlock.testing.postgres import NewPlace, Place, PostgresServer


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def place(request: pytest.FixtureRequest, new_place: NewPlace) -> Place:
    """Where a database is that has this version's tables and nothing in them."""
    return new_place(request.param)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where a database is that nobody has opened yet."""
    if request.param == "sqlite":
        yield tmp_path / "test.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    with server.database() as name:
        yield server.place(name)


@pytest.fixture
async def database(place: Place) -> AsyncIterator[Database]:
    """A new database."""
    opened = await open_database(place)
    yield opened
    await opened.close()


@pytest.fixture
async def file(tmp_path: Path) -> AsyncIterator[Database]:
    """A new database in the file ``test.db``."""
    put_database(tmp_path / "test.db")
    opened = await open_database(tmp_path / "test.db")
    yield opened
    await opened.close()


@pytest.fixture
def clock() -> FakeClock:
    """Time under control."""
    return FakeClock()

"""A running node for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.testing.node import World, node_world


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A node as it is by default."""
    async with node_world(tmp_path) as made:
        yield made

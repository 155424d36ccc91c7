"""An auth daemon's RPC server for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.testing.auth import Auth


@pytest.fixture
async def auth(tmp_path: Path) -> AsyncIterator[Auth]:
    """A listening auth."""
    auth = Auth(tmp_path / "auth")
    await auth.start()
    try:
        yield auth
    finally:
        await auth.stop()

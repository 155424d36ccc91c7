"""Auth's side of proxies apart."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.testing.fleet import AuthSide, auth_side


@pytest.fixture
async def auth(tmp_path: Path) -> AsyncIterator[AuthSide]:
    """Auth, two proxies and alice."""
    async with auth_side(tmp_path) as made:
        yield made

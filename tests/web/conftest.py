"""The web part on a data directory of the test's own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.testing.browsing import WebDesk, web_desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[WebDesk]:
    """With the account of alice."""
    async with web_desk(tmp_path / "data") as opened:
        await opened.person()
        yield opened

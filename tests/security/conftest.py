"""A gateway in the test's process, which must be clean when the test is over."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.testing.ssh_pair import Gateway, gateway


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[Gateway]:
    """The gateway. Whatever a test's peers did to it, nothing may be left of them at the end."""
    async with gateway(tmp_path) as running:
        yield running
        await running.wait_clean()

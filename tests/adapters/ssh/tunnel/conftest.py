"""A gateway whose user may log in as whoever runs the tests, because the nodes here start real processes."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.testing import ssh_pair
from interlock.testing.openssh import current_login
from interlock.testing.ssh_pair import Gateway, gateway


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    """Clean at the end, whatever happened to a tunnel."""
    monkeypatch.setattr(ssh_pair, "LOGIN", current_login())
    async with gateway(tmp_path) as running:
        yield running
        await running.wait_clean()

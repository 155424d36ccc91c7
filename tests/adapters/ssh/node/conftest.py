"""A running node for each test."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from interlock.adapters.ssh.node import judgement
from interlock.adapters.ssh.node.accounts import Account, find_account
from interlock.testing.node import World, node_world


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every login's home, without anybody's profile: what shells print must not depend on the machine."""
    found = tmp_path / "home"
    found.mkdir()

    def of(login: str) -> Account:
        return replace(find_account(login), home=str(found))

    monkeypatch.setattr(judgement, "find_account", of)
    return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A node as it is by default."""
    async with node_world(tmp_path) as made:
        yield made

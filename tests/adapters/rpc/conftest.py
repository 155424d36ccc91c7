"""An auth daemon's RPC server for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.testing.auth import Auth, Node


@pytest.fixture
async def auth(tmp_path: Path) -> AsyncIterator[Auth]:
    """A listening auth."""
    auth = Auth(tmp_path / "auth")
    await auth.start()
    try:
        yield auth
    finally:
        await auth.stop()


@pytest.fixture
async def node(auth: Auth) -> AsyncIterator[Node]:
    """The daemon db1."""
    node = await Node.join(auth, "db1")
    yield node
    await node.client.close()


@pytest.fixture
async def neighbour(auth: Auth) -> AsyncIterator[Node]:
    """Another daemon of the same cluster."""
    node = await Node.join(auth, "db2")
    yield node
    await node.client.close()

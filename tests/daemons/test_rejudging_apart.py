"""Daemons apart ask auth again about their own people, and learn nothing else by it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from interlock.core.errors import Denied, InterlockError
from interlock.domain.granted import Granted
from interlock.domain.target import SubKind, Target
from interlock.testing.apart import WEB, Scene, blob, cluster_apart

pytestmark = pytest.mark.slow


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """A real auth, two proxies and a node."""
    async with cluster_apart(tmp_path) as made:
        yield made


async def test_a_proxy_asks_about_whose_certificate_it_shows(scene: Scene) -> None:
    """Also when that has expired meanwhile: it says whose connection it is."""
    local, client = scene.local, scene.proxy.client
    raw = blob(await local.authority.issue_user("alice", ["access"], ["root"], scene.key, timedelta(seconds=1)))
    claims = replace(local.claims.read(raw, now=local.clock.now()), certificate=raw)
    here = Granted(claims, "root", WEB)
    assert await client.taken_away(here) is None
    made_up = replace(claims, identity=replace(claims.identity, user="root", roles=("none",)))
    assert (
        await client.taken_away(replace(here, claims=made_up)) is None
    )  # what it says of them counts for nothing
    await local.users.set_access("alice", (), {})
    why = await client.taken_away(here)
    assert why is not None
    assert why.public == "your access to root on web1 was taken away"
    assert "no role of alice" in why.reason


@pytest.mark.parametrize("shown", [b"", b"nothing", b"\0\0\0\x0bssh-ed25519"])
async def test_what_cannot_be_read_says_nothing_of_anybody(scene: Scene, shown: bytes) -> None:
    """It is refused, which ends no session."""
    with pytest.raises(InterlockError):
        await scene.proxy.client.taken_away(Granted(replace(scene.claims, certificate=shown), "root", WEB))


async def test_a_proxy_that_was_removed_is_told_nothing(scene: Scene) -> None:
    """It is refused as whatever it asks; the sessions that it has stay, as they always did."""
    await scene.local.proxies.remove_proxy(scene.proxy.id)
    with pytest.raises(Denied, match="removed from the cluster"):
        await scene.proxy.client.taken_away(Granted(scene.claims, "root", WEB))


async def test_a_node_asks_about_who_is_on_it(scene: Scene) -> None:
    """And about nobody elsewhere."""
    client = scene.node.client
    node = Target(scene.node.id, "db9", "10.0.0.9", 22, SubKind.NODE, {"env": "test"})
    assert await client.taken_away(Granted(scene.claims, "root", node)) is None
    for elsewhere in (WEB, None):
        with pytest.raises(Denied, match="may only speak for itself"):
            await client.taken_away(Granted(scene.claims, "root", elsewhere))
    await scene.local.users.remove_user("alice")
    assert await client.taken_away(Granted(scene.claims, "root", node)) is not None

"""A node that knows one address: the proxy's. It joins, reports, renews and is listed through that one port."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete
from structlog.testing import capture_logs

from interlock.adapters.db import schema
from interlock.core.errors import ConfigError, SignInFailed
from interlock.daemons.config import AuthConfig, Config, NodeConfig, ProxyConfig
from interlock.daemons.gateway import Listening, run_gateway
from interlock.daemons.local import Local, open_local
from interlock.daemons.membership import JoinBy
from interlock.daemons.node import NodeSettings
from interlock.daemons.node_identity import IdentityFile
from interlock.daemons.node_remote import run_node
from interlock.ports import Clock
from interlock.services.keys.daemonca import DAEMON_LIFE, open_daemon_ca
from interlock.services.keys.joining import create_token
from interlock.testing.ports import LOOPBACK, free_port

pytestmark = pytest.mark.slow

LISTED = ("nat1", True)
ANY_PORT = f"{LOOPBACK}:0"


@dataclass
class Gateway:
    """A running one, and its data directory as ``ilctl`` sees it."""

    local: Local
    at: Listening

    async def join_by(self) -> JoinBy:
        """A fresh token, for the proxy's port."""
        local = self.local
        ca = await open_daemon_ca(
            local.authorities, cluster=local.cluster.name, entropy=local.entropy, now=local.clock.now()
        )
        token = await create_token(local.tokens, pin=ca.pin, clock=local.clock, entropy=local.entropy)
        return JoinBy(self.at.proxy, token, tunnel=True)

    async def wait_listed(self) -> None:
        """Return when the node is in the inventory as one that is reached by its tunnel."""
        while [(node.hostname, node.tunnel) for node in await self.local.inventory.targets()] != [LISTED]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[Gateway]:
    """Auth and proxy; auth's listeners are where this node never looks."""
    stopping = asyncio.Event()
    ready: asyncio.Future[Listening] = asyncio.get_running_loop().create_future()
    config = Config(
        auth=AuthConfig(listen=ANY_PORT, join_listen=ANY_PORT, advertise="192.0.2.1:1"),
        proxy=ProxyConfig(listen=ANY_PORT),
    )
    async with open_local(tmp_path / "gateway") as local, asyncio.TaskGroup() as tasks:
        tasks.create_task(
            run_gateway(
                config, tmp_path / "gateway", with_node=False, stopping=stopping, on_ready=ready.set_result
            )
        )
        try:
            yield Gateway(local, await ready)
        finally:
            stopping.set()


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    """A node on a port that is never opened."""
    return NodeSettings(tmp_path / "node", "nat1", host=LOOPBACK, port=1)


@asynccontextmanager
async def running(
    gateway: Gateway, wanted: NodeSettings, join_by: JoinBy | None, clock: Clock | None = None
) -> AsyncIterator[None]:
    """The node, until the block ends."""
    stopping, entropy = asyncio.Event(), gateway.local.entropy
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            run_node(
                wanted, join_by=join_by, clock=clock or gateway.local.clock, entropy=entropy, stopping=stopping
            )
        )
        try:
            yield
        finally:
            stopping.set()


async def test_a_node_joins_and_is_listed_through_the_proxys_port(
    gateway: Gateway, settings: NodeSettings
) -> None:
    """And starts again without being told anything."""
    async with running(gateway, settings, await gateway.join_by()):
        await gateway.wait_listed()
    identity = IdentityFile(settings.data_dir).load()
    assert identity is not None
    assert (identity.proxy, identity.service) == (gateway.at.proxy, "")
    (node,) = await gateway.local.inventory.targets()
    await gateway.local.database.change(delete(schema.nodes))
    async with running(gateway, settings, None):
        await gateway.wait_listed()
    (again,) = await gateway.local.inventory.targets()
    assert again.id == node.id == identity.id


async def test_a_wrong_token_is_refused_through_the_proxy_too(gateway: Gateway, settings: NodeSettings) -> None:
    """With auth's own words."""
    join_by = await gateway.join_by()
    spent = replace(join_by, token=replace(join_by.token, id="0" * 16))
    with pytest.raises(SignInFailed, match="the join token is not valid"):
        await run_node(
            settings,
            join_by=spent,
            clock=gateway.local.clock,
            entropy=gateway.local.entropy,
            stopping=asyncio.Event(),
        )


async def test_a_proxy_of_another_cluster_does_not_get_the_tokens_secret(
    gateway: Gateway, settings: NodeSettings
) -> None:
    """The token pins its own auth, which is not the one behind this proxy."""
    join_by = await gateway.join_by()
    foreign = replace(join_by, token=replace(join_by.token, pin="A" * 43))
    with pytest.raises(ConfigError, match="not the auth service that the join token was made by"):
        await run_node(
            settings,
            join_by=foreign,
            clock=gateway.local.clock,
            entropy=gateway.local.entropy,
            stopping=asyncio.Event(),
        )


async def test_a_proxy_that_is_away_is_tried_again(gateway: Gateway, settings: NodeSettings) -> None:
    """As an auth that is away."""
    join_by = replace(await gateway.join_by(), address=f"{LOOPBACK}:{free_port()}")
    with capture_logs() as logs:
        async with running(gateway, settings, join_by):
            while not any("connection refused" in str(line.get("error")) for line in logs):  # noqa: ASYNC110
                await asyncio.sleep(0.02)


class Ahead:
    """A clock that is days ahead of the gateway's."""

    def __init__(self, real: Clock, by: timedelta) -> None:
        self._real = real
        self._by = by

    def now(self) -> datetime:
        return self._real.now() + self._by

    def monotonic(self) -> float:
        return self._real.monotonic()


async def test_certificates_are_renewed_through_the_tunnel_and_the_tunnel_too(
    gateway: Gateway, settings: NodeSettings
) -> None:
    """At half-life; the node stays listed, and what it shows from then on is new."""
    async with running(gateway, settings, await gateway.join_by()):
        await gateway.wait_listed()
    file = IdentityFile(settings.data_dir)
    before = file.load()
    assert before is not None
    ahead = Ahead(gateway.local.clock, DAEMON_LIFE / 2 + timedelta(hours=1))
    with capture_logs() as logs:
        async with running(gateway, settings, None, ahead):
            while not any(line["event"] == "tunnel.lost" and "renewed" in str(line["reason"]) for line in logs):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            while [line["event"] for line in logs if "node" not in line].count("tunnel.up") < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await gateway.wait_listed()
    after = file.load()
    assert after is not None
    assert after.tunnel_certificate not in ("", before.tunnel_certificate)
    assert (after.id, after.proxy) == (before.id, before.proxy)


async def test_an_identity_of_before_there_were_tunnels_joins_again(
    gateway: Gateway, settings: NodeSettings
) -> None:
    """When the administrator wants a tunnel now."""
    async with running(gateway, settings, await gateway.join_by()):
        await gateway.wait_listed()
    file = IdentityFile(settings.data_dir)
    identity = file.load()
    assert identity is not None
    file.save(replace(identity, tunnel_certificate="", proxy="", service=gateway.at.auth))
    wanted = replace(settings, proxy=gateway.at.proxy)
    with pytest.raises(ConfigError, match="join again, since it joined when there were no tunnels"):
        await run_node(
            wanted,
            join_by=None,
            clock=gateway.local.clock,
            entropy=gateway.local.entropy,
            stopping=asyncio.Event(),
        )


async def test_a_node_in_the_gateways_process_needs_no_tunnel(tmp_path: Path) -> None:
    """A configuration that asks for one is refused before anything listens."""
    config = Config(node=NodeConfig(hostname="nat1", proxy="gateway.example.org"))
    with pytest.raises(ConfigError, match=r"node\.proxy: a node in the gateway's own process"):
        await run_gateway(config, tmp_path / "gateway", with_node=True, stopping=asyncio.Event())

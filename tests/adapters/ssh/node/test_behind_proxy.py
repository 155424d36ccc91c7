"""A real node behind the real proxy: what one must tell the other for the node's own records to be right."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from interlock.adapters.ssh.node.server import NodeOptions
from interlock.core.ids import SessionId
from interlock.domain.duties import RecordingMode
from interlock.domain.target import SubKind, Target
from interlock.domain.twin import Twin
from interlock.services.keys.certificates import CertificateReader
from interlock.testing import ssh_pair
from interlock.testing.node import HOSTNAME, NODE_ID, World
from interlock.testing.openssh import current_login
from interlock.testing.vintage import NODES


@contextlib.asynccontextmanager
async def behind(gateway: ssh_pair.Gateway, directory: Path, options: NodeOptions) -> AsyncIterator[World]:
    """A node of this age, listed at the gateway."""
    target = Target(NODE_ID, HOSTNAME, "127.0.0.1", 22, SubKind.NODE)
    claims = CertificateReader([gateway.authority.export("user")])
    node = World(directory, gateway.authority, claims, target, options=options)
    await node.start()
    gateway.users.known_targets[HOSTNAME] = Target(NODE_ID, HOSTNAME, "127.0.0.1", node.port, SubKind.NODE)
    try:
        yield node
    finally:
        await node.stop()


@pytest.mark.parametrize("mode", RecordingMode)
async def test_the_node_knows_where_the_person_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: RecordingMode
) -> None:
    """The address in the node's events and in the session's environment is not the proxy's."""
    monkeypatch.setattr(ssh_pair, "LOGIN", current_login())
    async with ssh_pair.gateway(tmp_path) as gateway:
        gateway.record_in(mode)
        async with behind(gateway, tmp_path, NodeOptions()) as node:
            async with await gateway.client(HOSTNAME) as client:
                host, port = client.get_extra_info("sockname")[:2]
                said = await client.run("echo $SSH_CLIENT", encoding="utf-8")
            assert said.stdout == f"{host} {port} {node.port}\n"
            assert node.sessions.all[0].ctx.client_addr == f"{host}:{port}"


async def test_a_node_of_the_same_name_is_not_the_one_that_was_meant(tmp_path: Path) -> None:
    """Its certificate is genuine and names that host; the ID tells them apart, so it gets nobody's sessions."""
    async with ssh_pair.gateway(tmp_path) as gateway:
        target = Target(NODE_ID, HOSTNAME, "127.0.0.1", 22, SubKind.NODE)
        node = World(tmp_path, gateway.authority, CertificateReader([gateway.authority.export("user")]), target)
        await node.start()
        meant = Target(ssh_pair.DAEMON_ID, HOSTNAME, "127.0.0.1", node.port, SubKind.NODE)
        gateway.users.known_targets[HOSTNAME] = meant
        try:
            async with await gateway.client(HOSTNAME) as client:
                with pytest.raises(asyncssh.ChannelOpenError, match="host key verification failed for web1"):
                    await client.run("true")
        finally:
            await node.stop()
        assert node.sessions.all == []


@pytest.mark.parametrize("age", NODES)
async def test_an_old_node_records_too_and_the_forwarder_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: str
) -> None:
    """The forwarder names the connection as the node sees it, and the node's own ID once the node tells it."""
    monkeypatch.setattr(ssh_pair, "LOGIN", current_login())
    async with ssh_pair.gateway(tmp_path) as gateway, behind(gateway, tmp_path, NODES[age]) as node:
        async with await gateway.client(HOSTNAME) as client:
            await client.run("true", check=True)
        [start] = await gateway.events("session.start")
        [theirs] = [live.ctx for live in node.sessions.all]
        assert theirs.duties.records
        assert theirs.sid != start["sid"]
        expected = Twin(SessionId(str(start["sid"])), NODE_ID, theirs.client_addr)
        named = [replace(expected, named=theirs.sid)] if age == "v1" else []
        while len(gateway.twins.told) < 1 + len(named):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert gateway.twins.told == [expected, *named]


@pytest.mark.parametrize("mode", [RecordingMode.NODE, RecordingMode.PROXY])
async def test_other_pairs_have_no_twins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: RecordingMode
) -> None:
    """Neither a new node in any mode nor an old one that alone records."""
    monkeypatch.setattr(ssh_pair, "LOGIN", current_login())
    options = NODES["v1"] if mode is RecordingMode.NODE else NodeOptions()
    async with ssh_pair.gateway(tmp_path) as gateway, behind(gateway, tmp_path, options) as node:
        gateway.record_in(mode)
        async with await gateway.client(HOSTNAME) as client:
            await client.run("true", check=True)
        await node.sessions.all[0].ended.wait()
        assert gateway.twins.told == []

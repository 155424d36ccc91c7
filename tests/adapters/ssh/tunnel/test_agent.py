"""The node's end: it knows its proxy, and says in words why a tunnel is not up."""

import asyncio

import asyncssh
import pytest

from interlock.adapters.ssh.pipe import ChannelEnd
from interlock.adapters.ssh.seams.tunnel import AgentConnection
from interlock.adapters.ssh.tunnel import agent as module
from interlock.adapters.ssh.tunnel.agent import Credential, TunnelAgent
from interlock.core.errors import TargetError
from interlock.core.tunnel import Visit
from interlock.testing.node import HOSTNAME, NODE_ID
from interlock.testing.ports import LOOPBACK, free_port
from interlock.testing.ssh_pair import Gateway
from interlock.testing.tunnelled import agent, credential, tunnelled_node, wait_tunnel


async def test_a_proxy_of_another_cluster_is_not_dialled(world: Gateway) -> None:
    """Its certificate is by somebody else's authority: the node says nothing to it, and says why."""
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    async with agent(world, await credential(world, host_ca=other)) as node:
        with pytest.raises(TargetError, match="does not present a certificate of this cluster for that name"):
            await node.dial()
    assert list(world.tunnels.registry) == []


async def test_another_hosts_certificate_is_not_the_proxys(world: Gateway) -> None:
    """A node's own host certificate is of the same authority; the name is what tells them apart."""
    shown = await credential(world)
    key = asyncssh.generate_private_key("ssh-ed25519")
    line = await world.authority.issue_host(key.export_public_key().decode(), ["web1", NODE_ID])
    impostor = await asyncssh.listen(
        LOOPBACK, 0, server_host_keys=[(key, asyncssh.import_certificate(line))], config=None
    )
    async with impostor:
        node = TunnelAgent((LOOPBACK, impostor.get_port()), lambda: shown)
        with pytest.raises(TargetError, match=r"for that name: is it in proxy\.names"):
            await node.dial()
    await impostor.wait_closed()


async def test_why_there_is_no_tunnel_is_said_in_words(world: Gateway) -> None:
    """Nobody there; somebody else there; somebody silent."""
    shown = await credential(world)

    async def dial(port: int) -> None:
        await TunnelAgent((LOOPBACK, port), lambda: shown, timeout=0.5).dial()

    with pytest.raises(TargetError, match="is unreachable: connection refused"):
        await dial(free_port())
    over = asyncio.Event()

    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)
        writer.close()
        over.set()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        over.set()

    for serve, words in (
        (web, "ended the connection|violated the SSH protocol|connection reset"),
        (silent, "does not answer"),
    ):
        over.clear()
        server = await asyncio.start_server(serve, LOOPBACK, 0)
        async with server:
            with pytest.raises(TargetError, match=words):
                await dial(server.sockets[0].getsockname()[1])
            await over.wait()


async def test_a_node_without_a_certificate_says_so(world: Gateway) -> None:
    """An identity of a time before there were tunnels."""
    shown = await credential(world)
    async with agent(world, Credential(shown.host_key, "", shown.host_cas)) as node:
        with pytest.raises(TargetError, match=module.NO_CREDENTIAL):
            await node.dial()


async def test_a_visitor_before_the_node_is_ready_is_refused(world: Gateway) -> None:
    """The proxy hears it at once."""
    async with agent(world, await credential(world)) as node:
        await node.dial()
        await wait_tunnel(world)
        tunnel = world.tunnels.here(NODE_ID)[0].connection
        with pytest.raises(asyncssh.ChannelOpenError, match="the node is not ready"):
            await tunnel.visit(Visit("192.0.2.7", 1).encode(), ChannelEnd)
        with pytest.raises(asyncssh.ChannelOpenError, match="could not be decoded"):
            await tunnel.visit(b"\0", ChannelEnd)


async def test_a_dead_proxy_is_noticed(world: Gateway) -> None:
    """A NAT that has forgotten the connection answers nothing, so the node asks, and gives up."""
    async with agent(world, await credential(world), keepalive_interval=0.05) as node:
        link = await node.dial()
        await wait_tunnel(world)
        tunnel = world.tunnels.here(NODE_ID)[0].connection
        assert isinstance(link._connection, AgentConnection)
        tunnel._transport.pause_reading()  # type: ignore[union-attr]
        assert "keepalive" in await link.wait_lost()
        tunnel._transport.resume_reading()  # type: ignore[union-attr]


async def test_a_call_without_a_tunnel_just_ends(world: Gateway) -> None:
    """gRPC takes it for a server that is away."""
    async with agent(world, await credential(world)) as node, node.auth_socket() as path:
        assert (path.parent.stat().st_mode & 0o777) == 0o700
        reader, writer = await asyncio.open_unix_connection(str(path))
        assert await reader.read() == b""
        writer.close()
    assert not path.parent.exists()


async def test_a_renewed_certificate_brings_a_tunnel_of_its_own_before_the_old_one_goes(world: Gateway) -> None:
    """Sessions in the old one end by themselves; then it does, and the new one has been there all the time."""
    async with tunnelled_node(world) as (node, _), agent(world, await credential(world)) as second:
        assert node.server is not None
        second.serve(node.server.accept)
        old = await second.dial()
        await wait_tunnel(world, count=2)
        client = await world.client(HOSTNAME)
        process = await client.create_process("cat")
        second.retire()
        assert await old.wait_lost() == "the certificate was renewed"
        await second.dial()
        await wait_tunnel(world, count=3)
        process.stdin.write("tea\n")
        assert await process.stdout.readline() == "tea\n"
        client.close()
        await client.wait_closed()
        await wait_tunnel(world, count=2)
        assert old._connection is None


async def test_a_replaced_tunnel_without_visitors_goes_at_once(world: Gateway) -> None:
    """Nothing is left behind."""
    async with agent(world, await credential(world)) as node:
        first = await node.dial()
        await node.dial()
        await first.wait_lost()
        await wait_tunnel(world, count=1)

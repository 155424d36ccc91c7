"""The proxy's end: who may bring a tunnel, what it may be used for, and what becomes of the sessions in it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace

import asyncssh
import pytest

from interlock.adapters.ssh.guarded import address
from interlock.adapters.ssh.pipe import ChannelEnd, StreamEnd
from interlock.adapters.ssh.seams import tunnel as tunnel_seams
from interlock.adapters.ssh.tunnel import entrance
from interlock.adapters.ssh.tunnel.entrance import AuthAddresses
from interlock.core import wire
from interlock.core.errors import TargetError
from interlock.core.ids import DaemonId
from interlock.core.tunnel import JOIN_USER, TO_AUTH, TUNNEL_USER, Listener
from interlock.domain.duties import RecordingMode
from interlock.domain.target import SubKind, Target
from interlock.testing.hostile import Gone
from interlock.testing.node import HOSTNAME, NODE_ID
from interlock.testing.plain_target import bulk
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import USER, Gateway
from interlock.testing.tunnelled import agent, credential, tunnelled_node, wait_tunnel

pytestmark = pytest.mark.slow

SIZES = bytes(4) + wire.uint32(1 << 20) + wire.uint32(1 << 15)
CLIENT = "192.0.2.7:50022"
OTHER = DaemonId("99999999-1111-4333-8444-555555555555")


async def visit(world: Gateway, target: Target) -> ChannelEnd:
    """A connection to the node's SSH server, for bytes."""
    end = await world.tunnels.connect(target, CLIENT, channel=ChannelEnd, stream=StreamEnd)
    assert isinstance(end, ChannelEnd)
    return end


@pytest.mark.parametrize("mode", RecordingMode)
@pytest.mark.parametrize("road", ["route", "jump"])
async def test_a_command_runs_on_a_node_that_listens_nowhere(
    world: Gateway, mode: RecordingMode, road: str
) -> None:
    """By either road; the node knows where the person is, and no event has an address that does not exist."""
    world.record_in(mode)
    async with tunnelled_node(world) as (node, _), contextlib.AsyncExitStack() as stack:
        if road == "jump":
            outer = await stack.enter_async_context(await world.client("", user=USER))
            client = await stack.enter_async_context(await world.jump(outer, HOSTNAME))
        else:
            outer = client = await stack.enter_async_context(await world.client(HOSTNAME))
        said = await client.run("echo $SSH_SESSION_ID; cat", input=b"tea", encoding=None)
        host, port = outer.get_extra_info("sockname")[:2]
    (live,) = node.sessions.all
    assert said.stdout == f"{live.sid}\n".encode() + b"tea"
    assert live.ctx.client_addr == f"{host}:{port}"
    fields = live.ctx.server_fields() | live.ctx.connection_fields()
    assert fields["addr.remote"] == f"{host}:{port}"
    assert not {"addr.local", "server_addr"} & fields.keys()
    assert live.ctx.duties.emits == (not mode.at_proxy)
    if mode.at_proxy:
        (start,) = await world.events("session.start")
        assert start["sid"] == live.sid
        assert not {"addr.local", "server_addr"} & start.keys()
    elif road == "jump":
        (bridged,) = await world.events("port")
        assert bridged["addr"] == HOSTNAME
        assert "addr.local" not in bridged


async def test_much_data_passes_both_ways_in_one_tunnel(world: Gateway) -> None:
    """Many times the windows of both layers, in several sessions at once; nothing is lost or mixed up."""
    data = bulk(6 * 1024 * 1024)

    async def one(client: asyncssh.SSHClientConnection) -> None:
        said = await client.run("cat", input=data, encoding=None)
        assert said.stdout == data

    async with tunnelled_node(world), contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await world.client(HOSTNAME)) for _ in range(3)]
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(one(client))


async def test_one_who_does_not_read_holds_up_nobody_else(world: Gateway) -> None:
    """The flood stops at the windows (R18), and another session in the same tunnel goes on."""
    async with (
        tunnelled_node(world) as (node, _),
        await world.client(HOSTNAME) as stuck,
        await world.client(HOSTNAME) as other,
    ):
        channel, _session = await stuck.create_session(asyncssh.SSHClientSession, "cat /dev/zero", encoding=None)
        channel.pause_reading()
        (flood,) = node.sessions.all
        before, sent = -1, 0
        while not sent or sent != before:
            assert (await other.run("echo tea")).stdout == "tea\n"
            before, sent = sent, flood.traffic()[1]
        assert sent < 16 * 1024 * 1024
        channel.abort()


async def test_a_lost_tunnel_ends_its_sessions_with_the_reason(world: Gateway) -> None:
    """The person learns that neither the command nor the node's sshd is to blame; the audit log too."""
    async with tunnelled_node(world) as (_, link):
        async with await world.raw_client(HOSTNAME) as client:
            client.send(bytes([wire.CHANNEL_OPEN]) + wire.string("session") + SIZES)
            await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
            client.send(
                bytes([wire.CHANNEL_REQUEST, 0, 0, 0, 0]) + wire.string("exec") + b"\1" + wire.string("cat")
            )
            await client.expect(wire.CHANNEL_SUCCESS)
            assert link._connection is not None
            link._connection.abort()
            with pytest.raises(Gone, match="closed the connection: its tunnel to the gateway was lost"):
                await client.expect(wire.CHANNEL_DATA)
        await world.wait_clean()
        (ended,) = await world.events("client.disconnect")
        assert "its tunnel to the gateway was lost" in str(ended["reason"])


async def test_a_lost_tunnel_is_told_behind_a_bridged_jump_too(world: Gateway) -> None:
    """What passes there is encrypted end to end, so the outer connection says it, if it carries nothing else."""
    world.record_in(RecordingMode.NODE)
    async with tunnelled_node(world) as (_, link), await world.raw_client("", user=USER) as outer:
        there = wire.string(HOSTNAME) + wire.uint32(22) + wire.string("") + wire.uint32(0)
        outer.send(bytes([wire.CHANNEL_OPEN]) + wire.string("direct-tcpip") + SIZES + there)
        await outer.expect(wire.CHANNEL_OPEN_CONFIRMATION)
        assert b"SSH-2.0-" in await outer.expect(wire.CHANNEL_DATA)
        assert link._connection is not None
        link._connection.abort()
        with pytest.raises(Gone, match=f"connection to {HOSTNAME} ended: its tunnel to the gateway was lost"):
            await outer.expect(wire.CHANNEL_OPEN)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes do not come back."""
    monkeypatch.setattr(entrance, "TUNNEL_WAIT_S", 0.05)


async def test_a_node_that_is_dialling_again_is_waited_for(world: Gateway) -> None:
    """As after the gateway's restart: the person notices a pause and no error."""
    async with tunnelled_node(world) as (node, link), agent(world, await credential(world)) as again:
        link.close()
        await wait_tunnel(world, count=0)
        client = await world.client(HOSTNAME)
        while not world.tunnels.registry._awaited:  # noqa: ASYNC110 - until the dial has come so far
            await asyncio.sleep(0.005)
        assert node.server is not None
        again.serve(node.server.accept)
        await again.dial()
        assert (await client.run("echo tea")).stdout == "tea\n"
        client.close()
        await client.wait_closed()


@pytest.mark.usefixtures("hasty")
async def test_a_node_without_a_tunnel_is_unreachable_in_words(world: Gateway) -> None:
    """Not a refused connection to nowhere."""
    world.users.known_targets["web1"] = Target(NODE_ID, "web1", "", 0, SubKind.NODE, tunnel=True)
    client = await world.client("web1")
    with pytest.raises(asyncssh.ChannelOpenError, match="web1 is unreachable: it is not connected to the gateway"):
        await client.run("true")
    client.close()
    await client.wait_closed()


async def test_the_newest_tunnel_is_used_and_the_older_one_if_it_is_gone(world: Gateway) -> None:
    """A node that came back while its old connection was still counted as alive."""
    async with tunnelled_node(world) as (node, _):
        async with agent(world, await credential(world)) as second:
            assert node.server is not None
            second.serve(node.server.accept)
            await second.dial()
            await wait_tunnel(world, count=2)
            newest = world.tunnels.here(NODE_ID)[0]
            async with await world.client(HOSTNAME) as client:
                await client.run("true")
                assert newest.connection.count_channels() < len(newest.connection._channels)
        await wait_tunnel(world, count=1)
        async with await world.client(HOSTNAME) as client:
            assert (await client.run("echo tea")).stdout == "tea\n"


async def test_a_visitor_that_nobody_waits_for_is_let_go(world: Gateway) -> None:
    """A dial that was given up leaves no channel open when the node answers late."""
    async with tunnelled_node(world):
        target = world.users.known_targets[HOSTNAME]
        for _ in range(5):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await visit(world, target)
        tunnel = world.tunnels.here(NODE_ID)[0].connection
        while tunnel._channels:  # noqa: ASYNC110 - the remote's close is on its way
            await asyncio.sleep(0.005)


async def test_visits_have_a_limit_at_both_ends(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that answers none of them, or takes too many, does not fill the proxy's memory; the tunnel stays."""
    async with tunnelled_node(world):
        target = world.users.known_targets[HOSTNAME]
        with monkeypatch.context() as lower:
            lower.setattr(tunnel_seams, "MAX_TUNNEL_VISITS", 3)
            ends = [await visit(world, target) for _ in range(3)]
            with pytest.raises(TargetError, match="in one tunnel"):
                await visit(world, target)
        for end in ends:
            end.close()
        async with await world.client(HOSTNAME) as client:
            assert (await client.run("echo tea")).stdout == "tea\n"


async def test_keys_are_exchanged_anew_while_data_flows(world: Gateway) -> None:
    """In the tunnel's own connection, by either end, under the sessions' feet."""
    data = bulk(8 * 1024 * 1024)
    async with tunnelled_node(world) as (_, link), await world.client(HOSTNAME) as client:
        tunnel = world.tunnels.here(NODE_ID)[0].connection
        process = await client.create_process("cat", encoding=None)
        assert link._connection is not None

        async def feed() -> None:
            process.stdin.write(data)
            process.stdin.write_eof()
            await process.stdin.drain()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(feed())
            got = await process.stdout.readexactly(len(data) // 4)
            tunnel.exchange_keys()
            got += await process.stdout.readexactly(len(data) // 4)
            link._connection._send_kexinit()
            link._connection._kexinit_sent = True
            got += await process.stdout.read()
        assert got == data


async def test_what_is_written_after_the_end_is_dropped(world: Gateway) -> None:
    """As by a socket's transport: an SSH connection in the channel learns of the end a moment later."""
    async with tunnelled_node(world):
        end = await visit(world, world.users.known_targets[HOSTNAME])
        channel = end._channel
        assert channel is not None
        end.close()
        channel.write(b"late")
        end.send(b"later")


# --- who may --------------------------------------------------------------------------------------


async def test_a_persons_certificate_brings_no_tunnel(world: Gateway) -> None:
    """It is genuine, and of the same authority."""
    settings = await world._settings(USER)
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(LOOPBACK, world.port, **settings | {"username": TUNNEL_USER})
    assert list(world.tunnels.registry) == []
    await world.wait_clean()
    (refused,) = await world.events("auth")
    assert refused["user"] == TUNNEL_USER


@pytest.mark.parametrize("user", [USER, f"root%{HOSTNAME}", NODE_ID])
async def test_a_nodes_certificate_is_no_persons(world: Gateway, user: str) -> None:
    """Not for a route, not for the portal, not under its own ID."""
    shown = await credential(world)
    pair = (asyncssh.import_private_key(shown.host_key), asyncssh.import_certificate(shown.certificate))
    settings = await world._settings(USER) | {"client_keys": [pair], "username": user}
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(LOOPBACK, world.port, **settings)


async def test_a_nodes_certificate_with_another_key_brings_no_tunnel(world: Gateway) -> None:
    """Certificates are public; what counts is the signature (R12)."""
    mine, stolen = await credential(world), await credential(world, OTHER)
    pair = (asyncssh.import_private_key(mine.host_key), asyncssh.import_certificate(stolen.certificate))
    settings = await world._settings(USER) | {"username": TUNNEL_USER, "client_keys": [pair]}
    with pytest.raises((asyncssh.PermissionDenied, ValueError)):
        await asyncssh.connect(LOOPBACK, world.port, **settings)
    assert list(world.tunnels.registry) == []


@pytest.mark.usefixtures("hasty")
async def test_a_tunnel_is_its_own_nodes_only(world: Gateway) -> None:
    """What counts is the ID in the certificate: another node's sessions do not come this way."""
    async with tunnelled_node(world):
        other = replace(world.users.known_targets[HOSTNAME], id=OTHER)
        with pytest.raises(TargetError, match="not connected"):
            await visit(world, other)


async def raw_node(world: Gateway) -> asyncssh.SSHClientConnection:
    """A node's connection in the hands of a stock client."""
    shown = await credential(world)
    pair = (asyncssh.import_private_key(shown.host_key), asyncssh.import_certificate(shown.certificate))
    settings = await world._settings(USER) | {"username": TUNNEL_USER, "client_keys": [pair]}
    return await asyncssh.connect(LOOPBACK, world.port, **settings)


@pytest.mark.parametrize("user", [TUNNEL_USER, JOIN_USER])
async def test_a_node_gets_no_portal_no_jump_and_no_forwarding(world: Gateway, user: str) -> None:
    """Its connection is for its tunnel."""
    if user == TUNNEL_USER:
        conn = await raw_node(world)
    else:
        conn = await asyncssh.connect(
            LOOPBACK, world.port, **await world._settings(USER) | {"username": user, "client_keys": None}
        )
    async with conn:
        with pytest.raises(asyncssh.ChannelOpenError, match="this connection is a node's"):
            await conn.create_session(asyncssh.SSHClientSession, subsystem="portal@interlock.dev")
        with pytest.raises(asyncssh.ChannelOpenError, match=r"this connection is a node's|not permitted"):
            await conn.open_connection("web1", 22)
        with pytest.raises(asyncssh.ChannelListenError):
            await conn.forward_remote_port("", 0, LOOPBACK, 1)


async def test_a_person_does_not_reach_auth_by_the_door(world: Gateway) -> None:
    """The channel type is known, and refused."""
    async with await world.client("", user=USER) as person:
        channel = person.create_tcp_channel(encoding=None)
        with pytest.raises(asyncssh.ChannelOpenError, match="only nodes reach auth"):
            await channel._open_forward(ChannelEnd, TO_AUTH, Listener.SERVICE.encode())


# --- the way to auth ------------------------------------------------------------------------------


@dataclass
class Auth:
    """Two listeners that say who they are and echo; and what they saw."""

    addresses: AuthAddresses
    peers: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)  # what the proxy said of the peer meanwhile


@pytest.fixture
async def auth(world: Gateway) -> AsyncIterator[Auth]:
    """Auth's stand-in."""

    def serve(name: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = address(writer.get_extra_info("peername"))
            found.peers.append(peer)
            found.known.append(world.tunnels.sources.of(peer))
            writer.write(name + b" ")
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            writer.close()

        return answer

    service = await asyncio.start_server(serve(b"service"), LOOPBACK, 0)
    join = await asyncio.start_server(serve(b"join"), LOOPBACK, 0)
    found = Auth(AuthAddresses(service.sockets[0].getsockname(), join.sockets[0].getsockname()))
    world.tunnels.auth = found.addresses
    async with service, join:
        yield found


async def say(path: object, text: bytes) -> bytes:
    """Send to a socket in the file system, half-close, and read the answer to its end."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(text)
    writer.write_eof()
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        answer = await reader.read()
    writer.close()
    return answer


async def test_a_node_reaches_auths_service_and_a_stranger_its_join_listener(world: Gateway, auth: Auth) -> None:
    """Each its own; half-closed like any connection, and much data too."""
    data = bulk(3 * 1024 * 1024)
    async with agent(world, await credential(world)) as node, node.auth_socket() as path:
        await node.dial()
        assert await say(path, data) == b"service " + data
    async with agent(world, None) as stranger, stranger.auth_socket(Listener.JOIN) as path:
        await stranger.dial()
        assert await say(path, b"token") == b"join token"
    assert auth.known[1] == LOOPBACK  # the stranger's own address, by the proxy's word
    assert world.tunnels.sources._true == {}


@pytest.mark.parametrize("joined", [True, False])
async def test_the_other_listener_is_refused(world: Gateway, auth: Auth, *, joined: bool) -> None:
    """Without an identity nothing but joining; with one no second try at a token from behind the proxy."""
    wrong = Listener.JOIN if joined else Listener.SERVICE
    async with agent(world, await credential(world) if joined else None) as node, node.auth_socket(wrong) as path:
        link = await node.dial()
        with pytest.raises(asyncssh.ChannelOpenError, match=f"may not reach auth's {wrong.value} listener"):
            await link.call(wrong)
        assert await say(path, b"tea") == b""
    assert auth.peers == []


async def test_a_stranger_is_thrown_out_in_time(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """And counts as one until then (R17)."""
    monkeypatch.setattr(entrance, "JOIN_TIME_S", 0.1)
    async with agent(world, None) as stranger:
        link = await stranger.dial()
        assert len(world.proxy._strangers) == 1
        assert "joining took too long" in await link.wait_lost()
    assert len(world.proxy._strangers) == 0


async def test_calls_have_a_limit(world: Gateway, auth: Auth) -> None:
    """A node does not fill auth with connections; the tunnel itself stays."""
    del auth
    async with agent(world, await credential(world)) as node:
        link = await node.dial()
        for _ in range(16):
            await link.call(Listener.SERVICE)
        with pytest.raises(asyncssh.ChannelOpenError, match="at most 16 connections to auth"):
            await link.call(Listener.SERVICE)
        await wait_tunnel(world)


async def test_auth_away_is_one_refused_call(world: Gateway) -> None:
    """The tunnel stays; gRPC tries again."""
    async with agent(world, await credential(world)) as node, node.auth_socket() as path:
        link = await node.dial()
        with pytest.raises(asyncssh.ChannelOpenError, match="auth cannot be reached"):
            await link.call(Listener.SERVICE)
        assert await say(path, b"tea") == b""
        assert link._connection is not None


async def test_a_tunnel_ends_with_its_certificate(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node whose renewal is refused does not stay because nobody looks."""
    from datetime import timedelta

    from interlock.services.keys import authority

    monkeypatch.setattr(authority, "TUNNEL_TTL", timedelta(seconds=1.5))
    async with agent(world, await credential(world)) as node:
        link = await node.dial()
        assert "certificate has expired" in await link.wait_lost()


async def test_the_gateways_end_reaches_the_nodes(world: Gateway) -> None:
    """With its words, after the sessions."""
    async with agent(world, await credential(world)) as node:
        link = await node.dial()
        await wait_tunnel(world)
        await world.proxy.stop("see you")
        assert "see you" in await link.wait_lost()

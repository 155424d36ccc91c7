"""What a node forwards, with the real ssh: ports, sockets, X11 and the agent, as the roles allow."""

import asyncio
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from pathlib import Path

import asyncssh
import pytest

from interlock.domain.access import Access
from interlock.domain.audit import Kind
from interlock.domain.session import SessionKind
from interlock.testing.echo import EXCHANGED, echo, exchange, until
from interlock.testing.node import HOSTNAME, World
from interlock.testing.openssh import make_key

EVERYTHING = Access(local_forwarding=True, remote_forwarding=True, x11_forwarding=True, agent_forwarding=True)


@pytest.fixture
def allowed(world: World) -> World:
    """A node whose visitor may forward everything."""
    world.admission.access = EVERYTHING
    return world


def told(world: World) -> list[tuple[Kind, object]]:
    """What the connection's own session was told of forwards."""
    (record,) = world.sessions.all
    assert record.begun is not None
    assert record.begun.kind is SessionKind.CONNECTION
    return [(kind, fields["channel"]) for kind, fields in record.told]


async def test_a_port(allowed: World) -> None:
    """direct-tcpip: bytes both ways with half-close, and both events."""
    async with echo() as port, allowed.connect() as client:
        await exchange(*await client.open_connection("127.0.0.1", port, encoding=None))
    assert told(allowed) == [(Kind.PORT, "direct-tcpip"), (Kind.PORT_CLOSED, "direct-tcpip")]
    (record,) = allowed.sessions.all
    assert record.told[1][1]["tx"] == record.told[1][1]["rx"] == EXCHANGED
    await until(lambda: record.ends == [(EXCHANGED, EXCHANGED, "")])


async def test_a_socket(allowed: World, tmp_path: Path) -> None:
    """direct-streamlocal."""
    async with echo(tmp_path / "s"), allowed.connect() as client:
        await exchange(*await client.open_unix_connection(str(tmp_path / "s"), encoding=None))
    assert [kind for kind, _ in told(allowed)] == [Kind.PORT, Kind.PORT_CLOSED]


async def test_what_is_not_there(allowed: World, tmp_path: Path) -> None:
    """The client gets the system's words."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with allowed.connect() as client:
            with pytest.raises(asyncssh.ChannelOpenError, match="Connect"):
                await client.open_connection("127.0.0.1", port)
            with pytest.raises(asyncssh.ChannelOpenError, match="No such file"):
                await client.open_unix_connection(str(tmp_path / "nothing"))
            with pytest.raises(asyncssh.ChannelOpenError):
                await client.open_connection("no-such-host.invalid", 1)
    assert {kind for kind, _ in told(allowed)} == {Kind.PORT_FAILURE}


async def test_what_no_system_call_takes(allowed: World) -> None:
    """Ports beyond 65535, names that are none, paths with NUL: refused, and the connection goes on."""
    async with allowed.connect() as client:
        for host, port in (("127.0.0.1", 70000), ("a" * 300, 80), ("..", 80), ("127.0.0.1", 0)):
            with pytest.raises(asyncssh.ChannelOpenError):
                await client.open_connection(host, port)
        with pytest.raises(asyncssh.ChannelOpenError, match="NUL"):
            await client.open_unix_connection("\0abstract")
        with pytest.raises(asyncssh.ChannelListenError):
            await client.forward_remote_port("", 70000, "localhost", 1)
        with pytest.raises(asyncssh.ChannelListenError):
            await client.forward_remote_path("\0abstract", "/tmp/x")
        assert (await client.run("true")).exit_status == 0


@pytest.mark.parametrize("host", ["169.254.169.254", "0xa9fea9fe", "::ffff:169.254.169.254"])
async def test_metadata_addresses(allowed: World, host: str) -> None:
    """R5."""
    async with allowed.connect() as client:
        with pytest.raises(asyncssh.ChannelOpenError, match="link-local and metadata"):
            await client.open_connection(host, 80)


async def test_the_gateways_own_ports(allowed: World) -> None:
    """By any name that leads there (R5)."""
    assert allowed.server is not None
    async with echo() as port, allowed.connect() as client:
        allowed.server.protected = frozenset({("", port)})
        for host in ("127.0.0.1", "localhost", "0x7f000001"):
            with pytest.raises(asyncssh.ChannelOpenError, match="to the gateway itself is not allowed"):
                await client.open_connection(host, port)


async def test_a_remote_port(allowed: World) -> None:
    """tcpip-forward on a port that the node chooses: on the loopback only, and gone with the request."""
    async with echo() as port, allowed.connect() as client:
        listener = await client.forward_remote_port("", 0, "127.0.0.1", port)
        await exchange(*await asyncio.open_connection("127.0.0.1", listener.get_port()))
        listener.close()
        await listener.wait_closed()
        with pytest.raises(OSError, match=r"refused|Connect"):
            await asyncio.open_connection("127.0.0.1", listener.get_port())
    assert [kind for kind, _ in told(allowed)] == [Kind.PORT, Kind.PORT, Kind.PORT_CLOSED]


async def test_a_remote_socket(allowed: World, tmp_path: Path) -> None:
    """streamlocal-forward: only the login may connect, and the file goes with the connection."""
    path = tmp_path / "there"
    async with echo(tmp_path / "here"), allowed.connect() as client:
        await client.forward_remote_path(str(path), str(tmp_path / "here"))
        assert path.stat().st_mode & 0o177 == 0
        await exchange(*await asyncio.open_unix_connection(str(path)))
        with pytest.raises(asyncssh.ChannelListenError):
            await client.forward_remote_path(str(path), str(tmp_path / "here"))
    await until(lambda: not path.exists())


async def test_a_listener_that_was_never_there(allowed: World) -> None:
    """To cancel it fails; the connection goes on."""
    async with allowed.connect() as client:
        code, _ = await client._make_global_request(
            b"cancel-tcpip-forward", asyncssh.packet.String(""), asyncssh.packet.UInt32(1)
        )
        assert code == asyncssh.constants.MSG_REQUEST_FAILURE
        assert (await client.run("true")).exit_status == 0


async def test_forwards_of_a_session_are_told_to_it(allowed: World) -> None:
    """The oldest that runs on the connection."""
    async with echo() as port, allowed.connect() as client, client.create_process("cat") as process:
        process.stdin.write("x")
        await process.stdout.readexactly(1)
        await exchange(*await client.open_connection("127.0.0.1", port, encoding=None))
    (live,) = allowed.sessions.all
    assert [kind for kind, _ in live.told] == [Kind.PORT, Kind.PORT_CLOSED]


@pytest.fixture
async def key_agent(tmp_path: Path) -> AsyncIterator[Path]:
    """The person's agent, with one key."""
    path, key = tmp_path / "my-agent", make_key(tmp_path / "agent-key")
    agent = await asyncio.create_subprocess_exec("ssh-agent", "-D", "-a", str(path), stdout=DEVNULL)
    await until(path.exists)
    env = {"SSH_AUTH_SOCK": str(path), "PATH": "/usr/bin:/bin"}
    adding = await asyncio.create_subprocess_exec("ssh-add", "-q", str(key.path), env=env, stderr=DEVNULL)
    assert await adding.wait() == 0
    yield path
    agent.terminate()
    await agent.wait()


async def test_the_agent(allowed: World, key_agent: Path) -> None:
    """-A: the session's programs reach the person's agent, and the socket goes with the session."""
    client = allowed.client(await allowed.key(), ForwardAgent="yes", IdentityAgent=str(key_agent))
    done = await allowed.visit(client, HOSTNAME, "ssh-add -L; echo $SSH_AUTH_SOCK")
    listed, path = done.check().stdout.splitlines()
    assert listed.startswith("ssh-ed25519 ")
    assert not Path(path).parent.exists()
    (live,) = allowed.sessions.all
    assert [kind for kind, _ in live.told] == [Kind.AGENT, Kind.PORT, Kind.PORT_CLOSED]


async def test_without_the_role_there_is_neither(world: World, key_agent: Path) -> None:
    """The request fails, the session goes on, and the audit log has both."""
    client = world.client(await world.key(), ForwardAgent="yes", IdentityAgent=str(key_agent))
    done = await world.visit(client, HOSTNAME, "echo ${SSH_AUTH_SOCK:-none}")
    assert done.stdout == "none\n"
    (live,) = world.sessions.all
    assert live.refusals == [
        ("auth-agent-req@openssh.com", *["agent forwarding is not allowed by your roles"] * 2)
    ]

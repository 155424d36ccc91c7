"""The bridge of a jump in node mode: SSH servers only, in time, with an event that leads back to the person."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncssh
import pytest

from interlock.adapters.ssh.bridge import open_bridge
from interlock.adapters.ssh.tunnel.entrance import TunnelEntrance
from interlock.core.errors import TargetError
from interlock.core.ids import DaemonId
from interlock.domain.duties import RecordingMode
from interlock.domain.target import SubKind, Target
from interlock.services.keys.certificates import CertificateReader
from interlock.services.keys.joining import JoinSources
from interlock.testing.clock import FakeClock
from interlock.testing.ports import LOOPBACK, free_port
from interlock.testing.ssh_pair import NOWHERE, USER, Gateway

CLIENT = "192.0.2.7:50022"
NO_TUNNELS = TunnelEntrance(CertificateReader([]), FakeClock(), NOWHERE, sources=JoinSources())


@contextlib.asynccontextmanager
async def listener(greeting: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says this at once, or waits to be spoken to; its port and what it was told."""
    told: list[bytes] = []
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                told.append(data)
                writer.write(data)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        over.set()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1], told
    finally:
        server.close()
        await over.wait()


def target(port: int) -> Target:
    """A node that claims to be there."""
    return Target(DaemonId("00000001-2222-4333-8444-555555555555"), "node1", LOOPBACK, port, SubKind.NODE)


async def test_what_does_not_greet_as_ssh_is_not_reached() -> None:
    """A node that names somebody else's port makes the gateway talk to nobody (R5)."""
    async with listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, told):
        with pytest.raises(TargetError, match="does not answer as an SSH server"):
            await open_bridge(target(port), NO_TUNNELS, CLIENT)
        assert told == []


async def test_what_waits_to_be_spoken_to_is_given_up() -> None:
    """An HTTP server says nothing by itself, and no byte of the client's reaches it."""
    async with listener(b"") as (port, told):
        with pytest.raises(TargetError, match="does not answer"):
            await open_bridge(target(port), NO_TUNNELS, CLIENT, timeout=0.2)
        assert told == []


async def test_nobody_there() -> None:
    """In words."""
    with pytest.raises(TargetError, match="node1 is unreachable"):
        await open_bridge(target(free_port()), NO_TUNNELS, CLIENT)


async def test_bytes_pass_both_ways_and_the_event_names_the_person(world: Gateway) -> None:
    """What was read with the greeting is not lost; addr.local is what the node knows as its client."""
    world.record_in(RecordingMode.NODE)
    async with listener(b"SSH-2.0-Echo\r\n") as (port, told):
        world.add_target("node1", port, sub_kind=SubKind.NODE)
        async with await world.client("", user=USER) as outer:
            reader, writer = await outer.open_connection("node1", 22)
            assert await reader.readline() == b"SSH-2.0-Echo\r\n"
            writer.write(b"SSH-2.0-Me\r\n")
            assert await reader.readline() == b"SSH-2.0-Me\r\n"
            writer.write_eof()
            assert await reader.read() == b""
        assert told == [b"SSH-2.0-Me\r\n"]
    await world.wait_clean()
    (event,) = await world.events("port")
    assert event["success"] is True
    assert event["user"] == USER
    assert str(event["addr.remote"]).startswith(LOOPBACK)
    assert str(event["addr.local"]).startswith(LOOPBACK)
    assert event["addr.local"] != event["addr.remote"]


async def test_a_client_that_does_not_read_holds_up_the_node(world: Gateway) -> None:
    """Memory stays bounded: the node's connection is not read either (R18)."""
    world.record_in(RecordingMode.NODE)
    sent = 0
    blocked, over = asyncio.Event(), asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"SSH-2.0-Flood\r\n")
        with contextlib.suppress(ConnectionError):
            while sent < 512 * 1024 * 1024:
                writer.write(bytes(1024 * 1024))
                sent += 1024 * 1024
                try:
                    async with asyncio.timeout(0.5):
                        await writer.drain()
                except TimeoutError:
                    blocked.set()
                    await reader.read()
                    break
        writer.transport.abort()
        over.set()

    server = await asyncio.start_server(flood, LOOPBACK, 0)
    world.add_target("node1", server.sockets[0].getsockname()[1], sub_kind=SubKind.NODE)
    async with await world.client("", user=USER) as outer:
        channel, _ = await outer.create_connection(asyncssh.SSHTCPSession, "node1", 22)
        channel.pause_reading()
        async with asyncio.timeout(20):
            await blocked.wait()
        assert sent < 64 * 1024 * 1024
    await over.wait()
    server.close()
    await world.wait_clean()

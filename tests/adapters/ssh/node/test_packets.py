"""A node's packets in place: every cipher, key exchanges in between, and remotes that do what they may not."""

import asyncio
import os
from collections import Counter

import asyncssh
import pytest
from asyncssh.channel import SSHChannel, SSHClientChannel
from asyncssh.connection import SSHConnection
from asyncssh.packet import SSHPacket, String

from interlock.adapters.ssh.algorithms import ALL_CIPHERS
from interlock.adapters.ssh.seams.node import NodeChannel, NodeConnection
from interlock.core.limits import WRITE_HIGH_WATER
from interlock.core.wire import CHANNEL_DATA
from interlock.testing.node import HOSTNAME, World

pytestmark = pytest.mark.interop


@pytest.fixture
def world(world: World) -> World:
    """A node whose sessions look at no files: for those, data is handed around as copies."""
    world.sessions.observed = False
    return world


class Reader(asyncssh.SSHClientSession[bytes]):
    """Keeps how much it got."""

    def __init__(self) -> None:
        self.size = 0
        self.closed = asyncio.Event()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        del datatype
        self.size += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed.set()


class Channel(SSHClientChannel[bytes]):
    """A session channel with a window and packets of any size."""

    def __init__(self, connection: asyncssh.SSHClientConnection, window: int, packet: int = 32768) -> None:
        super().__init__(connection, asyncio.get_running_loop(), "strict", None, "strict", window, packet)

    async def start(self, command: str) -> Reader:
        """Run a command."""
        await SSHChannel._open(self, b"session")
        session = Reader()
        self._session = session
        assert await self._make_request(b"exec", String(command))
        self.resume_reading()
        return session


def served(world: World) -> NodeConnection:
    """The node's end of its only connection."""
    assert world.server is not None
    (visitor,) = world.server._visitors
    assert visitor.connection is not None
    return visitor.connection


@pytest.mark.parametrize("cipher", ALL_CIPHERS)
async def test_every_cipher_in_both_directions_with_key_exchanges(world: World, cipher: str) -> None:
    """Both streams and the input are whole and in order, whichever packets are sealed by whom."""
    data = os.urandom(6_000_000)
    options = ("-o", f"Ciphers={cipher}", "-o", "RekeyLimit=1M")
    done = await world.ssh(*options, HOSTNAME, "tee /dev/stderr", stdin=data)
    assert (done.out == data, done.err == data, done.rc) == (True, True, 0)


@pytest.mark.parametrize("cipher", ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com"])
async def test_asyncssh_handles_no_data(world: World, monkeypatch: pytest.MonkeyPatch, cipher: str) -> None:
    """It is asked for the few packets in which nothing can be done in place; their number does not grow."""
    counted: Counter[str] = Counter()
    send, take = SSHConnection.send_packet, SSHChannel.process_packet

    def counting_send(self: SSHConnection, kind: int, *args: bytes, handler: object = None) -> None:
        counted["sent"] += kind == CHANNEL_DATA
        send(self, kind, *args, handler=handler)  # type: ignore[arg-type]

    def counting_take(self: SSHChannel[bytes], kind: int, number: int, packet: SSHPacket) -> object:
        counted["taken"] += kind == CHANNEL_DATA
        return take(self, kind, number, packet)

    monkeypatch.setattr(SSHConnection, "send_packet", counting_send)
    monkeypatch.setattr(SSHChannel, "process_packet", counting_take)
    data = os.urandom(20_000_000)
    done = await world.ssh("-o", f"Ciphers={cipher}", HOSTNAME, "cat", stdin=data)
    assert done.out == data
    assert (counted["sent"], counted["taken"]) == (0, 0)


async def test_a_huge_window_is_not_filled_from_memory(world: World) -> None:
    """A client that grants 1 GiB and does not read: the node holds what fits the socket's queue, and no more."""
    async with world.connect() as connection:
        channel = Channel(connection, window=1 << 30)
        session = await channel.start("head -c 60000000 /dev/zero")
        connection._transport.pause_reading()  # type: ignore[union-attr]
        ours = served(world)
        while not ours.congested:  # noqa: ASYNC110  # two sides of one loop
            await asyncio.sleep(0.01)
        sent = -1
        while sent != world.sessions.all[0].traffic()[1]:
            sent = world.sessions.all[0].traffic()[1]
            await asyncio.sleep(0.1)
        (held,) = ours._channels.values()
        assert isinstance(held, NodeChannel)
        assert held._send_buf_len == 0
        assert ours._transport is not None
        assert ours._transport.get_write_buffer_size() <= WRITE_HIGH_WATER
        connection._transport.resume_reading()  # type: ignore[union-attr]
        await session.closed.wait()
        assert session.size == 60_000_000


@pytest.mark.parametrize("packet", [1, 100, 16384])
async def test_small_packets(world: World, packet: int) -> None:
    """A client that takes less in one packet gets no more in one."""
    async with world.connect() as connection:
        channel = Channel(connection, window=1000, packet=packet)
        session = await channel.start("head -c 20000 /dev/zero; head -c 100 /dev/zero >&2")
        await session.closed.wait()
        assert session.size == 20_100


async def test_packets_of_no_size_are_refused(world: World) -> None:
    """They could carry nothing: a node that tried would never come to an end."""
    async with world.connect() as connection:
        with pytest.raises(asyncssh.ChannelOpenError):
            await Channel(connection, window=1000, packet=0).start("echo")
        await connection.wait_closed()
    assert (await world.run("echo still here")).out == b"still here\n"


async def test_more_than_the_window_ends_the_connection(world: World) -> None:
    """A client that ignores the window could fill our memory."""
    async with world.connect() as connection:
        channel = Channel(connection, window=1000)
        await channel.start("sleep 100")
        channel._send_window = 1 << 30
        channel.write(bytes(8_000_000))
        await connection.wait_closed()
    assert (await world.run("echo still here")).out == b"still here\n"


async def test_a_damaged_packet_ends_its_connection_only(world: World) -> None:
    """Nothing of it is believed."""
    async with world.connect() as connection:
        await Channel(connection, window=1000).start("sleep 100")
        connection._transport.write((64).to_bytes(4, "big") + os.urandom(80))  # type: ignore[union-attr]
        await connection.wait_closed()
    assert (await world.run("echo still here")).out == b"still here\n"

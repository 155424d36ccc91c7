"""The ways between proxies: real TLS on loopback, certificates as auth issues them."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from interlock.adapters.ssh.tunnel import peers
from interlock.adapters.ssh.tunnel.neighbours import listen_at, socket_path
from interlock.adapters.ssh.tunnel.peers import Membership, PeerAddress, PeerDoor
from interlock.core.address import format_address
from interlock.core.ids import DaemonId
from interlock.services.keys.daemonca import (
    DaemonCa,
    DaemonKind,
    HostIdentity,
    KeyPair,
    create_authority,
    create_key,
    create_request,
)
from interlock.testing.entropy import FakeEntropy
from interlock.testing.ports import LOOPBACK

HERE = DaemonId("11111111-1111-4111-8111-111111111111")
THERE = DaemonId("22222222-2222-4222-8222-222222222222")


def member(ca: DaemonCa, proxy: DaemonId) -> Membership:
    """What a proxy shows."""
    key = create_key()
    identity = HostIdentity("example", proxy, (), DaemonKind.PROXY)
    certificate = ca.issue_daemon(create_request(key), identity, now=datetime.now(UTC))
    return Membership("example", KeyPair(key, certificate), ca.certificate)


class Own:
    """What is behind the door: echoes every byte."""

    def __init__(self) -> None:
        self.met = self.here = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the other side has gone."""
        self.met += 1
        self.here += 1
        while data := await reader.read(100):
            writer.write(data)
        writer.close()
        await writer.wait_closed()
        self.here -= 1


@pytest.fixture
async def way() -> AsyncIterator[tuple[Path, Own]]:
    """The socket at one proxy that leads to another one, and what is there."""
    with TemporaryDirectory(prefix="peers") as directory:  # a socket's path is short
        async with _doors(Path(directory)) as found:
            yield found


@asynccontextmanager
async def _doors(directory: Path) -> AsyncIterator[tuple[Path, Own]]:
    entropy = FakeEntropy(1)
    ca = DaemonCa(
        create_authority("example", entropy=entropy, now=datetime.now(UTC)), cluster="example", entropy=entropy
    )
    places = {each: directory / each[:4] for each in (HERE, THERE)}
    for place in places.values():
        place.mkdir()
    doors = {each: PeerDoor(each, places[each], member(ca, each)) for each in places}
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.setblocking(False)
        doors[HERE].know([PeerAddress(THERE, format_address(*listener.getsockname()[:2]))])
        doors[THERE].know([PeerAddress(HERE, "")])
        own = Own()
        async with AsyncExitStack() as stack:
            server = await asyncio.start_unix_server(own.serve, sock=listen_at(socket_path(places[THERE], THERE)))
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            for door in (doors[HERE].run(None), doors[THERE].run(listener)):
                stack.push_async_callback(ended, asyncio.create_task(door))
            path = socket_path(places[HERE], THERE)
            while not path.exists():  # noqa: ASYNC110 - the test's time limit ends it
                await asyncio.sleep(0.01)
            yield path, own
            while own.here or any(door._held for door in doors.values()):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel it, and wait until it has ended."""
    task.cancel()
    await asyncio.wait([task])


async def answered(path: Path) -> tuple[asyncio.StreamWriter, bytes]:
    """Say something to the other proxy: the connection, and what comes back; nothing if it was refused."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"hello")
    return writer, await reader.read(100)


async def gone(*writers: asyncio.StreamWriter) -> None:
    """Close these."""
    for writer in writers:
        writer.close()
        await writer.wait_closed()


async def test_a_peer_holds_so_many_ways_and_no_more(
    way: tuple[Path, Own], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One proxy that was taken over must not fill another one; each that ends makes room."""
    monkeypatch.setattr(peers, "FROM_ONE", 3)
    path, own = way
    held = [await answered(path) for _ in range(3)]
    assert [said for _, said in held] == [b"hello"] * 3
    refused, said = await answered(path)
    assert (said, own.met) == (b"", 3)
    await gone(refused, held.pop()[0])
    while not (found := await answered(path))[1]:
        await gone(found[0])
    await gone(found[0], *(writer for writer, _ in held))

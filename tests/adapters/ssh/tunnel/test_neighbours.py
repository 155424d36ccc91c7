"""Where other processes and proxies come in: what they say wrong is theirs to bear."""

import asyncio
import tempfile
from pathlib import Path

import pytest

from interlock.adapters.ssh.tunnel.entrance import AuthAddresses, TunnelEntrance
from interlock.adapters.ssh.tunnel.neighbours import Hatch, listen_at, socket_path
from interlock.services.keys.certificates import CertificateReader
from interlock.services.keys.joining import JoinSources
from interlock.testing.clock import FakeClock

OWN = "99999999-1111-4333-8444-555555555555"
NOWHERE = ("127.0.0.1", 1)


class Greeter(asyncio.Protocol):
    """Stands for the SSH server at which people join sessions."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say something and go."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"hello")
        transport.close()


async def joins() -> type[Greeter]:
    """See `Hatch`."""
    return Greeter


async def said_to(path: Path, message: bytes) -> bytes:
    """Call, and read to the end of the answer."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(len(message).to_bytes(4) + message)
    try:
        return await reader.read()
    except ConnectionError:  # closed with something unread
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"no",
        b'{"to":"\xff","payload":""}',
        b'{"x":' + b"[" * 4000,
        b'{"to":"a","payload":"*"}',
        b'{"to":"a","payload":""}',
        bytes(5000),
    ],
)
async def test_a_caller_that_says_anything_ends_nothing(message: bytes) -> None:
    """A stolen proxy may come in here: it must not end those of the others."""
    tunnels = TunnelEntrance(
        CertificateReader([]), FakeClock(), AuthAddresses(NOWHERE, NOWHERE), sources=JoinSources()
    )
    with tempfile.TemporaryDirectory() as directory:  # whose path is short enough
        path = socket_path(Path(directory), OWN)
        listener = listen_at(path)
        async with asyncio.TaskGroup() as tasks:
            hatch = tasks.create_task(Hatch(OWN, tunnels, joins).run(listener))
            await said_to(path, message)
            assert await said_to(path, b'{"to":"%s","payload":""}' % OWN.encode()) == bytes(4) + b"hello"
            hatch.cancel()
        listener.close()

"""Two ends joined: bytes, half-close, close and back-pressure, over real sockets."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import pytest

from interlock.adapters.ssh.pipe import StreamEnd, link
from interlock.testing.ports import LOOPBACK


class Far:
    """One far end of a pipe."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def reset(self) -> None:
        """Vanish: an orderly end would only close one way."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@contextlib.asynccontextmanager
async def connected() -> AsyncIterator[tuple[StreamEnd, Far]]:
    """An end of ours, connected to a far one."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Far] = loop.create_future()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.set_result(Far(reader, writer))
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(accept, LOOPBACK, 0)
    _, end = await loop.create_connection(StreamEnd, *server.sockets[0].getsockname()[:2])
    far = await made
    try:
        yield end, far
    finally:
        far.writer.transport.abort()
        end.transport.abort()
        server.close()


@contextlib.asynccontextmanager
async def pipe() -> AsyncIterator[tuple[Far, Far]]:
    """Both far ends of a pipe."""
    async with connected() as (left, far_left), connected() as (right, far_right):
        link(left, right)
        left.resume()
        right.resume()
        yield far_left, far_right


async def test_bytes_pass_both_ways_and_each_way_ends_by_itself() -> None:
    """A half-closed pipe still answers; when both ways have ended, all is closed."""
    async with pipe() as (one, two):
        one.writer.write(b"question")
        one.writer.write_eof()
        assert await two.reader.read() == b"question"
        two.writer.write(b"answer")
        two.writer.write_eof()
        assert await one.reader.read() == b"answer"


async def test_nothing_is_taken_before_there_is_another_end() -> None:
    """What was sent meanwhile is not lost."""
    async with connected() as (left, far_left):
        far_left.writer.write(b"early")
        await far_left.writer.drain()
        async with connected() as (right, far_right):
            link(left, right)
            left.resume()
            right.resume()
            assert await far_right.reader.readexactly(5) == b"early"


@pytest.mark.parametrize("early", [True, False])
async def test_the_loss_of_one_end_closes_the_other(*, early: bool) -> None:
    """Also when there was no other end yet."""
    async with connected() as (left, far_left), connected() as (right, far_right):
        if not early:
            link(left, right)
            left.resume()
            right.resume()
        far_left.reset()
        left.resume()
        while not left.transport.is_closing():  # noqa: ASYNC110 - the kernel tells
            await asyncio.sleep(0.005)
        if early:
            await asyncio.sleep(0)
            link(right, left)
        with contextlib.suppress(ConnectionResetError):
            assert await far_right.reader.read() == b""


async def test_who_does_not_read_stops_who_writes() -> None:
    """What the pipe holds is bounded, and all of it arrives in the end."""
    async with pipe() as (one, two):
        two.reader._transport.pause_reading()  # type: ignore[attr-defined]
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 1 << 28:
                one.writer.write(bytes(1 << 16))
                sent += 1 << 16
                async with asyncio.timeout(0.5):
                    await one.writer.drain()
        assert sent < 1 << 26
        one.writer.write_eof()
        two.reader._transport.resume_reading()  # type: ignore[attr-defined]
        got = 0
        while data := await two.reader.read(1 << 16):
            got += len(data)
        assert got == sent

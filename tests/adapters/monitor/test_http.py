"""The monitor's HTTP, over real sockets: plain requests, bad ones, and clients that take their time."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from interlock.adapters.monitor import http
from interlock.adapters.monitor.http import MAX_CONNECTIONS, MonitorServer, Page

Where = tuple[str, int]


async def hello() -> Page:
    """A page."""
    return Page(b"hello\n")


async def ill() -> Page:
    """A page that says no."""
    return Page(b"{}", "application/json", 503)


@pytest.fixture
async def where() -> AsyncIterator[Where]:
    """A server with two pages."""
    server = MonitorServer({"/hello": hello, "/ill": ill})
    yield await server.open("127.0.0.1", 0)
    await server.close()


async def say(where: Where, data: bytes) -> bytes:
    """All that comes back."""
    reader, writer = await asyncio.open_connection(*where)
    writer.write(data)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        ("GET /hello", b"200", b"hello\n"),
        ("GET /hello?x=1", b"200", b"hello\n"),
        ("HEAD /hello", b"200", b""),
        ("GET /ill", b"503", b"{}"),
        ("GET /", b"404", b"not found\n"),
        ("GET /hello/../ill", b"404", b"not found\n"),
        ("POST /hello", b"405", b"only GET\n"),
        ("DELETE /hello", b"405", b"only GET\n"),
    ],
)
async def test_requests(where: Where, request_line: str, status: bytes, body: bytes) -> None:
    """One answer, and the connection ends."""
    answer = await say(where, f"{request_line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, got = answer.partition(b"\r\n\r\n")
    assert (head.split()[1], got) == (status, body)
    assert b"connection: close" in head.lower()


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x16\x03\x01\r\n\r\n",
        b"GET /hello HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused(where: Where, data: bytes) -> None:
    """With a status of the 400s or 500s, never with a page."""
    assert (await say(where, data)).split()[1][:1] in {b"4", b"5"}


async def test_a_head_without_end_is_refused(where: Where) -> None:
    """Memory stays bounded: a client gets its answer after a few kilobytes."""
    answer = await say(where, b"GET /hello HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000)
    assert answer.split()[1] in {b"400", b"431"}


async def test_nobody_holds_a_place_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says nothing is closed; while all places are taken, who comes is closed at once."""
    monkeypatch.setattr(http, "PATIENCE_S", 0.3)
    server = MonitorServer({"/hello": hello})
    where = await server.open("127.0.0.1", 0)
    quiet = [await asyncio.open_connection(*where) for _ in range(MAX_CONNECTIONS)]
    reader, surplus = await asyncio.open_connection(*where)
    assert await reader.read() == b""
    for reader, _writer in quiet:
        assert await reader.read() == b""
    assert b"hello" in await say(where, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    for _reader, writer in [*quiet, (None, surplus)]:
        writer.close()
    await server.close()


async def test_a_server_that_closes_leaves_nobody() -> None:
    """Also not those that are being served."""
    server = MonitorServer({"/hello": hello})
    where = await server.open("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*where)
    writer.write(b"GET ")
    await writer.drain()
    assert b"hello" in await say(where, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
    await server.close()
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection(*where)

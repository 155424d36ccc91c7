"""What strangers may hold of the web part's server, over real sockets."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from interlock.testing.tls import self_signed
from interlock.web import server
from interlock.web.server import WebServer

App = Callable[[Any, Any, Any], Awaitable[None]]


async def hello(_scope: Any, receive: Any, send: Any) -> None:
    """Reads all, and answers."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def serving(
    app: App = hello, *, trusted: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, int]]:
    """Where it listens."""
    served = WebServer(app, tls=tls, trusted=lambda _host: trusted)
    host, _, port = (await served.open("127.0.0.1", 0)).rpartition(":")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(served.run())
        try:
            yield host, int(port)
        finally:
            served.stop()
            await running


async def said(where: tuple[str, int], request: bytes) -> bytes:
    """All that comes back, until the server closes."""
    reader, writer = await asyncio.open_connection(*where)
    writer.write(request)
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_it_answers_and_ends_in_order() -> None:
    """Also with somebody who stays connected."""
    async with serving() as where:
        answer = await said(where, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"server:" not in answer.lower()
        reader, writer = await asyncio.open_connection(*where)
    assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize(
    "request_", [b"", b"GET / HTTP/1.1\r\nHo", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"]
)
async def test_who_brings_no_whole_request_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    """Nothing, half a head, half a body: slowloris."""
    monkeypatch.setattr(server, "PATIENCE_S", 0.2)
    async with serving() as where, asyncio.timeout(10):
        assert b"200" not in await said(where, request_)


async def test_the_next_request_has_to_come_in_time_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who was answered once cannot stay for ever with half a head; who goes on in time can."""
    monkeypatch.setattr(server, "PATIENCE_S", 1.0)
    async with serving() as where, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*where)
        try:
            for _ in range(3):
                writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"200" in await reader.readuntil(b"ok")
            writer.write(b"GET / HTTP/1.1\r\nHo")
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
        finally:
            writer.close()


async def test_a_tls_handshake_that_does_not_end_is_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds a file descriptor of auth's process; who has gone gives the place back."""
    monkeypatch.setattr(server, "MAX_OF_SOURCE", 3)
    async with serving(tls=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)) as where, asyncio.timeout(10):
        held = [await asyncio.open_connection(*where) for _ in range(3)]
        assert not await stays(where)
        for _, each in held:
            each.close()
        while not await stays(where):  # the server hears of their end a moment later
            pass


async def stays(where: tuple[str, int]) -> bool:
    """Whether a connection that says nothing is let in."""
    reader, writer = await asyncio.open_connection(*where)
    try:
        async with asyncio.timeout(0.2):
            await reader.read()
    except TimeoutError:
        return True
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    return False


async def test_a_head_is_bounded() -> None:
    """Far below what one could make us hold."""
    async with serving() as where:
        assert (await said(where, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000)).startswith(b"HTTP/1.1 400")


async def test_connections_are_bounded_and_one_source_does_not_get_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it is a reverse proxy, behind which all are one."""
    monkeypatch.setattr(server, "MAX_OF_SOURCE", 3)
    for trusted, kept in ((False, 3), (True, 5)):
        async with serving(trusted=trusted) as where:
            held = [await asyncio.open_connection(*where) for _ in range(kept)]
            if not trusted:
                assert await said(where, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == b""
            reader, writer = held[0]
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 200")
            for _, each in held:
                each.close()


async def test_nobody_takes_his_time_to_begin_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who says nothing is disconnected; others are served meanwhile."""
    monkeypatch.setattr(server, "HANDSHAKE_S", 0.3)
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    trusted = ssl.create_default_context(cafile=str(certificate))
    async with serving(tls=server.tls_context(str(certificate), str(key))) as where, asyncio.timeout(10):
        silent, held = await asyncio.open_connection(*where)
        reader, writer = await asyncio.open_connection(*where, ssl=trusted)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        assert await silent.read() == b""
        for each in (held, writer):
            each.close()

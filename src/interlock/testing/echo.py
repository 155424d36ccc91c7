"""A service that says back what it hears, and the exchange that proves that nothing of it got lost."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

EXCHANGED = 300_000
"""Bytes that `exchange` sends, and gets back: more than fits any buffer on the way at once."""


@contextlib.asynccontextmanager
async def echo(path: Path | None = None) -> AsyncIterator[int]:
    """Listen on a free port of the loopback, which it yields, or on a socket of the file system."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    if path is not None:
        server = await asyncio.start_unix_server(serve, path)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield 0 if path is not None else server.sockets[0].getsockname()[1]


async def exchange(reader: Any, writer: Any) -> None:
    """Send, half-close, and get all of it back; AssertionError if it is not the same."""
    payload = os.urandom(EXCHANGED)
    writer.write(payload)
    writer.write_eof()
    assert await reader.read() == payload
    writer.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has no event of its own, such as a file of another process; TimeoutError after ten seconds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)

"""The small HTTP server of a daemon: a few paths to GET, for probes and for Prometheus.

It speaks by h11, one request per connection. It has no authentication: it listens where only those come who may
know these numbers, and tells no names. Whoever connects has a few seconds and a few kilobytes.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import h11

MAX_CONNECTIONS = 16
"""At once; who comes when all are taken is closed."""

PATIENCE_S = 10.0
"""Seconds for a whole request and its answer."""

_READ = 4096
_MAX_HEAD = 8192


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200


Pages = Mapping[str, Callable[[], Awaitable[Page]]]
"""What each path says."""


class MonitorServer:
    """Serve with `open`; `close` ends it, and what it is about to say."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def open(self, host: str, port: int) -> tuple[str, int]:
        """Listen; the bound address. OSError if that fails."""
        self._server = await asyncio.start_server(self._accept, host, port, limit=_READ)
        bound = self._server.sockets[0].getsockname()
        return str(bound[0]), int(bound[1])

    async def close(self) -> None:
        """Listen no more and leave no connection."""
        if self._server is not None:
            self._server.close()
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        if serving:
            await asyncio.wait(serving)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None or len(self._serving) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._serving.add(task)
        try:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await self._answer(reader, writer)
        finally:
            self._serving.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        try:
            page, head_only = await self._page(connection, reader)
        except h11.RemoteProtocolError as error:
            page, head_only = Page(b"this is not a request\n", status=error.error_status_hint), False
        headers = [
            ("content-type", page.content_type),
            ("content-length", str(len(page.body))),
            ("cache-control", "no-store"),
            ("connection", "close"),
        ]
        response = h11.Response(status_code=page.status, headers=headers)
        writer.write(connection.send(response) or b"")
        if not head_only:
            writer.write(connection.send(h11.Data(data=page.body)) or b"")
        await writer.drain()

    async def _page(self, connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[Page, bool]:
        while (event := connection.next_event()) is h11.NEED_DATA:
            connection.receive_data(await reader.read(_READ))
        if not isinstance(event, h11.Request):
            raise OSError("the client left")
        if event.method not in {b"GET", b"HEAD"}:
            return Page(b"only GET\n", status=405), False
        path = event.target.partition(b"?")[0].decode("ascii", "replace")
        page = self._pages.get(path)
        head_only = event.method == b"HEAD"
        return (Page(b"not found\n", status=404) if page is None else await page()), head_only

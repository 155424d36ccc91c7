"""A TCP proxy between a client and a server that does to their connections what networks and busy storages do."""

import asyncio
import contextlib
from collections.abc import Callable
from enum import Enum
from types import TracebackType
from typing import Self

from interlock.testing.ports import LOOPBACK

_PIECE = 16 * 1024


class Fault(Enum):
    """What becomes of every request from now on."""

    NONE = "passed on"
    CUT = "cut off after some bytes of it"
    STALL = "taken, and never answered"
    BUSY = "answered with 503 SlowDown"
    BROKEN = "answered with 500 InternalError"
    DAMAGED = "passed on with other bytes in it"


_ANSWERS = {Fault.BUSY: (503, "Slow Down", "SlowDown"), Fault.BROKEN: (500, "Server Error", "InternalError")}


class FaultyProxy:
    """Listens on a free port of 127.0.0.1 while it is entered."""

    def __init__(self, port: int) -> None:
        """``port``: of the server on this machine."""
        self.requests = 0  # connections, and requests that were not passed on
        self.most = 0  # connections at one time
        self.sent = 0  # bytes of requests since the last turn
        self.cut_after = 1024  # so many
        self.damage: tuple[bytes, bytes] = (b"", b"")  # what becomes what, of the same length
        self.on_request: Callable[[], None] = lambda: None
        self._fault = Fault.NONE
        self._to = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def endpoint(self) -> str:
        """As a URL."""
        return f"http://{LOOPBACK}:{self.port}"

    def turn(self, fault: Fault) -> None:
        """From now on; connections that are open are closed."""
        self._fault, self.sent = fault, 0
        for writer in list(self._writers):
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.turn(Fault.NONE)
        for task in list(self._tasks):
            task.cancel()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        self.most = max(self.most, len(self._writers))
        self._count()
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    def _count(self) -> None:
        self.requests += 1
        self.on_request()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match self._fault:
            case Fault.STALL:
                while await reader.read(_PIECE):
                    pass
            case Fault.BUSY | Fault.BROKEN:
                while await self._answer(reader, writer, self._fault):
                    self._count()
            case Fault.NONE | Fault.CUT | Fault.DAMAGED:
                theirs, ours = await asyncio.open_connection(LOOPBACK, self._to)
                self._writers.add(ours)
                try:
                    async with asyncio.TaskGroup() as tasks:
                        up = tasks.create_task(self._pump(reader, ours, request=True))
                        await self._pump(theirs, writer)
                        up.cancel()
                finally:
                    self._writers.discard(ours)
                    ours.close()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, request: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_PIECE):
                if request and self._fault is Fault.DAMAGED and self.damage[0]:
                    data = data.replace(*self.damage)
                if request and self._fault is Fault.CUT and self.sent + len(data) > self.cut_after:
                    writer.write(data[: max(0, self.cut_after - self.sent)])
                    await writer.drain()
                    break
                self.sent += len(data) if request else 0
                writer.write(data)
                await writer.drain()
        for each in list(self._writers) if request and self._fault is Fault.CUT else (writer,):
            each.transport.abort()

    @staticmethod
    async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault) -> bool:
        """Read one request and refuse it; False if there was none."""
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n")[1:] if ": " in line)
        lengths = {name.lower(): value for name, value in fields.items()}
        if lengths.get("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(int(lengths.get("content-length", "0")))
        status, words, code = _ANSWERS[fault]
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{words}</Message></Error>".encode()
        writer.write(
            f"HTTP/1.1 {status} {words}\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        return True

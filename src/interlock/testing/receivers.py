"""Real receivers of exported events, which behave as badly as they are told to."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from interlock.testing.ports import LOOPBACK


class Answer(Enum):
    """What an HTTP receiver does with one request."""

    OK = "200"
    FAILS = "500"
    BUSY = "503"
    REFUSES = "400"
    RESETS_BEFORE = "resets before it has read all"
    RESETS_AFTER = "takes it and resets before it answers"
    SILENT = "takes it and never answers"
    HALF = "answers half a line and closes"
    ENDLESS = "answers without end"


@dataclass(frozen=True, slots=True)
class Request:
    """One that arrived whole."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


@dataclass
class HttpReceiver:
    """Answers as scripted, and then always OK. ``arrived``: all whole requests, ``taken``: those acknowledged."""

    script: deque[Answer] = field(default_factory=deque)
    arrived: list[Request] = field(default_factory=list)
    taken: list[Request] = field(default_factory=list)
    body: bytes = b"{}"
    url: str = ""
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, text: str) -> None:
        """Return when this text has been taken."""
        async with self._changed:
            await self._changed.wait_for(lambda: any(text.encode() in each.body for each in self.taken))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer = self.script.popleft() if self.script else Answer.OK
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            pairs = (line.partition(":") for line in head[1:] if line)
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            if answer is Answer.RESETS_BEFORE:
                writer.transport.abort()
                return
            body = await reader.readexactly(int(headers["content-length"]))
            request = Request(head[0].split(" ")[1], headers, body)
            self.arrived.append(request)
            await self._answer(answer, request, writer)
            async with self._changed:
                self._changed.notify_all()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _answer(self, answer: Answer, request: Request, writer: asyncio.StreamWriter) -> None:
        match answer:
            case Answer.OK:
                self.taken.append(request)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(self.body), self.body))
            case Answer.FAILS | Answer.REFUSES:
                writer.write(f"HTTP/1.1 {answer.value} No\r\nContent-Length: 4\r\n\r\nwhy?".encode())
            case Answer.BUSY:
                writer.write(b"HTTP/1.1 503 Busy\r\nRetry-After: 42\r\nContent-Length: 0\r\n\r\n")
            case Answer.RESETS_AFTER:
                self.taken.append(request)
                writer.transport.abort()
            case Answer.SILENT:
                self.taken.append(request)
                await asyncio.Event().wait()
            case Answer.HALF:
                writer.write(b"HTTP/1.1 20")
            case Answer.ENDLESS:
                writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while True:
                    writer.write(b"1000\r\n" + bytes(4096) + b"\r\n")
                    await writer.drain()
            case Answer.RESETS_BEFORE:
                pass


@asynccontextmanager
async def http_receiver(*script: Answer) -> AsyncIterator[HttpReceiver]:
    """One that listens."""
    receiver = HttpReceiver(deque(script))
    async with _listening(receiver._serve) as port:  # noqa: SLF001
        receiver.url = f"http://{LOOPBACK}:{port}/events"
        yield receiver


@dataclass
class SyslogReceiver:
    """Takes octet-counted messages; ``dies_after``: closes each connection behind so many messages, so often."""

    dies_after: deque[int] = field(default_factory=deque)
    messages: list[str] = field(default_factory=list)
    connections: int = 0
    port: int = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        left = self.dies_after.popleft() if self.dies_after else -1
        try:
            while left != 0:
                size = int(await reader.readuntil(b" "))
                self.messages.append((await reader.readexactly(size)).decode())
                left -= 1
            writer.transport.abort()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def syslog_receiver(*dies_after: int, ssl: Any = None) -> AsyncIterator[SyslogReceiver]:
    """One that listens."""
    receiver = SyslogReceiver(deque(dies_after))
    async with _listening(receiver._serve, ssl) as port:  # noqa: SLF001
        receiver.port = port
        yield receiver


@asynccontextmanager
async def _listening(serve: Any, ssl: Any = None) -> AsyncIterator[int]:
    serving: set[asyncio.Task[Any]] = set()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            serving.discard(task)

    server = await asyncio.start_server(tracked, LOOPBACK, 0, ssl=ssl, limit=8 * 1024 * 1024)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in (left := set(serving)):
            task.cancel()
        if left:
            await asyncio.wait(left)

"""Syslog receivers: TCP with octet counting (RFC 6587 §3.4.1), TLS (RFC 5425), UDP (RFC 5426).

Syslog has no acknowledgement. Over TCP a batch counts as arrived when the receiver's system has all of its bytes
and the connection still stands a moment later; what the receiver itself had not taken when it died is lost, and
what was under way is sent again. Over UDP it counts as arrived when it is sent.
"""

import asyncio
import contextlib
import fcntl
import socket
import ssl
import termios
from typing import Any

from interlock.adapters.export.rfc5424 import message
from interlock.core.errors import ExportError
from interlock.domain.export import Batch

CONNECT_S = 10.0
ARRIVE_S = 30.0
"""Seconds that a batch may take until the receiver's system has it."""

SETTLE_S = 0.2
"""Seconds for which the connection has to stand behind a batch."""

MAX_DATAGRAM = 60_000
"""Bytes of a UDP message; longer ones end there."""

_LOOK_S = 0.01


class SyslogStream:
    """`ports.Receiver` over TCP or TLS."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        hostname: str,
        context: ssl.SSLContext | None = None,
        settle: float = SETTLE_S,
    ) -> None:
        """``hostname``: this machine's, as messages say it. ``context``: with TLS."""
        self._host, self._port = host, port
        self._hostname = hostname
        self._context = context
        self._settle = settle
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, batch: Batch) -> None:
        """`ports.Receiver`."""
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await self._connected()
            async with asyncio.timeout(ARRIVE_S):
                for record in batch.records:
                    text = message(record, self._hostname)
                    writer.write(b"%d %s" % (len(text), text))
                    await writer.drain()
                await self._arrived(writer)
            await self._stands(reader)
        except (OSError, TimeoutError, ssl.SSLError, UnicodeError) as error:  # the last: no name of a host
            await self.close()
            reason = f"syslog at {self._host}:{self._port}: {type(error).__name__} {error}"
            raise ExportError("the receiver of events does not take them", reason=reason) from error
        except BaseException:
            await self.close()  # half a message may be on its way
            raise

    async def close(self) -> None:
        """`ports.Receiver`."""
        writer, self._reader, self._writer = self._writer, None, None
        if writer is not None:
            with contextlib.suppress(OSError, ssl.SSLError):
                writer.transport.abort()

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._reader is not None and self._writer is not None and not self._reader.at_eof():
            return self._reader, self._writer
        await self.close()
        name = self._host if self._context is not None else None
        self._reader, self._writer = await asyncio.open_connection(
            self._host, self._port, ssl=self._context, server_hostname=name
        )
        return self._reader, self._writer

    async def _arrived(self, writer: asyncio.StreamWriter) -> None:
        """The receiver's system has all bytes: nothing of them waits here, or is unacknowledged (SIOCOUTQ)."""
        found: Any = writer.get_extra_info("socket")
        while True:
            if writer.is_closing() or found.fileno() < 0:  # then there is no descriptor to ask
                raise ConnectionResetError("the connection was closed")
            unsent = int.from_bytes(fcntl.ioctl(found.fileno(), termios.TIOCOUTQ, bytes(4)), "little")
            if not unsent and not writer.transport.get_write_buffer_size():
                return
            await asyncio.sleep(_LOOK_S)

    async def _stands(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settle):
                while await reader.read(4096):  # whatever a receiver says: nothing is expected
                    pass
                raise ConnectionResetError("the receiver closed the connection")


class SyslogDatagrams:
    """`ports.Receiver` over UDP."""

    def __init__(self, host: str, port: int, *, hostname: str) -> None:
        self._host, self._port = host, port
        self._hostname = hostname

    async def send(self, batch: Batch) -> None:
        """`ports.Receiver`."""
        loop = asyncio.get_running_loop()
        try:
            [(family, _, _, _, address), *_] = await loop.getaddrinfo(
                self._host, self._port, type=socket.SOCK_DGRAM
            )
            with socket.socket(family, socket.SOCK_DGRAM) as sending:
                sending.setblocking(False)
                for record in batch.records:
                    await loop.sock_sendto(sending, message(record, self._hostname)[:MAX_DATAGRAM], address)
        except (OSError, UnicodeError) as error:
            reason = f"syslog at {self._host}:{self._port}: {error}"
            raise ExportError("the receiver of events does not take them", reason=reason) from error

    async def close(self) -> None:
        """There is no connection."""

"""The web part's HTTP server: uvicorn, in a task of whoever runs it, with bounds on what strangers may hold."""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from interlock.core.address import format_address, source_of

MAX_HEAD = 16 * 1024
"""Bytes of a request's head."""

MAX_CONNECTIONS = 512
"""At once; who comes when all are taken is closed."""

MAX_OF_SOURCE = 64
"""And of one source, unless that is one of our reverse proxies."""

PATIENCE_S = 20.0
"""Seconds in which a connection has to bring a whole request, and go on after an answer."""

HANDSHAKE_S = 10.0
"""Seconds for a TLS handshake, before which a connection is nobody's."""

FAREWELL_S = 3.0
"""Seconds that answers may still take when the server ends."""

_log = structlog.get_logger()


class WebServer:
    """Serve with `run` between `open` and `stop`."""

    def __init__(self, app: Any, *, tls: ssl.SSLContext | None, trusted: Callable[[str], bool]) -> None:
        """``trusted``: whether an address is a reverse proxy's, all of whose clients count as one source."""
        self._tls = tls
        self._counts = _Counts(trusted)
        config = uvicorn.Config(
            app,
            http=self._protocol,  # type: ignore[arg-type]  # a factory does as well as a class
            ws="none",
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=int(PATIENCE_S),
            timeout_graceful_shutdown=int(FAREWELL_S),
            h11_max_incomplete_event_size=MAX_HEAD,
        )
        self._server = _Server(config)
        self._socket: socket.socket | None = None

    async def open(self, host: str, port: int) -> str:
        """Listen; the bound address. OSError if that fails."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        plain = socket.create_server((host, port), family=family, backlog=128)
        listening = _Listening(self._counts, plain)
        listening.setblocking(False)
        self._socket = listening
        return format_address(*listening.getsockname()[:2])

    async def run(self) -> None:
        """Until `stop`."""
        if self._socket is None:
            return
        config = self._server.config
        config.load()
        config.ssl = self._tls
        await self._server.serve(sockets=[self._socket])

    def stop(self) -> None:
        """Let `run` return soon."""
        self._server.should_exit = True

    def close(self) -> None:
        """Listen no more, also if `run` never ran."""
        if self._socket is not None:
            self._socket.close()

    def _protocol(self, **arguments: Any) -> "_Patient":
        return _Patient(**arguments)


class _Server(uvicorn.Server):
    """Signals are the daemon's, and nobody takes a minute to begin TLS."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept on our own socket."""
        await self.lifespan.startup()
        config, loop = self.config, asyncio.get_running_loop()

        def protocol() -> asyncio.Protocol:
            made: Any = config.http_protocol_class
            accepted: asyncio.Protocol = made(
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )
            return accepted

        patience = HANDSHAKE_S if config.ssl is not None else None
        self.servers = [
            await loop.create_server(protocol, sock=each, ssl=config.ssl, ssl_handshake_timeout=patience)
            for each in sockets or ()
        ]
        self.started = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


class _Counts:
    """Connections by source."""

    def __init__(self, trusted: Callable[[str], bool]) -> None:
        self._trusted = trusted
        self._by_source: Counter[str] = Counter()

    def add(self, host: str) -> str | None:
        """One more; as whose it counts, None if it is one too many."""
        source = source_of(host)
        full = self._by_source.total() >= MAX_CONNECTIONS
        if full or (self._by_source[source] >= MAX_OF_SOURCE and not self._trusted(host)):
            return None
        self._by_source[source] += 1
        return source

    def remove(self, source: str) -> None:
        """One less."""
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]


class _Listening(socket.socket):
    """Counts whom it lets in from the first moment on: a TLS handshake that never ends is a connection, too."""

    def __init__(self, counts: _Counts, plain: socket.socket) -> None:
        super().__init__(plain.family, plain.type, plain.proto, plain.detach())
        self._counts = counts

    def accept(self) -> tuple[socket.socket, Any]:
        """The next one that is not one too many."""
        while True:
            plain, where = super().accept()
            source = self._counts.add(_plain(str(where[0])))
            if source is not None:
                return _Accepted(self._counts, source, plain), where
            plain.close()


class _Accepted(socket.socket):
    """Counts until it is closed."""

    def __init__(self, counts: _Counts, source: str, plain: socket.socket) -> None:
        super().__init__(plain.family, plain.type, plain.proto, plain.detach())
        self._counts = counts
        self._source: str | None = source

    def close(self) -> None:
        """Close it, and count it no more."""
        super().close()
        source, self._source = self._source, None
        if source is not None:
            self._counts.remove(source)


class _Patient(H11Protocol):
    """Closes who brings no whole request in time."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._patience: asyncio.TimerHandle | None = None
        self._after: Any = None  # the request behind which the next one has begun to arrive

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Begin to wait anew with the first byte of each request."""
        cycle: Any = self.cycle
        if cycle is not None and cycle.response_complete and self._after is not cycle:
            self._after = cycle
            self._wait()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        if self._patience is not None:
            self._patience.cancel()

    def _wait(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self.loop.call_later(PATIENCE_S, self._judge)

    def _judge(self) -> None:
        """A request that is being answered may take its time; one that is still arriving has had it."""
        cycle: Any = self.cycle  # None until the first request, which its type does not say
        arriving = cycle is None or self._after is cycle or (cycle.more_body and not cycle.response_complete)
        if arriving:
            self.transport.abort()
            return
        self._wait()


def _plain(host: str) -> str:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return str(getattr(address, "ipv4_mapped", None) or address)


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and later with this certificate; OSError or ssl.SSLError if it cannot be used."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key or None)
    return context

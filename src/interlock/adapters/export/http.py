"""One HTTP POST, as exports need it: bounded in time and size, cancelled at any moment, nothing followed."""

import asyncio
import contextlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from interlock.core.errors import ConfigError, ExportError

TIMEOUT_S = 30.0
"""Seconds from dialling to the end of the answer."""

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are looked at; more is no answer of a receiver of events."""

OURS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
"""Headers that say how a request is sent, which is not for a configuration to say."""

_PIECE = 16 * 1024
_ASKS_FOR_PAUSE = {429, 503}


@dataclass(frozen=True, slots=True)
class Url:
    """Where to post."""

    host: str
    port: int
    target: str  # path and query
    secure: bool
    authority: str  # as the Host header says it

    @classmethod
    def parse(cls, text: str) -> "Url":
        """Read an http or https URL; ConfigError if it is none."""
        sendable = text.isascii() and text.isprintable() and " " not in text  # RFC 3986 §2
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port, parts = "", None, urlsplit("")
        known = parts.scheme in ("http", "https") and host and not parts.username and not parts.fragment
        if not (known and sendable):
            raise ConfigError(f"{text[:200]!r} is not a URL to send events to: https://HOST[:PORT]/PATH")
        secure = parts.scheme == "https"
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(host, port or (443 if secure else 80), target, secure, parts.netloc)


def check_headers(headers: Mapping[str, str]) -> None:
    """ConfigError for headers that no request can have; it does not repeat values, which may be secret."""
    for name, value in headers.items():
        try:
            h11.Request(method="POST", target="/", headers=[("Host", "h"), (name, value)])
            sendable = name.lower() not in OURS
        except (h11.LocalProtocolError, UnicodeError):
            sendable = False
        if not sendable:
            raise ConfigError(f"headers: {name[:100]!a} cannot be sent: names and values are ASCII, one line each")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver said."""

    status: int
    body: bytes
    pause: float  # seconds that it asks us to wait

    def check(self) -> None:
        """ExportError unless it took what was sent."""
        if not 200 <= self.status < 300:
            shown = self.body[:200].decode(errors="replace")
            reason = f"the receiver answered {self.status}: {shown}"
            raise ExportError("the receiver did not take the events", pause=self.pause, reason=reason)


async def post(
    url: Url,
    body: bytes,
    headers: Mapping[str, str],
    *,
    context: ssl.SSLContext | None,
    timeout: float = TIMEOUT_S,  # noqa: ASYNC109 - one number for all of its steps
) -> Answer:
    """Send it over a connection of its own; ExportError if there is no answer."""
    try:
        async with asyncio.timeout(timeout):
            return await _post(url, body, headers, context)
    except (OSError, TimeoutError, EOFError, h11.ProtocolError, ssl.SSLError, UnicodeError) as error:
        reason = f"no answer from {url.authority}: {type(error).__name__} {error}"
        raise ExportError("the receiver of events does not answer", reason=reason) from error


async def _post(url: Url, body: bytes, headers: Mapping[str, str], context: ssl.SSLContext | None) -> Answer:
    secure = context if url.secure else None
    reader, writer = await asyncio.open_connection(
        url.host, url.port, ssl=secure, server_hostname=url.host if secure else None
    )
    try:
        machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_ANSWER)
        fixed = {"Host": url.authority, "Content-Length": str(len(body)), "Connection": "close"}
        request = h11.Request(method="POST", target=url.target, headers=list({**headers, **fixed}.items()))
        for event in (request, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(machine.send(event) or b"")
        await writer.drain()
        return await _answer(machine, reader)
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            writer.transport.abort()


async def _answer(machine: h11.Connection, reader: asyncio.StreamReader) -> Answer:
    status, pause, body = 0, 0.0, b""
    while True:
        event = machine.next_event()
        if event is h11.NEED_DATA:
            machine.receive_data(await reader.read(_PIECE))
        elif isinstance(event, h11.Response):
            status = event.status_code
            pause = _pause(dict(event.headers).get(b"retry-after", b"")) if status in _ASKS_FOR_PAUSE else 0.0
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
            if len(body) > MAX_ANSWER:
                return Answer(status, body[:MAX_ANSWER], pause)
        elif isinstance(event, h11.EndOfMessage):
            return Answer(status, body, pause)
        elif not isinstance(event, h11.InformationalResponse):
            raise EOFError("the connection was closed")


def _pause(header: bytes) -> float:
    return float(header) if header.isdigit() and len(header) < 6 else 0.0


def tls_context(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """Verifies the receiver by its name; ConfigError if a file cannot be used. Empty: the system's authorities."""
    try:
        context = ssl.create_default_context(cafile=ca or None)
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot use the certificates of an export: {error}") from error
    return context

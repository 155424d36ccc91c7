"""The portal's messages as bytes: lines of JSON, and the chunks of a recording between them."""

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.portal.replies import AnyReply, Stream
from interlock.core.portal.requests import AnyRequest

MAX_REQUEST = 64 * 1024
"""Longest request line in bytes. The largest honest one carries an RSA public key: a few KiB."""

MAX_REPLY = 16 * 1024 * 1024
"""Longest reply line in bytes: an inventory of 50,000 nodes fits."""

CHUNK = 256 * 1024
"""Longest chunk of a recording in bytes; the sender cuts longer ones."""

_requests: msgspec.json.Decoder[AnyRequest] = msgspec.json.Decoder(AnyRequest)
_replies: msgspec.json.Decoder[AnyReply] = msgspec.json.Decoder(AnyReply)
_Message = TypeVar("_Message")


def encode(message: AnyRequest | AnyReply) -> bytes:
    """One line; JSON escapes line feeds, so the one at the end is the only one."""
    return msgspec.json.encode(message) + b"\n"


def parse_request(line: bytes) -> AnyRequest:
    """A request line without its line feed; RemoteProtocolError if it is none of ours."""
    return _parse(_requests, line)


def parse_reply(line: bytes) -> AnyReply:
    """A reply line without its line feed; RemoteProtocolError if it is none of ours."""
    return _parse(_replies, line)


def _parse(decoder: msgspec.json.Decoder[_Message], line: bytes) -> _Message:
    try:
        return decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, str(error)) from None
    except RecursionError:
        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, "nested too deeply") from None


END_OF_CHUNKS = bytes(4)
"""A chunk of length 0."""


def chunks(data: bytes) -> Iterator[bytes]:
    """Frame a piece of a recording. An empty piece gives nothing: a chunk of length 0 is the end."""
    for at in range(0, len(data), CHUNK):
        piece = data[at : at + CHUNK]
        yield len(piece).to_bytes(4, "big") + piece


class LineReader:
    """Cuts what arrives into lines, however it was cut into packets."""

    def __init__(self, limit: int = MAX_REQUEST) -> None:
        self._limit = limit
        self._held = bytearray()
        self._looked = 0  # bytes at the front of _held that have no line feed

    def add(self, data: bytes) -> None:
        """Hold what arrived. The caller stops reading while lines wait, so that this stays small."""
        self._held += data

    def next(self) -> bytes | None:
        """The next line without its line feed, or None; RemoteProtocolError when it is longer than the limit."""
        end = self._held.find(b"\n", self._looked)
        self._looked = len(self._held)
        if max(end, self._looked if end < 0 else 0) > self._limit:
            raise RemoteProtocolError(Rule.OVERSIZED_PACKET, f"a line of more than {self._limit} bytes")
        if end < 0:
            return None
        line = self.take(end)
        self.take(1)
        return line

    def take(self, size: int) -> bytes:
        """Up to ``size`` of the bytes that wait, whatever they are."""
        piece = bytes(self._held[:size])
        del self._held[:size]
        self._looked = 0
        return piece

    def __len__(self) -> int:
        """How many bytes wait."""
        return len(self._held)


class ReplyReader:
    """The tool's side: reply lines, and the bytes of chunks between `Stream` and its end."""

    def __init__(self) -> None:
        self._lines = LineReader(MAX_REPLY)
        self._streaming = False  # between `Stream` and the chunk of length 0
        self._left = 0  # bytes left of the current chunk

    def add(self, data: bytes) -> None:
        """Hold what arrived."""
        self._lines.add(data)

    def next(self) -> AnyReply | bytes | None:
        """A reply, a piece of a recording, or None when more must arrive; RemoteProtocolError if malformed."""
        return (self._next_piece() if self._streaming else None) or self._next_reply()

    def _next_reply(self) -> AnyReply | None:
        line = None if self._streaming else self._lines.next()
        if line is None:
            return None
        reply = parse_reply(line)
        self._streaming = isinstance(reply, Stream)
        return reply

    def _next_piece(self) -> bytes:
        """Bytes of the current or the next chunk; none if more must arrive or that was the end."""
        if self._left == 0:
            if len(self._lines) < len(END_OF_CHUNKS):
                return b""
            self._left = int.from_bytes(self._lines.take(4), "big")
            self._streaming = self._left > 0
        if self._left > CHUNK:
            raise RemoteProtocolError(Rule.OVERSIZED_PACKET, f"a chunk of {self._left} bytes")
        piece = self._lines.take(self._left)
        self._left -= len(piece)
        return piece

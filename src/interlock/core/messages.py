"""Connection-protocol messages (RFC 4254) that the relay makes itself, and the heads of those it reads."""

from dataclasses import dataclass

from interlock.core import wire
from interlock.core.wire import Reader, boolean, string, uint32

REQUEST_FAILURE = bytes([wire.REQUEST_FAILURE])


def global_request(name: bytes, *, want_reply: bool) -> bytes:
    """A global request without payload (§4)."""
    return bytes([wire.GLOBAL_REQUEST]) + string(name) + boolean(want_reply)


def request_success(data: bytes = b"") -> bytes:
    """The reply to a global request (§4)."""
    return bytes([wire.REQUEST_SUCCESS]) + data


def open_failure(recipient: int, code: int, text: str) -> bytes:
    """Refuse a channel (§5.1)."""
    head = bytes([wire.CHANNEL_OPEN_FAILURE]) + uint32(recipient) + uint32(code)
    return head + string(text) + string("en")


def channel_message(kind: int, recipient: int, rest: bytes = b"") -> bytes:
    """EOF, CLOSE, SUCCESS or FAILURE for a channel (§5.3, §5.4)."""
    return bytes([kind]) + uint32(recipient) + rest


def channel_request(recipient: int, name: bytes, *, want_reply: bool = False, data: bytes = b"") -> bytes:
    """A channel request (§5.4)."""
    return bytes([wire.CHANNEL_REQUEST]) + uint32(recipient) + string(name) + boolean(want_reply) + data


def channel_data(recipient: int, data: bytes, kind: int = 0) -> bytes:
    """Data for a channel; ``kind`` is the extended-data type, 0 for plain data (§5.2)."""
    if kind:
        return bytes([wire.CHANNEL_EXTENDED_DATA]) + uint32(recipient) + uint32(kind) + string(data)
    return bytes([wire.CHANNEL_DATA]) + uint32(recipient) + string(data)


def read_data(payload: bytes) -> tuple[int, bytes]:
    """The extended-data type, or 0, and the bytes of data for a channel (§5.2)."""
    reader = Reader(payload[5:])
    kind = reader.uint32() if payload[0] == wire.CHANNEL_EXTENDED_DATA else 0
    data = reader.string()
    reader.end()
    return kind, data


def window_adjust(recipient: int, amount: int) -> bytes:
    """Let the other side send so many bytes more (§5.2)."""
    return bytes([wire.CHANNEL_WINDOW_ADJUST]) + uint32(recipient) + uint32(amount)


def stderr_data(recipient: int, text: str) -> bytes:
    """Text for the person, on the channel's standard error (§5.2)."""
    return (
        bytes([wire.CHANNEL_EXTENDED_DATA]) + uint32(recipient) + uint32(wire.EXTENDED_DATA_STDERR) + string(text)
    )


def exit_status(data: bytes) -> int:
    """What follows want_reply in an ``exit-status`` request (§6.10)."""
    reader = Reader(data)
    status = reader.uint32()
    reader.end()
    return status


@dataclass(frozen=True, slots=True)
class Open:
    """A CHANNEL_OPEN (§5.1); ``extra`` is what follows the fixed fields."""

    kind: str
    sender: int
    window: int
    max_packet: int
    extra: bytes

    @classmethod
    def decode(cls, payload: bytes) -> "Open":
        """Read it."""
        reader = Reader(payload[1:])
        return cls(reader.text(), reader.uint32(), reader.uint32(), reader.uint32(), reader.rest())

    def encode(self, extra: bytes) -> bytes:
        """Write it with other extra data."""
        fixed = uint32(self.sender) + uint32(self.window) + uint32(self.max_packet)
        return bytes([wire.CHANNEL_OPEN]) + string(self.kind) + fixed + extra


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A CHANNEL_OPEN_CONFIRMATION (§5.1)."""

    recipient: int
    sender: int
    window: int
    max_packet: int
    extra: bytes

    @classmethod
    def decode(cls, payload: bytes) -> "Confirmation":
        """Read it."""
        reader = Reader(payload[1:])
        return cls(reader.uint32(), reader.uint32(), reader.uint32(), reader.uint32(), reader.rest())

    def encode(self, *, more_window: int = 0) -> bytes:
        """Write it, with window that the target granted since."""
        window = min(self.window + more_window, 0xFFFFFFFF)
        fixed = uint32(self.recipient) + uint32(self.sender) + uint32(window) + uint32(self.max_packet)
        return bytes([wire.CHANNEL_OPEN_CONFIRMATION]) + fixed + self.extra


@dataclass(frozen=True, slots=True)
class Request:
    """A GLOBAL_REQUEST (§4) or CHANNEL_REQUEST (§5.4); ``data`` is what follows want_reply."""

    recipient: int  # 0 for global requests
    name: bytes
    want_reply: bool
    data: bytes

    @classmethod
    def decode(cls, payload: bytes) -> "Request":
        """Read either kind."""
        reader = Reader(payload[1:])
        recipient = reader.uint32() if payload[0] == wire.CHANNEL_REQUEST else 0
        return cls(recipient, reader.string(), reader.boolean(), reader.rest())

    @property
    def text(self) -> str:
        """The name as audit events show it."""
        return self.name[:128].decode("ascii", "backslashreplace")

"""SSH primitives (RFC 4251 §5), encoded and decoded strictly: what does not parse is the peer's offence."""

from interlock.core.errors import RemoteProtocolError, Rule

# Message numbers (RFC 4250 §4.1)
DISCONNECT = 1
IGNORE = 2
UNIMPLEMENTED = 3
DEBUG = 4
KEXINIT = 20
NEWKEYS = 21
KEX_LAST = 49
USERAUTH_REQUEST = 50
GLOBAL_REQUEST = 80
REQUEST_SUCCESS = 81
REQUEST_FAILURE = 82
CHANNEL_OPEN = 90
CHANNEL_OPEN_CONFIRMATION = 91
CHANNEL_OPEN_FAILURE = 92
CHANNEL_WINDOW_ADJUST = 93
CHANNEL_DATA = 94
CHANNEL_EXTENDED_DATA = 95
CHANNEL_EOF = 96
CHANNEL_CLOSE = 97
CHANNEL_REQUEST = 98
CHANNEL_SUCCESS = 99
CHANNEL_FAILURE = 100

EXTENDED_DATA_STDERR = 1

# CHANNEL_OPEN_FAILURE reasons (RFC 4254 §5.1)
OPEN_ADMINISTRATIVELY_PROHIBITED = 1
OPEN_CONNECT_FAILED = 2
OPEN_UNKNOWN_CHANNEL_TYPE = 3
OPEN_RESOURCE_SHORTAGE = 4

# DISCONNECT reasons (RFC 4253 §11.1)
DISCONNECT_PROTOCOL_ERROR = 2
DISCONNECT_BY_APPLICATION = 11


def uint32(value: int) -> bytes:
    """Four bytes, big-endian."""
    return value.to_bytes(4, "big")


def string(value: bytes | str) -> bytes:
    """Length and bytes; text is UTF-8."""
    data = value.encode() if isinstance(value, str) else value
    return len(data).to_bytes(4, "big") + data


def boolean(value: bool) -> bytes:
    """One byte."""
    return b"\x01" if value else b"\x00"


class Reader:
    """Takes one message apart, front to back; running off its end raises RemoteProtocolError."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, f"{size} bytes wanted at {self._at}")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def byte(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def boolean(self) -> bool:
        """One byte; any value but 0 is true (RFC 4251 §5)."""
        return self.take(1) != b"\x00"

    def uint32(self) -> int:
        """Four bytes, big-endian."""
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        """A length-prefixed string."""
        return self.take(self.uint32())

    def text(self) -> str:
        """A string that must be UTF-8."""
        try:
            return self.string().decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, "not UTF-8") from None

    def rest(self) -> bytes:
        """All that is left."""
        piece = self._data[self._at :]
        self._at = len(self._data)
        return piece

    def end(self) -> None:
        """Insist that nothing is left."""
        if self._at != len(self._data):
            raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, f"{len(self._data) - self._at} bytes too many")

"""A log of decrypted SSH messages, one line each, to be read and compared in tests.

Numbers that differ from run to run (session IDs) are replaced by names, so that a flow has one transcript.
"""

import re
from dataclasses import dataclass, field

from interlock.core.errors import RemoteProtocolError
from interlock.core.wire import Reader

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

NAMES = {
    1: "DISCONNECT",
    2: "IGNORE",
    3: "UNIMPLEMENTED",
    4: "DEBUG",
    5: "SERVICE_REQUEST",
    6: "SERVICE_ACCEPT",
    7: "EXT_INFO",
    20: "KEXINIT",
    21: "NEWKEYS",
    30: "KEX_ECDH_INIT",
    31: "KEX_ECDH_REPLY",
    50: "USERAUTH_REQUEST",
    51: "USERAUTH_FAILURE",
    52: "USERAUTH_SUCCESS",
    53: "USERAUTH_BANNER",
    60: "USERAUTH_PK_OK",
    80: "GLOBAL_REQUEST",
    81: "REQUEST_SUCCESS",
    82: "REQUEST_FAILURE",
    90: "CHANNEL_OPEN",
    91: "CHANNEL_OPEN_CONFIRMATION",
    92: "CHANNEL_OPEN_FAILURE",
    93: "CHANNEL_WINDOW_ADJUST",
    94: "CHANNEL_DATA",
    95: "CHANNEL_EXTENDED_DATA",
    96: "CHANNEL_EOF",
    97: "CHANNEL_CLOSE",
    98: "CHANNEL_REQUEST",
    99: "CHANNEL_SUCCESS",
    100: "CHANNEL_FAILURE",
}
"""Message numbers of RFC 4250 §4.1, with the names of one key exchange method."""


def describe(payload: bytes) -> str:
    """One message in words; fields that tests are not about (cookies, keys, signatures) are left out."""
    name = NAMES.get(payload[0], f"MESSAGE_{payload[0]}") if payload else "EMPTY"
    try:
        return _described(name, payload)
    except RemoteProtocolError:
        return f"{name} malformed {payload[1:33].hex()}"


def _described(name: str, payload: bytes) -> str:
    reader = Reader(payload[1:])
    match name:
        case "DISCONNECT":
            return f"{name} {reader.uint32()} {_text(reader)!r}"
        case "GLOBAL_REQUEST":
            return f"{name} {_text(reader)} want={reader.byte()}"
        case "CHANNEL_OPEN":
            return f"{name} {_text(reader)} {reader.uint32()}"
        case "CHANNEL_OPEN_FAILURE":
            return f"{name} {reader.uint32()} {reader.uint32()} {_text(reader)!r}"
        case "CHANNEL_REQUEST":
            return f"{name} {reader.uint32()} {_text(reader)} want={reader.byte()} {reader.rest()!r}"
        case "CHANNEL_DATA":
            return f"{name} {reader.uint32()} {_text(reader)!r}"
        case "CHANNEL_EXTENDED_DATA":
            return f"{name} {reader.uint32()} {reader.uint32()} {_text(reader)!r}"
        case _ if len(payload) >= 5 and payload[0] > 90:
            return f"{name} {reader.uint32()}"
        case _:
            return name


def _text(reader: Reader) -> str:
    return reader.string()[:200].decode("utf-8", "backslashreplace")


@dataclass(slots=True)
class WireLog:
    """Messages of one connection, in order; ``<`` was received and ``>`` sent by whoever keeps the log."""

    lines: list[str] = field(default_factory=list)
    sids: dict[str, str] = field(default_factory=dict)  # the session IDs seen, and the names they were given

    def add(self, direction: str, payload: bytes) -> None:
        """Note one message; ``direction`` is ``<`` or ``>``."""
        self.lines.append(f"{direction} {_UUID.sub(self._name, describe(payload))}")

    def since(self, kind: str) -> list[str]:
        """The lines from the first message of this name on."""
        at = next((i for i, line in enumerate(self.lines) if line.split()[1] == kind), len(self.lines))
        return self.lines[at:]

    def _name(self, found: re.Match[str]) -> str:
        return self.sids.setdefault(found[0], f"<sid{len(self.sids) + 1}>")

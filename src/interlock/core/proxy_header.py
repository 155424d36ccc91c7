"""The PROXY protocol, versions 1 and 2: how a load balancer says whose connection it passes on.

A header stands before the first byte of the connection. Nothing here knows who may send one: whoever reads it from
somebody who is not trusted with it lets clients choose their own address.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from interlock.core.errors import RemoteProtocolError, Rule

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
MAX_PROXY_HEADER = 4096
"""Bytes of a header with all that is attached to it: version 1 has 107, version 2 with addresses alone 52."""

_MAX_LINE = 107
_FIXED = 16
_LINE = re.compile(
    r"PROXY (TCP4|TCP6) ([0-9A-Fa-f.:]{1,45}) ([0-9A-Fa-f.:]{1,45}) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})"
)
_ADDRESSES = {0x11: 4, 0x21: 16}  # TCP over IPv4 and IPv6: bytes of an address
_OTHERS = {0x00, 0x12, 0x22, 0x31, 0x32}  # unspecified, UDP, UNIX sockets: nothing to say about a client


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection comes from. Empty: from whoever passes it on, such as a load balancer's own question."""

    host: str = ""
    port: int = 0


class HeaderReader:
    """Feed it what arrives; whatever is cut how, the result is the same."""

    def __init__(self) -> None:
        self._held = bytearray()
        self.rest = b""  # what came behind the header, once there is a result

    def feed(self, data: bytes) -> Origin | None:
        """The origin, once the header is there in full; RemoteProtocolError if it is none."""
        self._held += data
        found = self._binary() if self._held[:1] == SIGNATURE[:1] else self._line()
        if found is None:
            return None
        origin, size = found
        self.rest = bytes(self._held[size:])
        self._held.clear()
        return origin

    def _line(self) -> tuple[Origin, int] | None:
        begin = b"PROXY "
        if bytes(self._held[: len(begin)]) != begin[: len(self._held)]:
            raise _wrong("it begins otherwise")
        end = self._held.find(b"\r\n", 0, _MAX_LINE)
        if end < 0:
            if len(self._held) >= _MAX_LINE:
                raise _wrong("its line does not end")
            return None
        line = self._held[:end].decode("latin-1")
        if line.split(" ")[1] == "UNKNOWN":
            return Origin(), end + 2
        match = _LINE.fullmatch(line)
        if match is None:
            raise _wrong("its line cannot be read")
        family, source, destination, *ports = match.groups()
        kind = IPv4Address if family == "TCP4" else IPv6Address
        try:
            host = str(kind(source))
            kind(destination)
        except ValueError:
            raise _wrong("an address cannot be read") from None
        if max(map(int, ports)) > 0xFFFF:
            raise _wrong("a port is none")
        return Origin(host, int(ports[0])), end + 2

    def _binary(self) -> tuple[Origin, int] | None:
        held = self._held
        if bytes(held[: len(SIGNATURE)]) != SIGNATURE[: len(held)]:
            raise _wrong("it begins otherwise")
        if len(held) < _FIXED:
            return None
        version, command, family = held[12] >> 4, held[12] & 15, held[13]
        length = int.from_bytes(held[14:16], "big")
        if version != 2 or command > 1 or (command == 1 and family not in _ADDRESSES.keys() | _OTHERS):
            raise _wrong("its version or family is unknown")
        if _FIXED + length > MAX_PROXY_HEADER:
            raise _wrong(f"it is longer than {MAX_PROXY_HEADER} bytes")
        if command == 1 and length < 2 * _ADDRESSES.get(family, -2) + 4:
            raise _wrong("its addresses are cut off")
        if len(held) < _FIXED + length:
            return None
        size = _ADDRESSES.get(family)
        if command == 0 or size is None:
            return Origin(), _FIXED + length
        raw = bytes(held[_FIXED : _FIXED + size])
        host = str(IPv4Address(raw) if size == 4 else IPv6Address(raw))
        ports = _FIXED + 2 * size
        return Origin(host, int.from_bytes(held[ports : ports + 2], "big")), _FIXED + length


def _wrong(detail: str) -> RemoteProtocolError:
    return RemoteProtocolError(Rule.PROXY_HEADER, detail)

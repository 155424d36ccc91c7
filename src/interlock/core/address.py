"""Network addresses as text: the one place that reads and writes ``host:port`` with IPv6 in brackets.

What was parsed here may be an argument of ``ssh``, part of a file name and a line of a log (R26): a host is a host
name or an IP address, never anything that begins with a dash. Names are not looked up here.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address, ip_network

MAX_PORT = 0xFFFF

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
_SITE_BITS = 64
_SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,15}")  # an interface's name or number
_SPLIT = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:]*))(?::(?P<port>[0-9]{1,5}))?")


def parse_address(text: str, *, default_port: int | None = None) -> tuple[str, int]:
    """Host and port of ``host:port`` or ``[IPv6]:port``; ValueError if it is neither or the port is 0.

    With ``default_port`` the port may be left out, and an IPv6 address without one needs no brackets.
    """
    if default_port is not None and text.count(":") > 1 and not text.startswith("["):
        return _ipv6(text), default_port
    host, port = _split(text, default_port)
    if not host or port == 0:
        raise _malformed(text)
    return host, port


def parse_listen(text: str) -> tuple[str, int]:
    """The same for a listener, where no host means every interface and port 0 one that the system chooses."""
    return _split(text, None)


def format_address(host: str, port: int) -> str:
    """As `parse_address` reads it: an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def source_of(text: str) -> str:
    """Who counts as one source of connections: an IPv4 address, or an IPv6 /64, which one customer has all of.

    ``text`` is an IP address, with or without a port; an empty string if it is neither.
    """
    try:
        address = ip_address(parse_address(text, default_port=1)[0])
    except ValueError:
        return ""
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:  # a listener for both families shows IPv4 clients like this
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> _SITE_BITS << _SITE_BITS)}/{_SITE_BITS}"


def within(networks: Iterable[str], text: str) -> bool:
    """Whether an IP address, with or without a port, is in one of the networks (CIDR); False if it is none."""
    try:
        address = ip_address(parse_address(text, default_port=1)[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any((mapped or address) in ip_network(each, strict=False) for each in networks)


def _split(text: str, default_port: int | None) -> tuple[str, int]:
    match = _SPLIT.fullmatch(text)
    port = default_port if match is None or match["port"] is None else int(match["port"])
    if match is None or port is None or port > MAX_PORT:
        raise _malformed(text)
    if match["v6"] is not None:
        return _ipv6(match["v6"]), port
    host = match["host"]
    if host and not _HOST.fullmatch(host):
        raise _malformed(text)
    return host, port


def _ipv6(text: str) -> str:
    address, percent, scope = text.partition("%")
    try:
        plain = str(IPv6Address(address))
    except ValueError:
        raise _malformed(text) from None
    if percent and not _SCOPE.fullmatch(scope):
        raise _malformed(text)
    return plain + percent + scope


def _malformed(text: str) -> ValueError:
    return ValueError(f"not an address: {text[:100]!r}")

"""Where nothing may be forwarded to, whatever roles say: metadata services, and the gateway's own ports.

An address is judged as the system would read it: ``169.254.169.254`` is also ``0xa9fea9fe``, ``2852039166`` and
``::ffff:a9fe:a9fe``. Names are judged by whoever resolves them, after they are resolved, so that a name that
changes its mind (DNS rebinding) gets nowhere (R5).
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_PART = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_IPV4_BITS = 32
_METADATA = frozenset(
    {
        IPv6Address("fd00:ec2::254"),
        IPv4Address("100.100.100.200"),
        IPv4Address("168.63.129.16"),
        IPv4Address("192.0.0.192"),
    }
)
"""Metadata services of clouds that are not at a link-local address."""

_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "metadata.goog", "instance-data"})
"""Names that only such services have: a plain sshd resolves names where we do not see it."""

_WRAPS = frozenset({0, 0xFFFF0000, 0x64FF9B << 64})
"""What stands before an IPv4 address: ::a.b.c.d, ::ffff:0:a.b.c.d (SIIT) and 64:ff9b::a.b.c.d (NAT64)."""

_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")

NOT_THERE = "forwarding to link-local and metadata addresses is not allowed"
NOT_TO_US = "forwarding to the gateway itself is not allowed"


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is when it is no name, in all spellings of inet_aton(3); None for names."""
    text = (host.split() or [""])[0].rstrip(".")  # as old resolvers read it: up to a blank
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return _old_spelling(text)
    return _plain(address)


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """An IPv4 address in the place of an IPv6 address that only wraps it."""
    if isinstance(address, IPv6Address):
        wrapped = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        wraps = int(address) >> _IPV4_BITS in _WRAPS or address in _LOCAL_NAT64
        if wrapped is None and wraps and int(address) > 1:
            wrapped = IPv4Address(int(address) & 0xFFFFFFFF)
        return wrapped or IPv6Address(int(address))  # without a scope
    return address


def _old_spelling(host: str) -> IPv4Address | None:
    parts = host.split(".")
    if not 1 <= len(parts) <= 4 or not all(_PART.fullmatch(part) for part in parts):
        return None
    try:
        numbers = [_number(part) for part in parts]
    except ValueError:
        return None
    *leading, last = numbers
    if any(number > 0xFF for number in leading) or last >= 1 << 8 * (4 - len(leading)):
        return None
    value = last
    for place, number in enumerate(leading):
        value |= number << 8 * (3 - place)
    return IPv4Address(value)


def _number(part: str) -> int:
    if part[:2].lower() == "0x":
        return int(part[2:] or "0", 16)
    return int(part, 8) if part.startswith("0") and len(part) > 1 else int(part)


def link_local(host: str, _port: int = 0) -> str | None:
    """Why nothing may be forwarded to this address, for the person; None if it may, or if it is a name."""
    address = literal(host)
    name = host.strip().rstrip(".").lower()
    forbidden = name in _METADATA_NAMES or (
        address is not None and (address.is_link_local or address in _METADATA)
    )
    return NOT_THERE if forbidden else None


def forbidden(
    addresses: Iterable[str], port: int, *, ours: frozenset[tuple[str, int]], is_local: bool
) -> str | None:
    """Why a host that was resolved must not be reached; None if it may.

    ``ours``: addresses and ports of the gateway's own listeners, as far as they are known here. ``is_local``:
    whether the resolved addresses are this machine's, where a listener on every interface answers at each.
    """
    for each in addresses:
        if (why := link_local(each)) is not None:
            return why
        address = str(literal(each))
        if any(port == own_port and (address == own or (is_local and own == "")) for own, own_port in ours):
            return NOT_TO_US
    return None

"""The PROXY protocol: what is said is understood however it is cut, and nothing else is taken for it."""

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import RemoteProtocolError
from interlock.core.proxy_header import MAX_PROXY_HEADER, SIGNATURE, HeaderReader, Origin

V4, V6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
PORTS = st.integers(0, 65535)
REST = b"SSH-2.0-x\r\n"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def line(source: Address, port: int) -> bytes:
    """Version 1."""
    return f"PROXY TCP{source.version} {source} {source} {port} 22\r\n".encode()


def binary(source: Address, port: int, more: bytes = b"", *, command: int = 0x21) -> bytes:
    """Version 2, with what is attached."""
    fields = source.packed * 2 + port.to_bytes(2, "big") + bytes(2) + more
    family = 0x11 if source.version == 4 else 0x21
    return SIGNATURE + bytes([command, family]) + len(fields).to_bytes(2, "big") + fields


def read(data: bytes) -> tuple[Origin | None, bytes]:
    """The result, and what is left."""
    reader = HeaderReader()
    return reader.feed(data), reader.rest


@given(st.one_of(V4, V6), PORTS, st.binary(max_size=100), st.lists(st.integers(1, 40), max_size=20), st.booleans())
def test_what_is_said_is_understood_however_it_is_cut(
    source: Address, port: int, more: bytes, cuts: list[int], text: bool
) -> None:
    """In both versions; what follows is not touched."""
    whole = (line(source, port) if text else binary(source, port, more)) + REST
    reader = HeaderReader()
    origin, at, fed = None, 0, 0
    for size in [*cuts, len(whole)]:
        origin, fed = reader.feed(whole[at : at + size]), at + size
        at = fed
        if origin is not None:
            break
    assert origin == Origin(str(source), port)
    assert reader.rest + whole[fed:] == REST


@given(
    st.one_of(
        st.binary(max_size=300), st.binary(max_size=300).map(SIGNATURE.__add__), st.binary().map(b"PROXY ".__add__)
    )
)
def test_anything_is_understood_or_refused(data: bytes) -> None:
    """At the latest when as much has come as a header may have; nothing else happens."""
    reader = HeaderReader()
    with contextlib.suppress(RemoteProtocolError):
        origin = reader.feed(data) or reader.feed(b"\0" * MAX_PROXY_HEADER)
        assert origin is not None


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN ffff:f...f 1 2 3\r\n",
        binary(ipaddress.ip_address("192.0.2.1"), 1, command=0x20),
        SIGNATURE + b"\x21\x00\x00\x00",
        SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
    ],
    ids=["unknown", "unknown with more", "its own question", "unspecified", "a UNIX socket"],
)
def test_connections_without_a_client(header: bytes) -> None:
    """They are whoever's they come from: health checks, for the most part."""
    assert read(header + REST) == (Origin(), REST)


@pytest.mark.parametrize(
    "header",
    [
        REST,
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1%eth0 192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1\n192.0.2.2 1 2\r\n",
        b"PROXY " + b"x" * 101,
        b"\r\n\r\n\0\r\nQUIX",
        SIGNATURE + b"\x11\x11\x00\x0c",
        SIGNATURE + b"\x22\x11\x00\x0c",
        SIGNATURE + b"\x21\x41\x00\x0c",
        SIGNATURE + b"\x21\x11\x00\x0b",
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_none_is_refused(header: bytes) -> None:
    """At once: nobody waits for the rest of it."""
    with pytest.raises(RemoteProtocolError, match="load balancer"):
        read(header)

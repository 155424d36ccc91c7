"""Addresses are read and written in one way, IPv6 included."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.address import MAX_PORT, format_address, parse_address, parse_listen, source_of

HOSTILE = ["", ":22", "-oProxyCommand=x:22", "a b:22", "a/b:22", "a:b:22", "[::1]", "[::1]22", "[a]:22", "web:"]
HOSTILE += [
    "web:0",
    "web:65536",
    "web:-1",
    "web:\u0662",
    "::1:22",
    "[::1%a b]:22",
    "[::1%]:22",
    "web:22\n",
    "a:22:",
]


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("web1.example.org:22", "web1.example.org", 22),
        ("10.0.0.7:65535", "10.0.0.7", 65535),
        ("[2001:DB8:0::7]:22", "2001:db8::7", 22),
        ("[fe80::1%eth0]:22", "fe80::1%eth0", 22),
    ],
)
def test_an_address_has_host_and_port(text: str, host: str, port: int) -> None:
    """Host names and both kinds of IP address; IPv6 in its canonical form."""
    assert parse_address(text) == (host, port)
    assert parse_address(format_address(host, port)) == (host, port)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Options of ssh, paths, lists, ports that do not exist."""
    with pytest.raises(ValueError, match="not an address"):
        parse_address(text)


@pytest.mark.parametrize("text", ["web1", "[::1]", "::1", "0:0:0:0:0:0:0:1"])
def test_with_a_default_the_port_may_be_left_out(text: str) -> None:
    """And only then does an IPv6 address need no brackets."""
    assert parse_address(text, default_port=3023) == ("web1" if text == "web1" else "::1", 3023)
    with pytest.raises(ValueError, match="not an address"):
        parse_address(text)


@pytest.mark.parametrize("text", ["", "-a", "::1%-o x", "[::1", "web:", "a:b"])
def test_a_default_port_excuses_nothing_else(text: str) -> None:
    """The host is still a host."""
    with pytest.raises(ValueError, match="not an address"):
        parse_address(text, default_port=22)


def test_a_listener_may_leave_host_and_port_open() -> None:
    """``:0`` is every interface and any port; a missing port is a mistake."""
    assert parse_listen(":0") == ("", 0)
    assert parse_listen("[::]:3023") == ("::", 3023)
    for text in ("3023", "-a:1", "web1", "web1:65536"):
        with pytest.raises(ValueError, match="not an address"):
            parse_listen(text)


@given(st.ip_addresses().map(str), st.integers(1, MAX_PORT))
def test_what_is_written_can_be_read(host: str, port: int) -> None:
    """For every IP address and port."""
    assert parse_address(format_address(host, port)) == (host, port)


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("192.0.2.7:4711", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:db8:1:2:3::4]:22", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::5", "2001:db8:1:2::/64"),
        ("[::ffff:192.0.2.7]:22", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("somewhere", ""),
        ("", ""),
    ],
)
def test_a_source_is_an_address_or_a_network(text: str, source: str) -> None:
    """IPv4 clients of a listener for both families are not one big network."""
    assert source_of(text) == source

"""Addresses that nothing may be forwarded to, in every spelling that some system understands (R5)."""

import pytest

from interlock.domain.reach import NOT_THERE, NOT_TO_US, forbidden, link_local, literal

LINK_LOCAL = [
    "169.254.169.254",
    "169.254.1.1",
    "169.16689662",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "2852039166",
    "[::ffff:169.254.169.254]",
    "::ffff:a9fe:a9fe",
    "::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "100.100.100.200",
]
HARMLESS = [
    "10.0.0.1",
    "127.0.0.1",
    "::1",
    "localhost",
    "db.example.org",
    "2130706433",
    "0x7f.1",
    "256.1",
    "1.2.3.4.5",
    "",
]


@pytest.mark.parametrize("host", LINK_LOCAL)
def test_link_local_and_metadata_addresses(host: str) -> None:
    """Whoever spells them how."""
    assert link_local(host) == NOT_THERE
    assert forbidden([host], 80, ours=frozenset(), is_local=False) == NOT_THERE


@pytest.mark.parametrize("host", HARMLESS)
def test_others_pass(host: str) -> None:
    """The target's own loopback is a good place to go; names are judged after they are resolved."""
    assert link_local(host) is None


@pytest.mark.parametrize(
    ("host", "address"), [("2130706433", "127.0.0.1"), ("0x7f.1", "127.0.0.1"), ("010.1", "8.0.0.1")]
)
def test_old_spellings(host: str, address: str) -> None:
    """As inet_aton(3) reads them."""
    assert str(literal(host)) == address


@pytest.mark.parametrize("host", ["256.1", "1.2.3.4.5", "08.1", "1..2", "a.b", "0x1ffffffff", "-1"])
def test_what_is_no_address_is_a_name(host: str) -> None:
    """Nothing is read into it."""
    assert literal(host) is None


def test_the_gateways_own_ports() -> None:
    """By address, and on every address of its machine where it listens on all."""
    ours = frozenset({("10.0.0.9", 3025), ("", 3023)})
    assert forbidden(["10.0.0.9"], 3025, ours=ours, is_local=False) == NOT_TO_US
    assert forbidden(["10.0.0.9"], 3024, ours=ours, is_local=False) is None
    assert forbidden(["10.0.0.8"], 3025, ours=ours, is_local=False) is None
    assert forbidden(["127.0.0.1"], 3023, ours=ours, is_local=True) == NOT_TO_US
    assert forbidden(["10.0.0.8"], 3023, ours=ours, is_local=False) is None

"""Auth's own certificate stays fresh while auth runs."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from interlock.adapters.rpc.tls import check_pin, first_address, server_certificate, split_addresses
from interlock.adapters.system import SystemClock
from interlock.core.errors import ConfigError
from interlock.services.keys.daemonca import SERVER_LIFE, expiry
from interlock.testing.auth import Auth
from interlock.testing.clock import FakeClock


async def test_auths_certificate_is_renewed_without_a_restart(tmp_path: Path) -> None:
    """At half-life the next handshake gets a new one; the same one until then."""
    auth = Auth(tmp_path / "auth")
    start = SystemClock().now()
    clock = FakeClock(start)
    auth.clock = clock
    await auth.start()
    try:
        address = auth.bound.join
        first = await server_certificate(address)
        clock.advance(SERVER_LIFE / 2 - timedelta(hours=1))
        assert await server_certificate(address) == first
        clock.advance(timedelta(hours=2))
        second = await server_certificate(address)
        assert expiry(second) > expiry(first)
        assert second != first
    finally:
        await auth.stop()


async def test_each_start_has_a_certificate_of_its_own(auth: Auth) -> None:
    """No key of auth's listeners is ever on disk."""
    first = await server_certificate(auth.bound.join)
    await auth.stop()
    await auth.start()
    second = await server_certificate(auth.bound.join)
    serials = {x509.load_pem_x509_certificate(each.encode()).serial_number for each in (first, second)}
    assert len(serials) == 2
    assert list(auth.directory.iterdir()) == []


def test_a_pin_matches_one_certificate(tmp_path: Path) -> None:
    """And what is no certificate matches nothing."""
    ours, other = Auth(tmp_path / "ours"), Auth(tmp_path / "other")
    check_pin(ours.ca.certificate, ours.ca.pin)
    for wrong in (other.ca.certificate, "", "garbage"):
        with pytest.raises(ConfigError):
            check_pin(wrong, ours.ca.pin)


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        ("auth.example.com:3025", (("auth.example.com", 3025),)),
        ("10.0.0.1:1,10.0.0.2:2", (("10.0.0.1", 1), ("10.0.0.2", 2))),
        ("[::1]:1,[::2]:2", (("::1", 1), ("::2", 2))),
    ],
)
def test_addresses_of_one_or_several_auths(addresses: str, found: tuple[tuple[str, int], ...]) -> None:
    """A name is good for one only."""
    assert split_addresses(addresses) == found
    assert first_address(addresses) == found[0]


@pytest.mark.parametrize("addresses", ["a.example.com:1,10.0.0.2:2", "10.0.0.1:1,[::2]:2", "10.0.0.1:1,", "x"])
def test_addresses_that_cannot_be_used_together(addresses: str) -> None:
    """Said when they are read, not when the first auth dies."""
    with pytest.raises(ConfigError):
        split_addresses(addresses)

"""The daemons' X.509 authority: what it vouches for, and what it refuses to sign."""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from interlock.core.errors import Denied, StoreError
from interlock.core.ids import DaemonId
from interlock.ports import DaemonCaKeys
from interlock.services.keys.daemonca import (
    AUTH_SERVER_NAME,
    CLOCK_SKEW,
    DAEMON_LIFE,
    DaemonCa,
    HostIdentity,
    certificate_pin,
    create_authority,
    create_key,
    create_request,
    expiry,
    half_life,
    open_daemon_ca,
    read_identity,
)
from interlock.testing.clock import START
from interlock.testing.entropy import FakeEntropy

NODE = HostIdentity("example", DaemonId("11111111-1111-4111-8111-111111111111"), ("db1", "a_b@c.example"))


@pytest.fixture(scope="module")
def keys() -> DaemonCaKeys:
    """An authority's keys."""
    return create_authority("example", entropy=FakeEntropy(), now=START)


@pytest.fixture
def ca(keys: DaemonCaKeys) -> DaemonCa:
    """The authority."""
    return DaemonCa(keys, cluster="example", entropy=FakeEntropy())


def issued(ca: DaemonCa, identity: HostIdentity = NODE) -> str:
    """A daemon's certificate."""
    return ca.issue_daemon(create_request(create_key()), identity, now=START)


def test_a_certificate_names_its_daemon_and_all_its_hosts(ca: DaemonCa) -> None:
    """What goes in comes out, characters that URIs reserve included."""
    assert read_identity(issued(ca), cluster="example") == NODE


def test_a_daemon_is_a_client_and_never_a_server(ca: DaemonCa) -> None:
    """Purpose and names keep it from passing as auth; and it cannot sign others."""
    certificate = x509.load_pem_x509_certificate(issued(ca).encode())
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert names.get_values_for_type(x509.DNSName) == []
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_auth_is_a_server_under_its_one_name(ca: DaemonCa) -> None:
    """Whatever address it is reached at."""
    certificate = x509.load_pem_x509_certificate(ca.issue_server(now=START).certificate.encode())
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert names.get_values_for_type(x509.DNSName) == [AUTH_SERVER_NAME]


def test_auths_own_certificate_is_no_daemons(ca: DaemonCa) -> None:
    """It names no node."""
    with pytest.raises(Denied):
        read_identity(ca.issue_server(now=START).certificate, cluster="example")


def test_a_certificate_counts_in_its_cluster_only(ca: DaemonCa) -> None:
    """A name of another cluster makes it worthless here."""
    with pytest.raises(Denied):
        read_identity(issued(ca), cluster="elsewhere")


def test_a_certificate_without_names_is_nobodys(keys: DaemonCaKeys) -> None:
    """The authority's own has none."""
    with pytest.raises(Denied, match="does not name a daemon"):
        read_identity(keys.certificate, cluster="example")


def test_certificates_live_for_days_and_are_due_at_half_life(ca: DaemonCa) -> None:
    """A daemon whose clock is a little behind can use it at once."""
    certificate = issued(ca)
    assert expiry(certificate) == START.replace(microsecond=0) + DAEMON_LIFE
    due = half_life(certificate)
    assert abs(due - (START + (DAEMON_LIFE - CLOCK_SKEW) / 2)) < timedelta(seconds=2)


def test_the_pin_belongs_to_one_authority(ca: DaemonCa, keys: DaemonCaKeys) -> None:
    """And a second one of the same name has another."""
    again = create_authority("example", entropy=FakeEntropy(), now=START)
    assert ca.pin == certificate_pin(keys.certificate) != certificate_pin(again.certificate)
    assert len(ca.pin) == 43


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)])
def test_only_requests_of_our_kind_of_key_are_signed(
    ca: DaemonCa, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    """One algorithm, so that nobody has to think about others."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    request = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    with pytest.raises(Denied):
        ca.issue_daemon(request, NODE, now=START)


def test_a_request_that_is_not_signed_by_its_key_is_refused(ca: DaemonCa) -> None:
    """Possession is proved, not claimed; and garbage is no request."""
    request = bytearray(create_request(create_key()))
    request[-1] ^= 1
    for wrong in (bytes(request), b"", b"garbage"):
        with pytest.raises(Denied):
            ca.issue_daemon(wrong, NODE, now=START)


def test_keys_of_another_kind_are_a_storage_error(keys: DaemonCaKeys) -> None:
    """What is in the database must be what we put there."""
    key = rsa.generate_private_key(65537, 2048)
    pem, pkcs8, clear = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    wrong = DaemonCaKeys(key.private_bytes(pem, pkcs8, clear).decode(), keys.certificate)
    with pytest.raises(StoreError):
        DaemonCa(wrong, cluster="example", entropy=FakeEntropy())


@dataclass
class OneCa:
    """A store that keeps the first authority."""

    kept: DaemonCaKeys | None = None

    async def daemon_ca(self) -> DaemonCaKeys | None:
        return self.kept

    async def keep_daemon_ca(self, keys: DaemonCaKeys) -> DaemonCaKeys:
        self.kept = self.kept or keys
        return self.kept


async def test_an_authority_is_made_once() -> None:
    """The second start finds the first one's."""
    store = OneCa()
    first = await open_daemon_ca(store, cluster="example", entropy=FakeEntropy(), now=START)
    second = await open_daemon_ca(store, cluster="example", entropy=FakeEntropy(), now=START)
    assert first.pin == second.pin

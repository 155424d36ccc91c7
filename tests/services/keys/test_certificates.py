"""User certificates are refused unless everything about them is right."""

from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core.certificate import Certificate, CertKind, PublicKey, SignedCertificate
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.core.wire import string
from interlock.domain.access import HardwareKey
from interlock.domain.bounds import NO_BOUNDS, Bounds, Permission
from interlock.domain.identity import RECOVERY, Forwarded, Identity
from interlock.services.keys.certificates import (
    DEVICE_EXTENSIONS,
    IDENTITY_EXTENSION,
    REMEMBERED,
    TUNNEL_EXTENSION,
    CertificateReader,
    encode_claims,
    encode_devices,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
ALICE = Identity("alice", ("dev", "ops"), "demo")
CA = Ed25519PrivateKey.from_private_bytes(b"c" * 32)
OTHER_CA = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
SUBJECT = Ed25519PrivateKey.from_private_bytes(b"s" * 32)


def public(key: Ed25519PrivateKey) -> PublicKey:
    """The public half as SSH writes it."""
    return PublicKey("ssh-ed25519", (key.public_key().public_bytes_raw(),))


ALL: tuple[tuple[str, str | None], ...] = tuple(
    (name, None) for name in sorted(each.extension for each in Permission)
)

RIGHT = Certificate(
    nonce=b"n" * 32,
    key=public(SUBJECT),
    serial=7,
    kind=CertKind.USER,
    key_id="alice",
    principals=("root", "ubuntu"),
    valid_after=int((NOW - timedelta(minutes=1)).timestamp()),
    valid_before=int((NOW + timedelta(hours=1)).timestamp()),
    critical_options=(),
    extensions=((IDENTITY_EXTENSION, encode_claims(ALICE, None)), *ALL),
    authority=public(CA),
)


def signed(certificate: Certificate, key: Ed25519PrivateKey = CA) -> bytes:
    """The certificate in wire form, signed."""
    return b64decode(certificate.line(key.sign(certificate.signed_part())).split()[1])


@pytest.fixture
def reader() -> CertificateReader:
    """Trusts one authority."""
    return CertificateReader([public(CA).line("user-ca")])


def test_a_right_certificate_gives_its_claims(reader: CertificateReader) -> None:
    """All of them."""
    claims = reader.read(signed(RIGHT), now=NOW)
    assert claims.identity == ALICE
    assert claims.logins == ("root", "ubuntu")
    assert claims.serial == 7
    assert (claims.valid_after, claims.valid_before) == (NOW - timedelta(minutes=1), NOW + timedelta(hours=1))
    assert claims.forwarded is None
    assert claims.source_networks == ()


def test_the_devices_of_a_sign_in_and_of_a_connection_are_read_apart(reader: CertificateReader) -> None:
    """Each only if there is one: whoever has none has the certificate of before."""
    phone, token = "11111111-0000-4000-8000-00000000000d", "22222222-0000-4000-8000-00000000000d"
    assert encode_devices(ALICE) == ()
    for identity in (
        replace(ALICE, device=phone),
        replace(ALICE, confirmed=token),
        replace(ALICE, device=RECOVERY, confirmed=phone),
    ):
        extensions = ((IDENTITY_EXTENSION, encode_claims(identity, None)), *ALL, *encode_devices(identity))
        assert reader.read(signed(replace(RIGHT, extensions=extensions)), now=NOW).identity == identity
    nowhere = replace(RIGHT, extensions=(*RIGHT.extensions, (DEVICE_EXTENSIONS[0], "phone")))
    with pytest.raises(Denied, match="not accepted"):
        reader.read(signed(nowhere), now=NOW)


def test_what_a_key_has_shown_is_a_forwarders_word_alone(reader: CertificateReader) -> None:
    """A person's own certificate cannot say it: there the signature does."""
    shown = replace(ALICE, hardware=HardwareKey.PIN)
    hand_over = Forwarded(DaemonId("t"), DaemonId("p"), records=True)
    for forwarded, hardware in ((hand_over, HardwareKey.PIN), (None, None)):
        extensions = ((IDENTITY_EXTENSION, encode_claims(shown, forwarded)), *ALL, *encode_devices(shown))
        claims = reader.read(signed(replace(RIGHT, extensions=extensions)), now=NOW)
        assert claims.identity.hardware is hardware
        assert claims.signed_with(HardwareKey.TOUCH).identity.hardware is (hardware or HardwareKey.TOUCH)


def test_requests_for_access_are_read(reader: CertificateReader) -> None:
    """So many at most, each by its ID; without any the extension is that of before, which old daemons read."""
    one = "11111111-0000-4000-8000-00000000000e"
    assert "requests" not in encode_claims(ALICE, None)
    identity = replace(ALICE, requests=(one,))
    extensions = ((IDENTITY_EXTENSION, encode_claims(identity, None)), *ALL)
    assert reader.read(signed(replace(RIGHT, extensions=extensions)), now=NOW).identity == identity
    for wrong in (("nonsense",), (one,) * 9):
        extensions = ((IDENTITY_EXTENSION, encode_claims(replace(ALICE, requests=wrong), None)), *ALL)
        with pytest.raises(Denied, match="not accepted"):
            reader.read(signed(replace(RIGHT, extensions=extensions)), now=NOW)


def test_the_hand_over_to_a_forwarder_is_read(reader: CertificateReader) -> None:
    """With target, forwarder and duty."""
    hand_over = Forwarded(DaemonId("t"), DaemonId("p"), records=True)
    extensions = ((IDENTITY_EXTENSION, encode_claims(ALICE, hand_over)), *ALL)
    assert reader.read(signed(replace(RIGHT, extensions=extensions)), now=NOW).forwarded == hand_over


def test_the_persons_address_is_read_if_it_is_there(reader: CertificateReader) -> None:
    """Certificates of a time before it say nothing of it."""
    hand_over = Forwarded(DaemonId("t"), DaemonId("p"), records=True, client="[::1]:50022")
    assert '"client"' not in encode_claims(ALICE, replace(hand_over, client=""))
    extensions = ((IDENTITY_EXTENSION, encode_claims(ALICE, hand_over)), *ALL)
    found = reader.read(signed(replace(RIGHT, extensions=extensions)), now=NOW).forwarded
    assert found == hand_over
    assert found.client_address == ("::1", 50022)


def test_restrictions_are_read_in_openssh_words(reader: CertificateReader) -> None:
    """Critical options, and the permissions that an extension is missing for."""
    token = PublicKey("sk-ssh-ed25519@openssh.com", (b"k" * 32, b"ssh:"))
    options = (("force-command", "backup --now"), ("source-address", "10.0.0.0/8"), ("verify-required", None))
    identity = RIGHT.extensions[:1]
    given = tuple((name, None) for name in ("no-touch-required", "permit-agent-forwarding", "permit-user-rc"))
    restricted = replace(RIGHT, key=token, critical_options=options, extensions=(*identity, *given))
    claims = reader.read(signed(restricted), now=NOW)
    assert claims.bounds == Bounds("backup --now", (Permission.X11, Permission.PORTS, Permission.PTY))
    assert (claims.source_networks, claims.verified, claims.untouched) == (("10.0.0.0/8",), True, True)
    assert claims.restricted
    free = reader.read(signed(RIGHT), now=NOW)
    assert (free.bounds, free.verified, free.untouched, free.restricted) == (NO_BOUNDS, False, False, False)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": CertKind.HOST}, "host certificate"),
        ({"principals": ()}, "no principal"),
        ({"principals": ("root", "a,b")}, "not a valid login"),
        ({"principals": ("*",)}, "not a valid login"),
        ({"key_id": "bob"}, "key ID and identity differ"),
        ({"extensions": (("permit-pty", None),)}, "carries no identity"),
        ({"critical_options": (("force-command", None),)}, "force-command has no value"),
        ({"critical_options": (("force-command", " "),)}, "a forced command has"),
        ({"critical_options": (("force-command", "x" * 9000),)}, "a forced command has"),
        ({"critical_options": (("verify-required", "yes"),)}, "verify-required has a value"),
        ({"critical_options": (("verify-required", None),)}, "verifies nobody"),
        ({"critical_options": (("source-address", "nonsense"),)}, "nonsense"),
        ({"critical_options": (("source-address", None),)}, "source-address"),
        ({"authority": public(OTHER_CA)}, "not ours"),
        ({"principals": ("root", "")}, "not a valid login"),
        ({"principals": (" root",)}, "not a valid login"),
        ({"principals": ("ro\not",)}, "not a valid login"),
        ({"principals": ("rooe\u0301",)}, "not a valid login"),
        ({"principals": ("-oProxyCommand=x",)}, "not a valid login"),
        ({"critical_options": (("source-address", "10.0.0.0/8"), ("x@y", ""))}, "x@y"),
    ],
)
def test_anything_wrong_is_refused_with_a_private_reason(
    reader: CertificateReader, change: dict[str, object], reason: str
) -> None:
    """The person learns to sign in again; the audit log learns why."""
    with pytest.raises(Denied) as caught:
        reader.read(signed(replace(RIGHT, **change)), now=NOW)  # type: ignore[arg-type]  # fields of Certificate
    assert reason in caught.value.reason
    assert caught.value.public == "your certificate was not accepted: run ilsh login"


@pytest.mark.parametrize(
    "identity",
    [
        "",
        "null",
        "[]",
        '{"user":"alice","roles":["dev"]}',
        '{"user":"alice","roles":"dev","cluster":"demo"}',
        '{"user":"alice","roles":["a,b"],"cluster":"demo"}',
        '{"user":"alice","roles":["dev"],"cluster":"demo","locked_to":"web1"}',
        '{"user":"alice","roles":["dev"],"cluster":"demo","forwarded":{"target":"t","by":"p"}}',
        '{"user":"alice","roles":["dev"],"cluster":"demo","forwarded":{"target":"t","by":"p","records":1}}',
        """{"user":"alice","roles":["dev"],"cluster":"demo",
        "forwarded":{"target":"t","by":"p","records":true,"client":"web1:22"}}""",
    ],
)
def test_an_identity_that_is_not_fully_understood_is_refused(reader: CertificateReader, identity: str) -> None:
    """R6: a field that we do not know may be a restriction."""
    extensions = ((IDENTITY_EXTENSION, identity or None),)
    with pytest.raises(Denied, match="not accepted"):
        reader.read(signed(replace(RIGHT, extensions=extensions)), now=NOW)


def test_a_signature_by_somebody_else_is_refused(reader: CertificateReader) -> None:
    """Naming our authority is not being signed by it."""
    with pytest.raises(Denied) as caught:
        reader.read(signed(RIGHT, OTHER_CA), now=NOW)
    assert "signature does not match" in caught.value.reason


@pytest.mark.parametrize(
    "algorithm", ["ssh-rsa", "rsa-sha2-256", "ecdsa-sha2-nistp256", "ssh-ed25519-cert-v01@openssh.com", ""]
)
def test_a_signature_of_another_kind_is_refused(reader: CertificateReader, algorithm: str) -> None:
    """RSA with SHA-1 above all: our authorities are Ed25519, whatever the signature calls itself."""
    part = RIGHT.signed_part()
    blob = part + string(string(algorithm) + string(CA.sign(part)))
    with pytest.raises(Denied) as caught:
        reader.read(blob, now=NOW)
    assert "signature of type" in caught.value.reason


@pytest.mark.parametrize(
    "change",
    [
        {"principals": tuple(f"login{number}" for number in range(4000))},
        {"key_id": "a" * 20_000},
        {"extensions": (*RIGHT.extensions, ("x@example.com", "a" * 20_000))},
        {"nonce": bytes(20_000)},
    ],
)
def test_an_overlong_field_is_refused_unread(reader: CertificateReader, change: dict[str, object]) -> None:
    """Though it is signed: nobody can make us keep it."""
    with pytest.raises(Denied, match="not accepted") as caught:
        reader.read(signed(replace(RIGHT, **change)), now=NOW)  # type: ignore[arg-type]  # fields of Certificate
    assert "too long" in caught.value.reason


def test_every_byte_is_covered_by_the_signature(reader: CertificateReader) -> None:
    """One flipped bit anywhere, and the certificate is refused."""
    blob = signed(RIGHT)
    for at in range(len(blob)):
        changed = bytearray(blob)
        changed[at] ^= 1
        with pytest.raises(Denied):
            reader.read(bytes(changed), now=NOW)


@pytest.mark.parametrize(
    ("now", "text"),
    [
        (NOW - timedelta(minutes=2), "not valid yet: .* clocks"),
        (NOW + timedelta(hours=1), "has expired: run ilsh login"),
        (NOW + timedelta(days=1), "has expired: run ilsh login"),
    ],
)
def test_outside_its_time_a_certificate_is_refused(reader: CertificateReader, now: datetime, text: str) -> None:
    """Too early, to the second of its end, and later; a new one helps only in the last two cases."""
    with pytest.raises(Denied, match=text):
        reader.read(signed(RIGHT), now=now)


def test_a_certificate_for_ever_is_read_without_overflow(reader: CertificateReader) -> None:
    """All ones in valid_before is OpenSSH's "forever"."""
    claims = reader.read(signed(replace(RIGHT, valid_after=0, valid_before=2**64 - 1)), now=NOW)
    assert claims.valid_before.year == 9999


def test_trust_can_change(reader: CertificateReader) -> None:
    """The new authorities replace the old ones, and only Ed25519 keys are authorities."""
    reader.trust([public(OTHER_CA).line()])
    assert reader.read(signed(replace(RIGHT, authority=public(OTHER_CA)), OTHER_CA), now=NOW).identity == ALICE
    with pytest.raises(Denied):
        reader.read(signed(RIGHT), now=NOW)
    with pytest.raises(ValueError, match="Ed25519"):
        reader.trust([PublicKey("ssh-rsa", (b"\3", b"\1" * 256)).line()])


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::5", True),
        ("192.0.2.1", False),
        ("::1", False),
        ("", False),
        ("10.1.2.3:22", True),  # a peer as it is named in events
        ("10.1.2.3:x", False),
    ],
)
def test_source_addresses_are_claims_that_servers_can_ask(
    reader: CertificateReader, address: str, allowed: bool
) -> None:
    """IPv4, IPv6 and IPv4 in IPv6; what is no address is not allowed."""
    options = (("source-address", "10.0.0.0/8,2001:db8::/32"),)
    claims = reader.read(signed(replace(RIGHT, critical_options=options)), now=NOW)
    assert claims.allows_source(address) is allowed
    assert reader.read(signed(RIGHT), now=NOW).allows_source(address)


NODE = "11111111-2222-4333-8444-555555555555"
PASS = replace(RIGHT, key_id=NODE, principals=(NODE,), extensions=((TUNNEL_EXTENSION, NODE),))


def test_a_nodes_tunnel_certificate_names_the_node(reader: CertificateReader) -> None:
    """And until when."""
    found = reader.read_pass(signed(PASS), now=NOW)
    assert (found.node, found.valid_before) == (NODE, NOW + timedelta(hours=1))


def test_no_certificate_is_both_a_persons_and_a_nodes(reader: CertificateReader) -> None:
    """Neither is taken for the other, and one that says both is taken for neither."""
    both = replace(RIGHT, extensions=(*RIGHT.extensions, (TUNNEL_EXTENSION, NODE)))
    for certificate in (PASS, both):
        with pytest.raises(Denied):
            reader.read(signed(certificate), now=NOW)
    for certificate in (RIGHT, both, replace(both, key_id=NODE, principals=(NODE,))):
        with pytest.raises(Denied):
            reader.read_pass(signed(certificate), now=NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(PASS, key_id="alice"),
        replace(PASS, principals=(NODE, "root")),
        replace(PASS, principals=()),
        replace(PASS, extensions=((TUNNEL_EXTENSION, "web1"),), key_id="web1", principals=("web1",)),
        replace(PASS, extensions=((TUNNEL_EXTENSION, None),)),
        replace(PASS, extensions=()),
        replace(PASS, critical_options=(("source-address", "10.0.0.0/8"),)),
        replace(PASS, kind=CertKind.HOST),
        replace(PASS, valid_before=int(NOW.timestamp())),
    ],
)
def test_a_tunnel_certificate_is_right_in_everything(reader: CertificateReader, wrong: Certificate) -> None:
    """Or it is refused."""
    with pytest.raises(Denied):
        reader.read_pass(signed(wrong), now=NOW)


def test_a_tunnel_certificate_of_another_authority_is_refused(reader: CertificateReader) -> None:
    """Whoever signed it."""
    with pytest.raises(Denied):
        reader.read_pass(signed(replace(PASS, authority=public(OTHER_CA)), OTHER_CA), now=NOW)
    with pytest.raises(Denied):
        reader.read_pass(signed(PASS, OTHER_CA), now=NOW)


def test_a_certificate_that_is_shown_again_is_not_verified_again(
    reader: CertificateReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection shows its own three times; what each reading finds is the same."""
    parsed: list[bytes] = []
    real = SignedCertificate.parse

    def counting(certificate: bytes) -> SignedCertificate:
        parsed.append(certificate)
        return real(certificate)

    monkeypatch.setattr(SignedCertificate, "parse", counting)
    first, second = (reader.read(signed(RIGHT), now=NOW) for _ in range(2))
    assert (first, len(parsed)) == (second, 1)


def test_what_is_remembered_of_a_certificate_is_only_that_it_is_genuine(reader: CertificateReader) -> None:
    """It expires, and its authority can lose our trust, however often it was read before."""
    certificate = signed(RIGHT)
    assert reader.read(certificate, now=NOW).identity == ALICE
    with pytest.raises(Denied, match="expired"):
        reader.read(certificate, now=NOW + timedelta(hours=1))
    reader.trust([public(OTHER_CA).line("user-ca")])
    with pytest.raises(Denied, match="not accepted"):
        reader.read(certificate, now=NOW)


def test_forged_certificates_are_not_remembered_and_genuine_ones_in_bounded_number(
    reader: CertificateReader,
) -> None:
    """Nobody fills the memory by showing certificates, nor is a forgery believed the second time."""
    for _ in range(2):
        with pytest.raises(Denied):
            reader.read(signed(RIGHT, OTHER_CA), now=NOW)
    assert not reader._genuine
    for serial in range(REMEMBERED + 10):
        reader.read(signed(replace(RIGHT, serial=serial)), now=NOW)
    assert len(reader._genuine) == REMEMBERED

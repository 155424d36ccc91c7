"""The node's identity on disk: private, whole or absent."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core.certificate import Certificate, CertKind, PublicKey
from interlock.core.errors import ConfigError
from interlock.core.ids import DaemonId
from interlock.daemons.node_identity import FILE, IdentityFile, NodeIdentity, create_host_key, public_line
from interlock.ports import TrustBundle
from interlock.services.keys.daemonca import DaemonCa, HostIdentity, create_authority, create_key, create_request
from interlock.services.keys.joining import Renewed
from interlock.testing.clock import START
from interlock.testing.entropy import FakeEntropy
from interlock.testing.procs import run

IDENTITY = NodeIdentity(
    id=DaemonId("11111111-1111-4111-8111-111111111111"),
    cluster="example",
    names=("db1",),
    host_key="key",
    host_certificate="certificate",
    user_cas=("u",),
    host_cas=("h",),
)

WHO = HostIdentity("example", IDENTITY.id, IDENTITY.names)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    """Readable by its owner only; nothing else is left in the directory."""
    file = IdentityFile(tmp_path)
    assert file.load() is None
    file.save(IDENTITY)
    assert file.load() == IDENTITY
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"{}", b"garbage", b'{"id": 1}'])
def test_a_damaged_identity_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    """It is not overwritten: an administrator decides."""
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ConfigError, match="join again with a new token"):
        IdentityFile(tmp_path).load()
    assert (tmp_path / FILE).read_bytes() == content


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    """Reading and writing alike."""
    (tmp_path / FILE).mkdir()
    for use in (IdentityFile(tmp_path).load, lambda: IdentityFile(tmp_path / "none").save(IDENTITY)):
        with pytest.raises(ConfigError, match=FILE):
            use()


def test_a_host_key_is_openssh_s(tmp_path: Path) -> None:
    """ssh-keygen reads it and finds the same public key."""
    key = create_host_key()
    path = tmp_path / "key"
    path.write_text(key)
    path.chmod(0o600)
    assert run(["ssh-keygen", "-y", "-f", path]).check().stdout.split()[:2] == public_line(key).split()


def test_roots_that_change_are_gone_by_and_remembered() -> None:
    """A certificate by another authority than certifies now is to be renewed; tokens of before stay known."""
    entropy = FakeEntropy()
    cas = [DaemonCa(create_authority("example", entropy=entropy, now=START), cluster="example", entropy=entropy)]
    cas.append(
        DaemonCa(create_authority("example", entropy=entropy, now=START), cluster="example", entropy=entropy)
    )
    old, new = (each.certificate for each in cas)
    certificates = [each.issue_daemon(create_request(create_key()), WHO, now=START) for each in cas]
    before = replace(IDENTITY, host_certificate="", roots=old, certificate=certificates[0])
    assert before.trusting(TrustBundle((), ())).roots == old
    begun = before.trusting(TrustBundle((), (), roots=(old, new)))
    assert (begun.signed_by_others, begun.known_pins) == (False, (cas[0].pin,))
    told = begun.trusting(TrustBundle((), (), roots=(new, old)))
    assert told.signed_by_others
    renewed = told.renewed(Renewed(certificates[1], "", TrustBundle((), (), roots=(new, old))))
    ended = renewed.trusting(TrustBundle((), (), roots=(new,)))
    assert (ended.roots, ended.signed_by_others) == (new, False)
    assert set(ended.known_pins) == {each.pin for each in cas}
    back = renewed.renewed(Renewed(certificates[0], "", TrustBundle((), (), roots=(old,))))
    assert set(back.known_pins) == {each.pin for each in cas}


def test_a_node_in_auth_s_process_has_no_roots() -> None:
    """It reads the authorities themselves."""
    assert IDENTITY.trusting(TrustBundle((), (), roots=("root",))).roots == ""


def test_renewal_replaces_certificates_and_trust_only() -> None:
    """The node stays who it is."""
    fresh = IDENTITY.renewed(Renewed("x509", "ssh", TrustBundle(("u2",), ("h2",))))
    assert (fresh.certificate, fresh.host_certificate, fresh.user_cas, fresh.host_cas) == (
        "x509",
        "ssh",
        ("u2",),
        ("h2",),
    )
    assert (fresh.id, fresh.host_key, fresh.names) == (IDENTITY.id, IDENTITY.host_key, IDENTITY.names)
    assert fresh.trust == TrustBundle(("u2",), ("h2",))


def test_certificates_by_another_key_than_the_one_that_signs_are_due() -> None:
    """Auth names that first. What cannot be read, or does not exist, is not: renewing it would change nothing."""
    old, new = (Ed25519PrivateKey.from_private_bytes(seed * 32) for seed in (b"o", b"n"))
    both = _line(new), _line(old)
    assert not replace(IDENTITY, host_certificate="", host_cas=both).signed_by_others
    assert not IDENTITY.signed_by_others
    tunnelled = replace(IDENTITY, host_certificate=_certificate(new), host_cas=both, tunnel_certificate="")
    assert not tunnelled.signed_by_others
    assert replace(tunnelled, host_certificate=_certificate(old)).signed_by_others
    assert replace(tunnelled, host_cas=both[::-1]).signed_by_others
    assert replace(tunnelled, tunnel_certificate=_certificate(old), user_cas=both).signed_by_others
    assert not replace(tunnelled, tunnel_certificate=_certificate(new), user_cas=both).signed_by_others


def _public(key: Ed25519PrivateKey) -> PublicKey:
    return PublicKey("ssh-ed25519", (key.public_key().public_bytes_raw(),))


def _line(key: Ed25519PrivateKey) -> str:
    return _public(key).line("an authority")


def _certificate(authority: Ed25519PrivateKey) -> str:
    public = _public(authority)
    certificate = Certificate(b"n" * 32, public, 1, CertKind.HOST, "db1", ("db1",), 0, 1, (), (), public)
    return certificate.line(authority.sign(certificate.signed_part()))

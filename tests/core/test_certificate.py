"""Keys and certificates as bytes: what OpenSSH writes is read, and nothing that is malformed in any way."""

import subprocess
from base64 import b64decode, b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.certificate import (
    MAX_CERTIFICATE,
    Certificate,
    CertKind,
    PublicKey,
    SignedCertificate,
    cert_algorithm,
)
from interlock.core.wire import string

KEY = PublicKey("ssh-ed25519", (b"k" * 32,))
CA = PublicKey("ssh-ed25519", (b"c" * 32,))
SK = PublicKey("sk-ssh-ed25519@openssh.com", (b"k" * 32, b"ssh:work"))
PLAIN = Certificate(
    nonce=b"n" * 32,
    key=KEY,
    serial=2**64 - 1,
    kind=CertKind.USER,
    key_id="alice",
    principals=("root", "ubuntu"),
    valid_after=1,
    valid_before=2**64 - 1,
    critical_options=(("source-address", "10.0.0.0/8"),),
    extensions=(("permit-X11-forwarding", None), ("permit-pty", None)),
    authority=CA,
)
SIGNATURE = b"s" * 64


def wire(certificate: Certificate) -> bytes:
    """The certificate as a peer sends it."""
    return b64decode(certificate.line(SIGNATURE).split()[1])


@pytest.mark.parametrize("key", [KEY, SK, PublicKey("ecdsa-sha2-nistp256", (b"nistp256", b"point"))])
def test_a_certificate_reads_back_as_it_was_written(key: PublicKey) -> None:
    """Every field survives, the signed part is the original's, and security keys keep their application."""
    certificate = replace(PLAIN, key=key)
    signed = SignedCertificate.parse(wire(certificate))
    assert signed.certificate == certificate
    assert signed.signed_part == certificate.signed_part()
    assert (signed.signature_algorithm, signed.signature) == ("ssh-ed25519", SIGNATURE)


def test_no_principals_and_no_options_read_back_too() -> None:
    """Emptiness is a matter for the judge, not for the codec."""
    certificate = replace(PLAIN, principals=(), critical_options=(), extensions=())
    assert SignedCertificate.parse(wire(certificate)).certificate == certificate


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa", pytest.param("rsa", marks=pytest.mark.slow)])
def test_what_openssh_signs_is_read(tmp_path: Path, algorithm: str) -> None:
    """A certificate of ssh-keygen's has the fields that it was asked for."""
    for name, kind in (("ca", "ed25519"), ("key", algorithm)):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / name], check=True)
    options = [
        "-I",
        "bob",
        "-n",
        "root,web",
        "-z",
        "7",
        "-V",
        "20260101Z:20270101Z",
        "-O",
        "source-address=10.0.0.0/8",
    ]
    subprocess.run(["ssh-keygen", "-q", "-s", tmp_path / "ca", *options, tmp_path / "key.pub"], check=True)
    blob = b64decode((tmp_path / "key-cert.pub").read_text().split()[1])
    found = SignedCertificate.parse(blob).certificate
    assert found.key == PublicKey.parse((tmp_path / "key.pub").read_text())
    assert found.authority == PublicKey.parse((tmp_path / "ca.pub").read_text())
    assert (found.key_id, found.principals, found.serial) == ("bob", ("root", "web"), 7)
    assert found.critical_options == (("source-address", "10.0.0.0/8"),)
    assert ("permit-pty", None) in found.extensions


@given(st.integers(min_value=0, max_value=len(wire(PLAIN)) - 1))
def test_a_certificate_that_is_cut_short_is_refused(size: int) -> None:
    """At every length but the right one."""
    with pytest.raises(ValueError, match="certificate"):
        SignedCertificate.parse(wire(PLAIN)[:size])


@given(st.binary(min_size=1, max_size=8))
def test_bytes_after_the_end_are_refused(extra: bytes) -> None:
    """Nothing may hide behind the signature."""
    with pytest.raises(ValueError, match="malformed certificate"):
        SignedCertificate.parse(wire(PLAIN) + extra)


@given(st.integers(min_value=0, max_value=len(wire(PLAIN)) - 1), st.integers(min_value=1, max_value=255))
def test_any_changed_byte_is_refused_or_seen(at: int, flip: int) -> None:
    """A changed byte is malformed, or shows in what was read: no byte is ignored."""
    original = wire(PLAIN)
    changed = bytearray(original)
    changed[at] ^= flip
    try:
        found = SignedCertificate.parse(bytes(changed))
    except ValueError:
        return
    assert found != SignedCertificate.parse(original)


def test_options_out_of_order_or_twice_are_refused() -> None:
    """sshd wants them sorted and unique; a reader that takes the last of two could be shown another than sshd."""
    right = string(string("permit-X11-forwarding") + string(b"") + string("permit-pty") + string(b""))
    for wrong in (
        string(string("permit-pty") + string(b"") + string("permit-X11-forwarding") + string(b"")),
        string((string("permit-pty") + string(b"")) * 2),
    ):
        blob = wire(PLAIN)
        assert blob.count(right) == 1
        with pytest.raises(ValueError, match="not in order or appear twice"):
            SignedCertificate.parse(blob.replace(right, wrong))


def test_a_certificate_as_subject_or_as_authority_is_refused() -> None:
    """R15: keys inside certificates are plain keys."""
    nested = PublicKey(cert_algorithm("ssh-ed25519"), (b"x",))
    with pytest.raises(ValueError, match="not supported"):
        SignedCertificate.parse(wire(replace(PLAIN, authority=nested)))
    with pytest.raises(ValueError, match="not supported"):
        PublicKey.parse(PLAIN.line(SIGNATURE))


def test_an_overlong_certificate_is_refused_unread() -> None:
    """R17: before anything is taken apart."""
    with pytest.raises(ValueError, match="too long"):
        SignedCertificate.parse(b"\0" * (MAX_CERTIFICATE + 1))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 !!!!",
        "ssh-ed25519 AAAA",
        f'command="sh" {KEY.line()}',
        f"{KEY.line()}\n{CA.line()}",
        f"ssh-rsa {KEY.line().split()[1]}",
        f"ssh-dss {b64encode(string('ssh-dss') + string(b'x') * 4).decode()}",
        f"ssh-ed25519 {b64encode(KEY.blob + b'x').decode()}",
    ],
)
def test_what_is_not_exactly_one_plain_key_is_refused(line: str) -> None:
    """Options, second lines, other algorithms, wrong names, trailing bytes."""
    with pytest.raises(ValueError, match=r"key|base64"):
        PublicKey.parse(line)


def test_a_key_line_may_have_a_comment_and_surrounding_space() -> None:
    """As files of ssh-keygen do."""
    assert PublicKey.parse(f" {KEY.line('alice@laptop and more')}\n") == KEY
    assert PublicKey.parse(SK.line()) == SK

"""Signatures by every type of key that a person may have, and what is none."""

import hashlib

import asyncssh
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock.core.certificate import PublicKey
from interlock.core.wire import Reader, string, uint32
from interlock.services.keys.signatures import is_signed

DATA = b"what was signed"
APPLICATION = b"ssh:"
TOUCHED, NOT_TOUCHED = 1, 0
ALGORITHMS = (
    ("ssh-ed25519", "ssh-ed25519"),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    ("ssh-rsa", "rsa-sha2-256"),
    ("ssh-rsa", "rsa-sha2-512"),
)


def signed(kind: str, algorithm: str) -> tuple[PublicKey, str, bytes]:
    """A new key, and how it has signed `DATA`."""
    key = asyncssh.generate_private_key(kind)
    reader = Reader(key.sign_ssh(DATA, algorithm.encode()))
    return PublicKey.from_blob(key.public_data), algorithm, reader.rest()


def touched(kind: str, flags: int) -> tuple[PublicKey, str, bytes]:
    """The same as a key on hardware does it (PROTOCOL.u2f)."""
    said = hashlib.sha256(APPLICATION).digest() + bytes([flags]) + uint32(7) + hashlib.sha256(DATA).digest()
    if kind.startswith("sk-ssh-ed25519"):
        key = Ed25519PrivateKey.generate()
        point = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return PublicKey(kind, (point, APPLICATION)), kind, string(key.sign(said)) + bytes([flags]) + uint32(7)
    curve = ec.generate_private_key(ec.SECP256R1())
    point = curve.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    numbers = decode_dss_signature(curve.sign(said, ec.ECDSA(hashes.SHA256())))
    value = b"".join(string(each.to_bytes(33, "big")) for each in numbers)
    public = PublicKey(kind, (b"nistp256", point, APPLICATION))
    return public, kind, string(value) + bytes([flags]) + uint32(7)


@pytest.mark.parametrize("kind", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"])
@pytest.mark.parametrize(("flags", "enough"), [(TOUCHED, False), (4, False), (TOUCHED | 4, True)])
def test_a_key_that_has_to_verify_its_person(kind: str, flags: int, *, enough: bool) -> None:
    """Touched and verified, where its owner wants it."""
    key, algorithm, value = touched(kind, flags)
    assert is_signed(key, algorithm, value, DATA, verified=True) is enough


@pytest.mark.parametrize("kind", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"])
def test_a_key_that_need_not_be_touched(kind: str) -> None:
    """By its certificate; it may have to verify its person all the same."""
    for flags in (0, TOUCHED, 4):
        key, algorithm, value = touched(kind, flags)
        assert is_signed(key, algorithm, value, DATA, untouched=True)
        assert is_signed(key, algorithm, value, DATA) is bool(flags & TOUCHED)
        assert is_signed(key, algorithm, value, DATA, untouched=True, verified=True) is bool(flags & 4)


@pytest.mark.parametrize(("kind", "algorithm"), ALGORITHMS)
def test_a_signature_is_of_its_key_and_its_data(kind: str, algorithm: str) -> None:
    """And of nothing else, nor by another algorithm's name."""
    key, named, value = signed(kind, algorithm)
    assert is_signed(key, named, value, DATA)
    assert not is_signed(key, named, value, DATA + b"!")
    assert not is_signed(signed(kind, algorithm)[0], named, value, DATA)
    assert not is_signed(key, named, value + b"\0", DATA)
    assert not is_signed(key, named, value[:-1], DATA)
    assert not is_signed(key, named, value[:-1] + bytes([value[-1] ^ 1]), DATA)
    for _, other in ALGORITHMS:
        assert is_signed(key, other, value, DATA) == (other == named)


def test_sha1_counts_for_nothing() -> None:
    """Whoever can make collisions could make the data."""
    key = asyncssh.generate_private_key("ssh-rsa")
    reader = Reader(key.sign_ssh(DATA, b"ssh-rsa"))
    assert not is_signed(PublicKey.from_blob(key.public_data), "ssh-rsa", reader.rest(), DATA)


@pytest.mark.parametrize("kind", ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"])
def test_r16_a_key_on_hardware_must_have_been_touched(kind: str) -> None:
    """Otherwise malware on the person's machine signs."""
    key, named, value = touched(kind, TOUCHED)
    assert is_signed(key, named, value, DATA)
    assert not is_signed(key, named, value[:-5] + bytes([NOT_TOUCHED]) + value[-4:], DATA)
    assert not is_signed(PublicKey(kind, (*key.fields[:-1], b"ssh:other")), named, value, DATA)
    assert not is_signed(*touched(kind, NOT_TOUCHED), DATA)

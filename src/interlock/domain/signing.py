"""Signatures of what is kept: Ed25519, each for one purpose, by keys of which a warrant says whose they are.

A warrant is to a daemon's signing key what a certificate is to its host key: the cluster's key for the purpose has
signed it, so whoever has that one public key can verify what any daemon has signed, years later and offline.

::

    signature = Ed25519( purpose NUL message )
    warrant   = JSON object, signature of it by the cluster's key (64 bytes)
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from interlock.core.certificate import PublicKey
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId

SEED_SIZE = 32
SIGNATURE_SIZE = 64
KEY_SIZE = 32

MAX_WARRANT = 1024
"""Bytes of an encoded warrant: a cluster's name, an ID, a key and two times."""


class Purpose(Enum):
    """What a signature is for; one made for one purpose proves nothing for another."""

    WARRANT = "interlock-warrant-1"
    RECORDING = "interlock-recording-2"
    CHECKPOINT = "interlock-checkpoint-1"
    CUT = "interlock-cut-1"


class DaemonRole(Enum):
    """What the signing daemon is. Auth may finish what another daemon has begun; a node only its own."""

    AUTH = "auth"
    NODE = "node"


class SigningKey:
    """A private key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningKey":
        """From SEED_SIZE unpredictable bytes, which are the key."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, purpose: Purpose, message: bytes) -> bytes:
        """SIGNATURE_SIZE bytes."""
        return self._private.sign(_signed(purpose, message))


def is_signed(public: bytes, purpose: Purpose, message: bytes, signature: bytes) -> bool:
    """Whether the owner of the raw public key has signed the message for this purpose."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, _signed(purpose, message))
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Warrant:
    """Whose a signing key is."""

    cluster: str
    daemon: DaemonId
    role: DaemonRole
    key: str  # the raw public key, base64
    valid_from: int  # seconds since 1970
    valid_until: int

    @property
    def public(self) -> bytes:
        """The raw public key."""
        return b64decode(self.key)

    def covers(self, moment: datetime) -> bool:
        """Whether what was signed then may be believed."""
        return self.valid_from <= moment.timestamp() < self.valid_until


def issue_warrant(
    authority: SigningKey,
    *,
    cluster: str,
    daemon: DaemonId,
    role: DaemonRole,
    public: bytes,
    valid_from: datetime,
    valid_until: datetime,
) -> bytes:
    """Say in the cluster's name whose the raw public key is. Denied if it is none."""
    if len(public) != KEY_SIZE:
        raise Denied("this is not an Ed25519 public key", reason=f"{len(public)} bytes for a signing key")
    times = int(valid_from.timestamp()), int(valid_until.timestamp())
    said = msgspec.json.encode(Warrant(cluster, daemon, role, b64encode(public).decode(), *times))
    return said + authority.sign(Purpose.WARRANT, said)


def read_warrant(data: bytes, authorities: Iterable[bytes] | None) -> Warrant | None:
    """The warrant, if one of these raw public keys has signed it, else None; ``authorities`` None: unproved."""
    said, signature = data[:-SIGNATURE_SIZE], data[-SIGNATURE_SIZE:]
    if authorities is not None and not any(
        is_signed(each, Purpose.WARRANT, said, signature) for each in authorities
    ):
        return None
    try:
        warrant = msgspec.json.decode(said, type=Warrant)
        return warrant if len(warrant.public) == KEY_SIZE else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def read_public_keys(text: str) -> tuple[bytes, ...]:
    """Raw Ed25519 public keys from lines as ``ilctl auth export`` prints them; ValueError if there is none."""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    keys = [PublicKey.parse(line) for line in lines]
    if not keys or any(key.algorithm != "ssh-ed25519" for key in keys):
        msg = "no ssh-ed25519 public keys"
        raise ValueError(msg)
    return tuple(key.fields[0] for key in keys)


@dataclass(frozen=True, slots=True)
class WarrantedKey:
    """What a daemon signs with, and what proves that it may."""

    key: SigningKey
    warrant: bytes


KeySource = Callable[[], WarrantedKey | None]
"""Whoever seals asks for the key each time, since its warrant is renewed; None: there is none, or not yet."""


def unsigned() -> None:
    """The `KeySource` of who has no key."""


def _signed(purpose: Purpose, message: bytes) -> bytes:
    return purpose.value.encode() + b"\0" + message

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
from datetime import UTC, datetime, timedelta
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


WARRANT_LIFE = timedelta(days=30)
"""How long a daemon may sign recordings with one warrant: longer than it can do without auth for other reasons."""

LATE = timedelta(hours=1)
"""How long after a key was replaced an auth may still sign with it that has not heard of that."""


class Purpose(Enum):
    """What a signature is for; one made for one purpose proves nothing for another."""

    WARRANT = "interlock-warrant-1"
    RECORDING = "interlock-recording-2"
    CHECKPOINT = "interlock-checkpoint-1"
    CUT = "interlock-cut-1"
    SUCCESSOR = "interlock-successor-1"  # the raw public key that takes this one's place


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


class FormerKey(bytes):
    """The raw public key of an authority that was replaced: by it nothing is signed that is newer than that."""

    until: datetime

    @classmethod
    def of(cls, public: bytes, until: datetime) -> "FormerKey":
        """``until``: when it was replaced."""
        key = cls(public)
        key.until = until
        return key

    def may_have_issued(self, warrant: Warrant) -> bool:
        """Whether it may be of before: whoever has the key can date what it makes up back, and not forward."""
        return warrant.valid_until <= (self.until + LATE + WARRANT_LIFE).timestamp()


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
    by: bytes | None = None
    if authorities is not None:
        by = next((each for each in authorities if is_signed(each, Purpose.WARRANT, said, signature)), None)
        if by is None:
            return None
    try:
        warrant = msgspec.json.decode(said, type=Warrant)
        too_late = isinstance(by, FormerKey) and not by.may_have_issued(warrant)
        return warrant if len(warrant.public) == KEY_SIZE and not too_late else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def read_public_keys(text: str) -> tuple[bytes, ...]:
    """Raw Ed25519 public keys from lines as ``ilctl auth export`` prints them; ValueError if there is none.

    Those of lines that end in ``until=`` and a time are each a `FormerKey`.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    keys = [PublicKey.parse(line) for line in lines]
    if not keys or any(key.algorithm != "ssh-ed25519" for key in keys):
        msg = "no ssh-ed25519 public keys"
        raise ValueError(msg)
    return tuple(_dated(line, key.fields[0]) for line, key in zip(lines, keys, strict=True))


@dataclass(frozen=True, slots=True)
class WarrantedKey:
    """What a daemon signs with, and what proves that it may."""

    key: SigningKey
    warrant: bytes


KeySource = Callable[[], WarrantedKey | None]
"""Whoever seals asks for the key each time, since its warrant is renewed; None: there is none, or not yet."""


def unsigned() -> None:
    """The `KeySource` of who has no key."""


def _dated(line: str, key: bytes) -> bytes:
    _, dated, until = line.rstrip().rpartition(" until=")
    if not dated:
        return key
    moment = datetime.fromisoformat(until)
    return FormerKey.of(key, moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def _signed(purpose: Purpose, message: bytes) -> bytes:
    return purpose.value.encode() + b"\0" + message

"""The audit log as evidence: a chain of hashes for each writer, and checkpoints that the cluster signs.

A *writer* is whatever appends to the log: the gateway, each of its workers, ``ilctl``. Its events are numbered
from 1, and the hash of each is made of the hash before it and of the event as it is stored. So nothing can be
changed, left out, moved or put in between without every hash after it being another one, and a checkpoint signs
the newest hashes of all writers that have news. Checkpoints are a chain as well.

What policy drops is the beginning of a chain up to a hash that a checkpoint has signed. What stays of it, since it
is held, is proven by a *cut*: the hashes on both sides of each gap, signed.

When the key that signs is changed, the last checkpoint of the old one names its successor. From there on nothing
counts but what that one has signed; the cuts are signed anew.

::

    hash(0) = SHA-256("interlock-audit-chain-1" NUL writer)
    hash(n) = SHA-256(hash(n-1) body(n))
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator

import msgspec

from interlock.core.errors import StoreError

FIRST_WRITER = "before"
"""The writer of what was stored before there were chains."""

_NO_CHECKPOINT = ""


def genesis(writer: str) -> bytes:
    """The hash before a writer's first event."""
    return hashlib.sha256(b"interlock-audit-chain-1\0" + writer.encode()).digest()


def link(previous: bytes, body: bytes) -> bytes:
    """The hash of an event, from the one before it in its chain and its body as it is stored, UTF-8."""
    return hashlib.sha256(previous + body).digest()


class Head(msgspec.Struct, frozen=True):
    """How far a writer's chain went."""

    writer: str
    number: int
    hash: str  # hexadecimal


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is signed: its JSON, exactly as `encode` makes it."""

    cluster: str
    number: int  # from 1
    previous: str  # SHA-256 of the checkpoint before, hexadecimal; of the first: empty
    time: str  # RFC 3339
    heads: tuple[Head, ...]  # of the writers that have news
    successor: str = ""  # the raw public key, base64, that signs all that follow; empty: the same as this one

    @property
    def successor_key(self) -> bytes | None:
        """The raw key; None if there is none. StoreError if it is malformed."""
        try:
            return b64decode(self.successor, validate=True) if self.successor else None
        except ValueError as error:
            raise StoreError("a checkpoint of the audit log cannot be read", reason=str(error)) from None

    def encode(self) -> str:
        """The JSON text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> "Checkpoint":
        """Read it; StoreError if it is none."""
        try:
            return msgspec.json.decode(text, type=cls, strict=True)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StoreError("a checkpoint of the audit log cannot be read", reason=str(error)) from None

    @classmethod
    def after(
        cls, last: str | None, *, cluster: str, time: str, heads: tuple[Head, ...], successor: bytes = b""
    ) -> "Checkpoint":
        """The one that follows the encoded ``last``, or the first."""
        next_key = b64encode(successor).decode()
        if last is None:
            return cls(cluster, 1, _NO_CHECKPOINT, time, heads, next_key)
        return cls(cluster, cls.decode(last).number + 1, digest(last), time, heads, next_key)


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Events of one writer that are not there any more."""

    first: int
    last: int
    before: str  # the hash before the first, hexadecimal
    after: str  # the hash of the last


class Cut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What policy has dropped of one chain: signed, as it stands for what cannot be verified any more."""

    cluster: str
    writer: str  # empty: of the checkpoints
    last: int  # up to here
    hash: str  # what a checkpoint has signed of it
    gaps: tuple[Gap, ...]  # in order; between them is what is held
    time: str

    def encode(self) -> str:
        """The JSON text."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> "Cut":
        """Read it; StoreError if it is none."""
        try:
            return msgspec.json.decode(text, type=cls, strict=True)
        except (msgspec.MsgspecError, ValueError) as error:
            raise StoreError("what was dropped of the audit log cannot be read", reason=str(error)) from None


def digest(checkpoint: str) -> str:
    """What the next checkpoint says of this encoded one."""
    return hashlib.sha256(checkpoint.encode()).hexdigest()


class _Sent(msgspec.Struct):
    """A checkpoint as it leaves: in an export, or as a line of the gateway's log."""

    body: str = ""
    signature: str = ""


LONGEST_SENT = 16 * 1024 * 1024
"""Bytes of a line: a checkpoint of 50,000 writers."""


def checkpoints_in(lines: Callable[[int], bytes]) -> Iterator[tuple[str, bytes]]:
    """Encoded checkpoints and signatures from lines of a log or an export; others are passed over.

    ``lines``: reads a line, of so many bytes at most, and nothing at the end. One is in memory.
    """
    while line := lines(LONGEST_SENT):
        try:
            sent = msgspec.json.decode(line, type=_Sent)
            signature = bytes.fromhex(sent.signature)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            continue
        if sent.body and signature:
            yield sent.body, signature

"""Encryption at rest: what a session showed is encrypted block by block, by a key that the file holds wrapped.

::

    keys block = head of kind 5, before: zeros; payload: how (1 byte) length (2) wrapped key, zeros to 4096 in all
    encrypted  = AES-256-GCM( key, nonce: number (4) time (8), zstd( … ), additional: salt, head from offset 8 )

The key is random and the recording's own, so blocks need no other nonce than what is in their heads; a number may
come twice, if a disk refuses a block, but never at the same microsecond. The keys block is not part of the chain,
so that recipients can be changed without touching what is signed; its size is always the same, so nothing moves.

Blocks of frames that only say what an audit log says, too (header, manifest, gaps, exit), stay readable: a
recording can be listed, completed and verified by those who may not see what it shows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from interlock.core.errors import RecordingError

KEY_SIZE = 32
TAG_SIZE = 16

KEYS_SIZE = 4096
"""Bytes of the keys block, head included: room for some 35 recipients."""

_HEAD = 66  # bytes, as in `blocks`
_CHECKED = 8
_HOW = Struct(">BH")
MAX_WRAPPED = KEYS_SIZE - _HEAD - _HOW.size

Unlock = Callable[[bytes], bytes]
"""From a wrapped key to the key; RecordingError in words for the person if this identity may not."""


class Held(IntEnum):
    """How the keys block holds the key."""

    OPEN = 0  # as it is: a recording that was handed to somebody who may play it
    AGE = 1  # an age file for one or more recipients


@dataclass(frozen=True, slots=True)
class FreshKey:
    """For one new recording."""

    key: bytes
    wrapped: bytes  # an age file


class ContentKey:
    """Encrypts and decrypts the blocks of one recording. ``head`` is a block's, complete but for the checksum."""

    def __init__(self, key: bytes) -> None:
        self.raw = key
        self._aead = AESGCM(key)

    def lock(self, salt: bytes, head: bytes, payload: bytes) -> bytes:
        """The payload encrypted, TAG_SIZE bytes longer."""
        return self._aead.encrypt(_nonce(head), payload, salt + head[_CHECKED:])

    def unlock(self, salt: bytes, head: bytes, payload: bytes) -> bytes:
        """The payload; RecordingError if this is not the recording's key or it was changed."""
        try:
            return self._aead.decrypt(_nonce(head), payload, salt + head[_CHECKED:])
        except (InvalidTag, ValueError):
            raise RecordingError("the recording cannot be decrypted: its key does not fit") from None


def keys_payload(how: Held, data: bytes) -> bytes:
    """The payload of a keys block. RecordingError if the wrapped key is too long."""
    if len(data) > MAX_WRAPPED:
        raise RecordingError("too many recipients for one recording", reason=f"a wrapped key of {len(data)} bytes")
    return (_HOW.pack(how, len(data)) + data).ljust(KEYS_SIZE - _HEAD, b"\0")


def read_keys(payload: bytes) -> tuple[Held, bytes] | None:
    """How a keys block holds the key, and what it holds; None if it holds none."""
    if len(payload) != KEYS_SIZE - _HEAD:
        return None
    how, length = _HOW.unpack_from(payload)
    data = payload[_HOW.size : _HOW.size + length]
    known = how == Held.AGE or (how == Held.OPEN and length == KEY_SIZE)
    return (Held(how), data) if known and len(data) == length else None


def _nonce(head: bytes) -> bytes:
    return head[10:14] + head[22:30]  # number and time

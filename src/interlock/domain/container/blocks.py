"""The recording file, byte by byte: a preamble, then blocks that can each be read on their own (docs/FORMAT.md).

::

    file     = magic (7 bytes) version (1) salt (8) block*
    block 2  = "ILRB" checksum kind flags number length frames time span before payload    integers big-endian
                4      4        1    1     4      4      4      8    4    32     length
    block 1  = "ILRB" checksum length frames time payload
                4      4        4      4      8    length

The checksum is the CRC-32 of salt and all of the block that follows the checksum: a reader finds with it the next
whole block behind damage, and a block that a user prints on the terminal is not taken for one of ours, since the
salt is random. ``before`` is the SHA-256 of the whole block before it, for the first one that of the preamble, so
that no block can be changed, left out or repeated unless all later ones are, too, which a signature forbids
(`seal`). Format 1 has no chain and no signature; it is read, and continued if its writer has died, but not begun.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Protocol
from zlib import crc32

from interlock.domain.container.locked import KEYS_SIZE, TAG_SIZE, ContentKey, Held, keys_payload

MAGIC = b"\x89ILR\r\n\x1a"
"""Seven bytes that no text file starts with and that a transfer in text mode breaks visibly (as PNG does)."""

FORMAT_1 = 1
VERSION = 2
SALT_SIZE = 8
PREAMBLE_SIZE = len(MAGIC) + 1 + SALT_SIZE

BLOCK_SIZE = 128 * 1024
"""Bytes of frames after which a block is due: zstd gains little beyond, and one block is lost at most."""

MAX_BLOCK = 1024 * 1024
"""Bytes of frames that a reader unpacks from one block, so that a forged file cannot fill the memory."""

MAX_STORED = MAX_BLOCK + MAX_BLOCK // 128 + 512  # zstd's bound on incompressible data, generously
"""Bytes of a block's payload in the file."""

SYNC = b"ILRB"
"""Starts every block, so that a reader finds the next one behind damage."""

CHECKED = 8
"""Offset in a block from which on the checksum covers it, and a seal's signature."""

_HEAD_1 = Struct(">4sIIIQ")
_HEAD_2 = Struct(">4sIBBIIIQI32s")
_LONGEST_SPAN = 0xFFFFFFFF
_NUMBERS = 1 << 32


class BlockKind(IntEnum):
    """What a block is there for; a reader passes over those that it does not know."""

    FRAMES = 1
    SEAL = 2
    KEYFRAME = 3
    INDEX = 4
    KEYS = 5  # the first of a file whose contents are encrypted; not part of the chain


ENCRYPTED = 1
"""Flag: the payload is."""

KEYED = 2
"""Flag of block 0: a keys block is before it."""


@dataclass(frozen=True, slots=True)
class Head:
    """What a block says of itself."""

    size: int  # of the head
    checksum: int
    length: int  # of the payload
    count: int  # of frames
    first: int  # time of the first frame, microseconds after the start
    last: int  # of the last one, as far as it is known
    kind: int = BlockKind.FRAMES
    flags: int = 0
    number: int = 0
    before: bytes = b""


@dataclass(frozen=True, slots=True)
class Block:
    """A whole block of a file."""

    offset: int
    head: Head
    raw: bytes

    @property
    def payload(self) -> bytes:
        """What it holds."""
        return self.raw[self.head.size :]

    @property
    def end(self) -> int:
        """Offset of what follows."""
        return self.offset + len(self.raw)

    def is_whole(self, seed: int) -> bool:
        """Whether its checksum is right; ``seed``: the CRC-32 of the salt."""
        return crc32(memoryview(self.raw)[CHECKED:], seed) == self.head.checksum


def preamble(salt: bytes, version: int = VERSION) -> bytes:
    """The first bytes of a file; ``salt``: SALT_SIZE random bytes, the same as its `Chain` has."""
    return MAGIC + bytes([version]) + salt


def keys_block(salt: bytes, how: Held, data: bytes) -> bytes:
    """The block behind the preamble of a file with encrypted contents. RecordingError if ``data`` is too long."""
    payload = keys_payload(how, data)
    head = _HEAD_2.pack(SYNC, 0, BlockKind.KEYS, 0, 0, len(payload), 0, 0, 0, bytes(32))
    checked = head[CHECKED:] + payload
    return SYNC + crc32(checked, crc32(salt)).to_bytes(4, "big") + checked


def head_size(version: int) -> int:
    """Bytes of a block before its payload."""
    return (_HEAD_1 if version == FORMAT_1 else _HEAD_2).size


def read_head(version: int, data: bytes | bytearray) -> Head:
    """The head at the beginning of at least `head_size` bytes."""
    if version == FORMAT_1:
        _, checksum, length, count, first = _HEAD_1.unpack_from(data)
        return Head(_HEAD_1.size, checksum, length, count, first, first)
    _, checksum, kind, flags, number, length, count, first, span, before = _HEAD_2.unpack_from(data)
    return Head(_HEAD_2.size, checksum, length, count, first, first + span, kind, flags, number, before)


class Continued(Protocol):
    """Puts payloads into blocks that continue a file."""

    def block(
        self,
        kind: BlockKind,
        payload: bytes,
        *,
        count: int = 0,
        first: int = 0,
        last: int = 0,
        secret: bool = False,
    ) -> bytes:
        """The next block of the file; ``secret``: encrypted, if the file is."""
        ...


@dataclass(slots=True)
class Chain:
    """Where a file of format 2 goes on. What `block` returns is to be written, or `reset` to be called."""

    salt: bytes
    number: int  # of the next block
    before: bytes  # the hash that it names
    offset: int  # where it begins
    key: ContentKey | None = None  # of a file whose contents are encrypted, for its own recorder
    warrant: bytes = b""  # that the last seal of this writer had; the next need not repeat it

    @classmethod
    def begin(cls, salt: bytes, key: ContentKey | None = None) -> "Chain":
        """Behind the preamble of a new file, and its keys block if it has a ``key``."""
        offset = PREAMBLE_SIZE if key is None else PREAMBLE_SIZE + KEYS_SIZE
        return cls(salt, 0, hashlib.sha256(preamble(salt)).digest(), offset, key)

    @classmethod
    def after(cls, salt: bytes, block: Block | None) -> "Chain":
        """Behind the last block of a file; None: it has no block yet."""
        if block is None:
            return cls.begin(salt)
        return cls(salt, block.head.number + 1, hashlib.sha256(block.raw).digest(), block.end)

    def mark(self) -> tuple[int, bytes, int, bytes]:
        """For `reset`, if what comes next cannot be written."""
        return self.number, self.before, self.offset, self.warrant

    def reset(self, mark: tuple[int, bytes, int, bytes]) -> None:
        """Forget the blocks made since the mark: they are not in the file."""
        self.number, self.before, self.offset, self.warrant = mark

    def block(
        self,
        kind: BlockKind,
        payload: bytes,
        *,
        count: int = 0,
        first: int = 0,
        last: int = 0,
        secret: bool = False,
    ) -> bytes:
        """The next block, which the one after it will name."""
        if self.key is None or not secret:
            return self.add(self.head(kind, len(payload), count=count, first=first, last=last), payload)
        size = len(payload) + TAG_SIZE
        head = self.head(kind, size, count=count, first=first, last=last, flags=ENCRYPTED)
        return self.add(head, self.key.lock(self.salt, head, payload))

    def head(
        self, kind: BlockKind, length: int, *, count: int = 0, first: int = 0, last: int = 0, flags: int = 0
    ) -> bytes:
        """The next block's head, without its checksum."""
        span, number = min(last - first, _LONGEST_SPAN), self.number % _NUMBERS
        if self.key is not None and not self.number:
            flags |= KEYED
        return _HEAD_2.pack(SYNC, 0, kind, flags, number, length, count, first, span, self.before)

    def add(self, head: bytes, payload: bytes) -> bytes:
        """The next block with its checksum; ``head`` is from `head`."""
        checked = head[CHECKED:]
        checksum = crc32(payload, crc32(checked, crc32(self.salt)))
        block = b"".join((SYNC, checksum.to_bytes(4, "big"), checked, payload))
        self.number += 1
        self.before = hashlib.sha256(block).digest()
        self.offset += len(block)
        return block


class Loose:
    """Continues a file of format 1."""

    def __init__(self, salt: bytes) -> None:
        self._seed = crc32(salt)

    def block(
        self,
        kind: BlockKind,
        payload: bytes,
        *,
        count: int = 0,
        first: int = 0,
        last: int = 0,
        secret: bool = False,
    ) -> bytes:
        """The next block, of frames, as there are no others."""
        del kind, last, secret
        head = _HEAD_1.pack(SYNC, 0, len(payload), count, first)[CHECKED:]
        checksum = crc32(payload, crc32(head, self._seed))
        return b"".join((SYNC, checksum.to_bytes(4, "big"), head, payload))

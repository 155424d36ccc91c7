"""Reads recordings that may be damaged, in constant memory: every whole block counts, what is between is skipped.

Whether a recording is what its recorder wrote is another question: see `verify`.
"""

from collections.abc import Callable, Iterable, Iterator
from zlib import crc32

import zstandard

from interlock.core.errors import RecordingError
from interlock.domain.container.blocks import (
    ENCRYPTED,
    FORMAT_1,
    MAGIC,
    MAX_STORED,
    PREAMBLE_SIZE,
    SYNC,
    VERSION,
    Block,
    BlockKind,
    head_size,
    keys_block,
    read_head,
)
from interlock.domain.container.frames import parse_frames
from interlock.domain.container.index import Points
from interlock.domain.container.locked import KEYS_SIZE, ContentKey, Held, Unlock, read_keys
from interlock.domain.container.packing import unpacked
from interlock.domain.container.seal import Seal
from interlock.domain.recording import Frame, Header

LOCKED = "the recording is encrypted: give the identity of one of its recipients (--identity FILE)"
"""What a person learns who has no key."""


class Decoder:
    """Reads a recording that arrives in pieces. Damage is skipped up to the next whole block and counted."""

    def __init__(
        self, unlock: Unlock | None = None, *, key: ContentKey | None = None, blind: bool = False
    ) -> None:
        """``unlock``: turns a wrapped key into the key, if contents are encrypted; ``key``: known already.

        ``blind``: pass over what is encrypted. Otherwise, without a key, reading that is a RecordingError.
        """
        self.key = key
        self.encrypted = False  # whether there was a keys block
        self.wrapped = b""  # its key, as the file holds it
        self._unlock = unlock
        self._blind = blind
        self.last = 0  # the latest moment that a block's head names, in microseconds
        self.header: Header | None = None  # set by the first frame, if that is a header
        self.version = VERSION  # known, as the salt is, when the preamble was read
        self.salt = b""
        self.block: Block | None = None  # the last whole one
        self.good = 0  # offset in the file after it
        self.points = Points()  # that a seek index would have
        self.lost = 0  # bytes that belong to no whole block
        self._position = 0  # offset in the file of the buffer's first byte
        self._buffer = bytearray()
        self._seed = 0
        self._unpack = zstandard.ZstdDecompressor()

    @classmethod
    def inside(
        cls,
        version: int,
        salt: bytes,
        position: int = PREAMBLE_SIZE,
        *,
        key: ContentKey | None = None,
        blind: bool = False,
    ) -> "Decoder":
        """A reader that starts at a place behind the preamble of the file with this salt."""
        decoder = cls(key=key, blind=blind)
        decoder.version = version
        decoder.salt = salt
        decoder._seed = crc32(salt)
        decoder._position = decoder.good = position
        return decoder

    def resume(self, position: int) -> None:
        """Go on at another place of the same file, whose bytes from there on will be fed."""
        self._buffer.clear()
        self._position = self.good = position

    @property
    def seal(self) -> Seal | None:
        """What the last whole block says, if it is a seal."""
        return Seal.read(self.block) if self.block is not None else None

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames of the blocks that are now whole; RecordingError if this is not a recording at all."""
        self._buffer += data
        if self._position == 0 and not self._read_preamble():
            return
        while (block := self._next_block()) is not None:
            yield from block

    def close(self) -> Iterator[Frame]:
        """What can still be read after the last piece: whole blocks behind one that was cut or damaged."""
        if self._position == 0:
            raise RecordingError("this is not a recording", reason="shorter than the preamble")
        while self._buffer:
            self._skip(1)
            while (block := self._next_block()) is not None:
                yield from block

    def _read_preamble(self) -> bool:
        if len(self._buffer) < PREAMBLE_SIZE:
            return False
        self.version, self.salt = read_preamble(self._buffer)
        self._seed = crc32(self.salt)
        self._drop(PREAMBLE_SIZE)
        self.good = self._position
        return True

    def _next_block(self) -> list[Frame] | None:
        """The next whole block's frames; None when more bytes are needed."""
        while True:
            self._resync()
            buffer = self._buffer
            if len(buffer) < head_size(self.version):
                return None
            head = read_head(self.version, buffer)
            if head.length > MAX_STORED:
                self._skip(1)
                continue
            end = head.size + head.length
            if len(buffer) < end:
                return None
            block = Block(self._position, head, bytes(buffer[:end]))
            frames = self._frames(block)
            if frames is None:
                self._skip(1)
                continue
            self._drop(end)
            self.good = self._position
            if head.kind == BlockKind.KEYS:
                return frames
            self.block = block
            self.last = max(self.last, head.last)
            if head.kind == BlockKind.FRAMES:
                self.points.block(block.offset, head.first)
            return frames

    def _frames(self, block: Block) -> list[Frame] | None:
        head = block.head
        if not block.is_whole(self._seed):
            return None
        if head.kind != BlockKind.FRAMES:
            self._note_keys(block)
            return []
        if head.flags & ENCRYPTED and self._blind:
            return []
        payload = self.opened(block)
        try:
            frames = list(parse_frames(unpacked(payload, self._unpack), head.count, head.first))
        except (RecordingError, IndexError):
            return None
        if self.header is None and frames and isinstance(frames[0].body, Header):
            self.header = frames[0].body
        return frames

    def opened(self, block: Block) -> bytes:
        """A block's payload, decrypted if need be; RecordingError if that is not possible."""
        if not block.head.flags & ENCRYPTED:
            return block.payload
        if self.key is None:
            if self._unlock is None or not self.wrapped:
                raise RecordingError(LOCKED)
            self.key = ContentKey(self._unlock(self.wrapped))
        return self.key.unlock(self.salt, block.raw[: block.head.size], block.payload)

    def _note_keys(self, block: Block) -> None:
        found = read_keys(block.payload) if block.head.kind == BlockKind.KEYS else None
        if found is None or block.offset != PREAMBLE_SIZE:
            return
        self.encrypted = True
        how, data = found
        if how is Held.OPEN:
            self.key = self.key or ContentKey(data)
        else:
            self.wrapped = data

    def _resync(self) -> None:
        """Move to the next place where a block may start."""
        if self._buffer.startswith(SYNC[: len(self._buffer)]):
            return
        found = self._buffer.find(SYNC)
        self._skip(found if found >= 0 else max(len(self._buffer) - len(SYNC) + 1, 0))

    def _skip(self, size: int) -> None:
        self.lost += size
        self._drop(size)

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._position += size


def opened_for_player(front: bytes, unlock: Unlock) -> bytes:
    """The beginning of a recording, with the key in the open if it was wrapped; what is signed stays as it was.

    ``front`` reaches as far as the header. RecordingError if the key cannot be unwrapped.
    """
    return _held(front, Held.OPEN, unlock) or front


def rewrapped(front: bytes, rewrap: Callable[[bytes], bytes]) -> bytes | None:
    """The same with the key wrapped anew; None if there is no wrapped key."""
    return _held(front, Held.AGE, rewrap)


def _held(front: bytes, how: Held, make: Callable[[bytes], bytes]) -> bytes | None:
    decoder = Decoder(blind=True)
    list(decoder.feed(front))
    if not decoder.wrapped:
        return None
    keys = keys_block(decoder.salt, how, make(decoder.wrapped))
    return front[:PREAMBLE_SIZE] + keys + front[PREAMBLE_SIZE + KEYS_SIZE :]


def decode(chunks: Iterable[bytes], unlock: Unlock | None = None) -> Iterator[Frame]:
    """The frames of a recording, in constant memory; RecordingError if it is none, or encrypted for others."""
    return read_all(Decoder(unlock), chunks)


def read_all(decoder: Decoder, chunks: Iterable[bytes]) -> Iterator[Frame]:
    """Feed everything and close."""
    for chunk in chunks:
        yield from decoder.feed(chunk)
    yield from decoder.close()


def read_preamble(data: bytes | bytearray) -> tuple[int, bytes]:
    """Version and salt from a file's first PREAMBLE_SIZE bytes; RecordingError if it is none that we can read."""
    if not data.startswith(MAGIC):
        raise RecordingError("this is not a recording", reason="wrong magic bytes")
    version = data[len(MAGIC)]
    if version not in (FORMAT_1, VERSION):
        raise RecordingError(f"the recording has format {version}, which this version cannot read")
    return version, bytes(data[len(MAGIC) + 1 : PREAMBLE_SIZE])

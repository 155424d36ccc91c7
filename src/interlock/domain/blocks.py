"""The recording file, format 1: a preamble, then compressed blocks that can each be read on their own.

::

    file    = magic (7 bytes) version (1) salt (8) block*
    block   = "ILRB" checksum length frames time payload     integers big-endian
               4     4        4      4      8    length      time: of its first frame, microseconds since the start
    payload = zstd( frame* )                                 one zstd frame that states its content's size
    frame   = kind (1 byte) delta length data                delta, length: LEB128; delta: microseconds since the
                                                             frame before, 0 for the first of its block

The kinds of frames are in `recording`; a reader skips those that it does not know, so that a new kind needs no new
version. The checksum is the CRC-32 of salt and all of the block that follows the checksum. The salt is random, so
that a block which a user prints on the terminal is not taken for one of ours when a reader looks for the next one.
A writer that is killed loses what it had not written; a reader takes every whole block and skips what is between.
A hash chain and a signature will come with another version byte.
"""

from collections.abc import Iterable, Iterator
from struct import Struct
from zlib import crc32

import zstandard

from interlock.core.errors import RecordingError
from interlock.domain.recording import KNOWN, Frame, Header, Stream, from_payload

MAGIC = b"\x89ILR\r\n\x1a"
"""Seven bytes that no text file starts with and that a transfer in text mode breaks visibly (as PNG does)."""

VERSION = 1
SALT_SIZE = 8
PREAMBLE_SIZE = len(MAGIC) + 1 + SALT_SIZE

BLOCK_SIZE = 128 * 1024
"""Bytes of frames after which a block is due: zstd gains little beyond, and one block is lost at most."""

MAX_BLOCK = 1024 * 1024
"""Bytes of frames that a reader unpacks from one block, so that a forged file cannot fill the memory."""

SYNC = b"ILRB"
"""Starts every block, so that a reader finds the next one behind damage."""

_HEAD = Struct(">4sIIIQ")
_CHECKED = 8  # offset in a block from which on the checksum covers it
_MAX_STORED = MAX_BLOCK + MAX_BLOCK // 128 + 512  # zstd's bound on incompressible data, generously
_OUTPUT = frozenset(Stream)
_NO_LENGTH = bytes(3)  # most lengths take three bytes in the end, or few bytes follow them
_LEVEL = 1  # takes some 400 MB/s of a terminal's text; level 3 gains a few percent and costs a third more time

JOINED_US = 1000
"""Microseconds in which output of one kind becomes one frame: a flood comes in packets of 4 KB, 18 in them."""


def preamble(salt: bytes) -> bytes:
    """The first bytes of a file; ``salt``: SALT_SIZE random bytes, the same as its `BlockBuilder` has."""
    return MAGIC + bytes([VERSION]) + salt


def new_compressor() -> zstandard.ZstdCompressor:
    """A compressor with the format's settings; not to be used by two threads at once."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)


class BlockBuilder:
    """Collects frames, and packs them into one block when asked. Many builders may share one compressor."""

    __slots__ = (
        "_buffer",
        "_compressor",
        "_count",
        "_data_at",
        "_first",
        "_kind",
        "_last",
        "_seed",
        "_until",
        "sizes",
    )

    def __init__(self, salt: bytes, compressor: zstandard.ZstdCompressor | None = None) -> None:
        self.sizes: dict[int, int] = {}  # bytes of the last block's payloads by kind, once it was taken
        self._seed = crc32(salt)
        self._compressor = compressor or new_compressor()
        self._buffer = bytearray()
        self._count = 0
        self._first = self._last = 0
        self._kind = 0  # of the last frame
        self._data_at = 0  # where the last frame's payload begins; 0: its length is written already
        self._until = 0  # the first microsecond of which nothing more is joined to it

    def __len__(self) -> int:
        """Bytes of frames collected."""
        return len(self._buffer)

    @property
    def first(self) -> int | None:
        """When the oldest frame collected was: microseconds after the start; None if there is none."""
        return self._first if self._buffer else None

    def add(self, kind: int, at: int, payload: bytes | bytearray | memoryview) -> int:
        """Append a copy of one frame's payload; ``at`` in microseconds after the start, never decreasing.

        Returns how many bytes of frames are collected.
        Output is joined to that of the same kind before it, within `JOINED_US` of where that began.
        """
        if at >= self._until or kind != self._kind:
            self._begin(kind, at)
        self._buffer += payload
        return len(self._buffer)

    def take(self) -> bytes:
        """The collected frames as one block, ready to be written; the builder is empty afterwards."""
        self._finish()
        packed = self._compressor.compress(self._buffer)
        head = _HEAD.pack(SYNC, 0, len(packed), self._count, self._first)[_CHECKED:]
        checksum = crc32(packed, crc32(head, self._seed))
        self._buffer = bytearray()
        self._count = 0
        return b"".join((SYNC, checksum.to_bytes(4, "big"), head, packed))

    def _begin(self, kind: int, at: int) -> None:
        """A new frame, whose length is left out until it is known."""
        buffer = self._buffer
        if buffer:
            self._finish()
        else:
            self._first = self._last = at
            self.sizes = {}
        buffer.append(kind)
        _put_number(buffer, max(at - self._last, 0))
        buffer += _NO_LENGTH
        self._last = max(at, self._last)
        self._count += 1
        self._kind = kind
        self._data_at = len(buffer)
        self._until = self._last + JOINED_US if kind in _OUTPUT else 0

    def _finish(self) -> None:
        """Write the last frame's length."""
        if not self._data_at:
            return
        data_at, self._data_at, self._until = self._data_at, 0, 0
        size = len(self._buffer) - data_at
        self.sizes[self._kind] = self.sizes.get(self._kind, 0) + size
        length = bytearray()
        _put_number(length, size)
        self._buffer[data_at - len(_NO_LENGTH) : data_at] = length


class Decoder:
    """Reads a recording that arrives in pieces. Damage is skipped up to the next whole block and counted."""

    def __init__(self) -> None:
        self.header: Header | None = None  # set by the first frame, if that is a header
        self.salt = b""  # set when the preamble was read
        self.good = 0  # offset in the file after the last whole block
        self.lost = 0  # bytes that belong to no whole block
        self._position = 0  # offset in the file of the buffer's first byte
        self._buffer = bytearray()
        self._seed = 0  # known once the preamble was read
        self._unpack = zstandard.ZstdDecompressor()

    @classmethod
    def inside(cls, salt: bytes) -> "Decoder":
        """A reader that starts somewhere behind the preamble of the file with this salt."""
        decoder = cls()
        decoder.salt = salt
        decoder._seed = crc32(salt)
        decoder._position = decoder.good = PREAMBLE_SIZE
        return decoder

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
        if not self._buffer.startswith(MAGIC):
            raise RecordingError("this is not a recording", reason="wrong magic bytes")
        version = self._buffer[len(MAGIC)]
        if version != VERSION:
            raise RecordingError(f"the recording has format {version}, which this version cannot read")
        self.salt = bytes(self._buffer[len(MAGIC) + 1 : PREAMBLE_SIZE])
        self._seed = crc32(self.salt)
        self._drop(PREAMBLE_SIZE)
        self.good = self._position
        return True

    def _next_block(self) -> list[Frame] | None:
        """The next whole block's frames; None when more bytes are needed."""
        while True:
            self._resync()
            buffer = self._buffer
            if len(buffer) < _HEAD.size:
                return None
            _, checksum, length, count, first = _HEAD.unpack_from(buffer)
            if length > _MAX_STORED:
                self._skip(1)
                continue
            end = _HEAD.size + length
            if len(buffer) < end:
                return None
            frames = self._frames(bytes(buffer[_CHECKED:end]), checksum, count, first)
            if frames is None:
                self._skip(1)
                continue
            self._drop(end)
            self.good = self._position
            return frames

    def _frames(self, checked: bytes, checksum: int, count: int, first: int) -> list[Frame] | None:
        if crc32(checked, self._seed) != checksum:
            return None
        try:
            frames = list(_parse(self._unpacked(checked[_HEAD.size - _CHECKED :]), count, first))
        except (RecordingError, IndexError):
            return None
        if self.header is None and frames and isinstance(frames[0].body, Header):
            self.header = frames[0].body
        return frames

    def _unpacked(self, packed: bytes) -> bytes:
        try:
            if not 0 <= zstandard.get_frame_parameters(packed).content_size <= MAX_BLOCK:
                raise RecordingError("the recording is damaged", reason="a block is too large")
            return self._unpack.decompress(packed)
        except zstandard.ZstdError as error:
            raise RecordingError("the recording is damaged", reason=str(error)) from None

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


def decode(chunks: Iterable[bytes]) -> Iterator[Frame]:
    """The frames of a recording, in constant memory; RecordingError if it is none."""
    return read_all(Decoder(), chunks)


def read_all(decoder: Decoder, chunks: Iterable[bytes]) -> Iterator[Frame]:
    """Feed everything and close."""
    for chunk in chunks:
        yield from decoder.feed(chunk)
    yield from decoder.close()


def _parse(data: bytes, count: int, first: int) -> Iterator[Frame]:
    """The frames of an unpacked block; IndexError or RecordingError if they do not fill it exactly."""
    position, at = 0, first
    for _ in range(count):
        kind = data[position]
        delta, position = _number(data, position + 1)
        length, position = _number(data, position)
        at += delta
        if kind in KNOWN:
            yield Frame(at, from_payload(kind, data[position : position + length]))
        position += length
    if position != len(data):
        raise RecordingError("the recording is damaged", reason="a block's frames do not fill it")


def _put_number(buffer: bytearray, value: int) -> None:
    while value > 0x7F:
        buffer.append(value & 0x7F | 0x80)
        value >>= 7
    buffer.append(value)


def _number(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise RecordingError("the recording is damaged", reason="a number is too long")

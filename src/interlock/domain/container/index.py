"""The seek index: where in a file which moment is, and what a terminal showed then.

A point is the beginning of a block; a keyframe holds the terminal's screen as it was at a point, so that whoever
begins there needs nothing of what came before. Both are written when the recording is closed, before its seal::

    keyframe = zstd( columns (4 bytes) rows (4) sequences that paint the screen )
    index    = zstd( (offset (8) time (8) offset of the keyframe (8, or 0))* )

Points are so far apart that making their keyframes costs little, and so near that a reader who begins at the one
before the wanted moment has little to pass over.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from struct import Struct

import zstandard

from interlock.core.errors import RecordingError
from interlock.domain.container.blocks import MAX_BLOCK, Block, BlockKind, Chain
from interlock.domain.container.packing import new_compressor, unpacked
from interlock.domain.recording import Frame, Header, Output, Stream
from interlock.domain.screen import Screen
from interlock.domain.screen.skim import skimmed
from interlock.domain.session import Window

STEP = 256 * 1024
"""Bytes of the file between two points, at least."""

STEP_US = 15_000_000
"""Microseconds between two points, at least: a flood needs no more of them than a person can tell apart."""

MAX_POINTS = 4096
"""Points of one recording. When there are as many, every other one is forgotten, and steps are twice as long."""

MAX_KEYFRAMES = 256
"""Keyframes of one recording, each some 60 ms of work. The longest get one at every so many points."""

LETTERS = 32 * 1024
"""Bytes of output before a point that its keyframe follows to the letter, some 30 ms of work; of what was written
before them only the modes count (see `screen.skim`)."""

MAX_PAINTED = 16 * 1024 * 1024
"""Bytes of one recording's keyframes, packed. A screen takes a few hundred; one that somebody fills with what does
not compress, up to a thousand times that. Beyond the bound, those are forgotten that lie closest together."""

WINDOW = 1024 * 1024
"""Bytes of the file before a point that are read for its keyframe."""

_ENTRY = Struct(">QQQ")
_SIZE = Struct(">II")


@dataclass(frozen=True, slots=True)
class Point:
    """A block at which a reader may begin."""

    offset: int
    at: int  # microseconds after the start
    keyframe: int = 0  # offset of the block that has the screen; 0: there is none


class Points:
    """Collects points in bounded memory while blocks are written or read; next to none while there are none."""

    __slots__ = ("_at", "_found", "_offset", "_step", "_step_us")

    def __init__(self) -> None:
        self._found: list[Point] | None = None
        self._step, self._step_us = STEP, STEP_US
        self._offset = self._at = 0  # of the last one

    @property
    def found(self) -> tuple[Point, ...]:
        """All of them, in order."""
        return tuple(self._found or ())

    def block(self, offset: int, at: int) -> None:
        """A block of frames begins here."""
        if offset - self._offset < self._step or at - self._at < self._step_us:
            return
        self._offset, self._at = offset, at
        found = self._found = self._found or []
        found.append(Point(offset, at))
        if len(found) >= MAX_POINTS:
            del found[::2]
            self._step, self._step_us = self._step * 2, self._step_us * 2


@dataclass(frozen=True, slots=True)
class Keyframe:
    """A terminal's screen at a point, packed as it is in the file."""

    point: Point
    packed: bytes

    @classmethod
    def of(
        cls, point: Point, window: Window, painted: bytes, compressor: zstandard.ZstdCompressor
    ) -> "Keyframe | None":
        """None if it is too large for a block."""
        if len(painted) + _SIZE.size > MAX_BLOCK:
            return None
        return cls(point, compressor.compress(_SIZE.pack(window.cols, window.rows) + painted))


def read_keyframe(block: Block, payload: bytes) -> tuple[Window, bytes]:
    """What paints the screen, from a block of this kind and its payload, decrypted. RecordingError: it is none."""
    data = unpacked(payload, zstandard.ZstdDecompressor())
    if block.head.kind != BlockKind.KEYFRAME or len(data) < _SIZE.size:
        raise RecordingError("the recording is damaged", reason=f"no keyframe at byte {block.offset}")
    return Window(*_SIZE.unpack_from(data)), data[_SIZE.size :]


class Painter:
    """Makes keyframes one after the other, of what was written before each."""

    def __init__(self, header: Header) -> None:
        self._screen = Screen(header.cols or 80, header.rows or 24)
        self._compressor = new_compressor()

    def keyframe(self, point: Point, frames: Iterable[Frame]) -> Keyframe | None:
        """Of a point, given what was written since the point before, or the last of it."""
        recent = bytearray()
        for frame in frames:
            match frame.body:
                case Output(Stream.STDOUT, data):
                    recent += data
                    if len(recent) > 2 * LETTERS:
                        self._screen.feed(skimmed(bytes(recent[:-LETTERS])))
                        del recent[:-LETTERS]
                case Window(cols, rows):
                    self._screen.feed(bytes(recent))
                    recent.clear()
                    self._screen.resize(cols, rows)
                case _:
                    pass
        self._screen.feed(bytes(recent))
        return Keyframe.of(point, Window(*self._screen.size), self._screen.snapshot(), self._compressor)


def indexed(chain: Chain, points: Iterable[Point], keyframes: Iterable[Keyframe]) -> tuple[list[bytes], int]:
    """Keyframes and index as the chain's next blocks, and where the index is; nothing and 0 without points."""
    compressor, blocks = new_compressor(), list[bytes]()
    entries = {point.offset: point for point in points}
    for each in keyframes:
        entries[each.point.offset] = replace(each.point, keyframe=chain.offset)
        at = each.point.at
        blocks.append(chain.block(BlockKind.KEYFRAME, each.packed, first=at, last=at, secret=True))
    if not entries:
        return [], 0
    index = chain.offset
    packed = compressor.compress(
        b"".join(_ENTRY.pack(each.offset, each.at, each.keyframe) for each in entries.values())
    )
    blocks.append(chain.block(BlockKind.INDEX, packed))
    return blocks, index


def read_index(payload: bytes) -> Iterator[Point]:
    """The points in the payload of an index; RecordingError if it is damaged."""
    data = unpacked(payload, zstandard.ZstdDecompressor())
    if len(data) % _ENTRY.size or len(data) > MAX_POINTS * _ENTRY.size:
        raise RecordingError("the recording is damaged", reason=f"an index of {len(data)} bytes")
    for entry in _ENTRY.iter_unpack(data):
        yield Point(*entry)

"""Begins to read a recording at any moment: what is read does not grow with what came before it.

Where to begin is worked out by generators that ask for bytes, since those may be on a disk, in a bucket or at the
other end of a connection: they yield what they want to see (offset and size) and are sent it.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from interlock.core.errors import RecordingError
from interlock.domain.container.blocks import (
    FORMAT_1,
    MAX_STORED,
    PREAMBLE_SIZE,
    SYNC,
    Block,
    BlockKind,
    head_size,
    read_head,
)
from interlock.domain.container.index import (
    MAX_KEYFRAMES,
    MAX_PAINTED,
    WINDOW,
    Keyframe,
    Painter,
    Point,
    read_index,
    read_keyframe,
)
from interlock.domain.container.locked import ContentKey, Unlock
from interlock.domain.container.reading import Decoder, read_preamble
from interlock.domain.container.seal import CLOSING
from interlock.domain.recording import Frame, Header, Output, Stream

PIECE = 64 * 1024
"""Bytes that are read at once."""

FRONT = 1024 * 1024
"""Bytes in which a recording's header must stand; it is the first frame of a block of at most 128 KiB."""

_TAIL = 4096  # bytes in which the last seal is looked for
_NEVER = 1 << 64  # microseconds
_T = TypeVar("_T")

ReadAt = Callable[[int, int], bytes]
"""Offset and size to bytes, fewer at the end of the file only."""

Asking = Generator[tuple[int, int], bytes, _T]
"""Yields offset and size, is sent what `ReadAt` would return, and has a result."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader begins, for a moment."""

    header: Header
    front: bytes  # of the file, with the block of the header, and the key before it
    point: Point
    keyframe: Block | None  # of the point


def place_of(size: int, at: int, whole: Decoder) -> Asking[Place]:
    """Where to begin in a file of this size for the moment ``at``, in microseconds after the start.

    ``whole`` has read nothing yet; afterwards it has the header. RecordingError if this is no recording, or if
    what tells the place is damaged.
    """
    front = bytearray()
    while whole.header is None and len(front) < FRONT:
        piece = yield len(front), PIECE
        if not piece:
            break
        front += piece
        next(whole.feed(piece), None)
    if whole.header is None:
        raise RecordingError("this is not a recording", reason="no header")
    point = yield from _nearest(size, at, whole)
    keyframe = (yield from _block(point.keyframe, whole.version)) if point.keyframe else None
    return Place(whole.header, bytes(front), point, keyframe)


def answered(asking: Asking[_T], read: ReadAt) -> _T:
    """The result, with all that is asked for read at once."""
    try:
        wanted = next(asking)
        while True:
            wanted = asking.send(read(*wanted))
    except StopIteration as end:
        result: _T = end.value
        return result


def needed(seen: Iterable[tuple[int, int]], place: Place, size: int) -> list[tuple[int, int]]:
    """All that `frames_from` reads for a place: offset and size, in order and apart from each other.

    ``seen``: what was asked for to find the place; ``size`` is the file's.
    """
    found: list[tuple[int, int]] = []
    for offset, length in sorted((*seen, (place.point.offset, size - place.point.offset))):
        end = min(offset + length, size)
        if found and offset <= (last := sum(found[-1])):
            found[-1] = found[-1][0], max(end, last) - found[-1][0]
        elif end > offset:
            found.append((offset, end - offset))
    return found


def frames_from(read: ReadAt, size: int, at: int, unlock: Unlock | None = None) -> Iterator[Frame]:
    """The header, then what makes a screen as it was ``at`` microseconds after the start, then what followed.

    ``size`` is the file's. Times are those of the recording; what came before the moment has the moment's.
    RecordingError if it is no recording.
    """
    for frame in frames_near(read, size, at, unlock):
        if isinstance(frame.body, Header) or frame.at >= at:
            yield frame
        else:
            yield Frame(at, frame.body)


def frames_near(read: ReadAt, size: int, at: int, unlock: Unlock | None = None) -> Iterator[Frame]:
    """The same, each with its own time: those from before the moment can be told apart."""
    whole = Decoder(unlock)
    place = answered(place_of(size, at, whole), read)
    yield Frame(0, place.header)
    if place.keyframe is not None:
        window, painted = read_keyframe(place.keyframe, whole.opened(place.keyframe))
        yield Frame(place.point.at, window)
        yield Frame(place.point.at, Output(Stream.STDOUT, painted))
    whole.resume(place.point.offset)
    offset = place.point.offset
    while piece := read(offset, PIECE):
        offset += len(piece)
        yield from _without_header(whole.feed(piece))
    yield from _without_header(whole.close())


def keyframes_at(
    read: ReadAt,
    header: Header,
    points: Sequence[Point],
    key: ContentKey | None = None,
    *,
    limit: int = MAX_PAINTED,
) -> list[Keyframe]:
    """The screens of a terminal's recording at these points, in their order, or at some of them if they are many.

    None if there is no terminal, or if the contents are encrypted and the ``key`` is not at hand.

    Each costs some milliseconds: for a thread, not for the event loop. ``limit``: bytes of them all.
    """
    if not header.interactive or not points:
        return []
    version, salt = read_preamble(read(0, PREAMBLE_SIZE))
    if key is None and version != FORMAT_1:
        first = answered(_block(PREAMBLE_SIZE, version), read)
        if first.head.kind == BlockKind.KEYS:
            return []
    painter, before, made, size = Painter(header), PREAMBLE_SIZE, list[Keyframe](), 0
    for point in points[:: -(-len(points) // MAX_KEYFRAMES)]:
        start = max(before, point.offset - WINDOW)
        frames = Decoder.inside(version, salt, start, key=key).feed(read(start, point.offset - start))
        before = point.offset
        if (keyframe := painter.keyframe(point, frames)) is None:
            continue
        made.append(keyframe)
        size += len(keyframe.packed)
        while size > limit:
            size -= len(made.pop(_least_missed(made)).packed)
    return made


def rebased(frames: Iterator[Frame], at: int) -> Iterator[Frame]:
    """A recording that begins at the moment: its times count from there, and its header says when that was."""
    for frame in frames:
        if isinstance(frame.body, Header):
            yield Frame(0, replace(frame.body, start=_moved(frame.body.start, at)))
        else:
            yield Frame(max(frame.at - at, 0), frame.body)


def _without_header(frames: Iterator[Frame]) -> Iterator[Frame]:
    return (frame for frame in frames if not isinstance(frame.body, Header))


def _nearest(size: int, at: int, whole: Decoder) -> Asking[Point]:
    """The last point that is not behind the moment; the beginning if there is none."""
    nearest = Point(PREAMBLE_SIZE, 0)
    if index := (yield from _index(size, whole)):
        block = yield from _block(index, whole.version)
        points = list(read_index(block.payload))
        painted = [point for point in points if point.keyframe]
        for point in painted or points:
            if point.at <= at and nearest.offset <= point.offset < size:
                nearest = point
    return nearest


def _index(size: int, whole: Decoder) -> Asking[int]:
    """Where the index is, as the last seal says; 0 if there is none."""
    tail = yield max(0, size - _TAIL), _TAIL
    start = tail.rfind(SYNC)
    while start >= 0:
        decoder = Decoder.inside(whole.version, whole.salt, blind=True)
        list(decoder.feed(tail[start:]))
        if decoder.block is not None:
            seal = decoder.seal
            return seal.index if seal is not None and seal.state in CLOSING else 0
        start = tail.rfind(SYNC, 0, start)
    return 0


def _least_missed(keyframes: Sequence[Keyframe]) -> int:
    """That without which a reader has the least to pass over."""
    times = [0, *(each.point.at for each in keyframes), _NEVER]
    return min(range(len(keyframes)), key=lambda number: times[number + 2] - times[number])


def _block(offset: int, version: int) -> Asking[Block]:
    start = yield offset, _TAIL
    size = head_size(version)
    head = read_head(version, start) if len(start) >= size and start.startswith(SYNC) else None
    if head is None or head.length > MAX_STORED:
        raise RecordingError("the recording is damaged", reason=f"no block at byte {offset}")
    end = size + head.length
    rest = (yield offset + _TAIL, end - _TAIL) if end > _TAIL else b""
    return Block(offset, head, start[:end] + rest)


def _moved(start: str, at: int) -> str:
    try:
        return (datetime.fromisoformat(start) + timedelta(microseconds=at)).isoformat()
    except (ValueError, OverflowError):
        return start

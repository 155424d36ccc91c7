"""Begins to read a recording at any moment: what is read does not grow with what came before it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from interlock.core.errors import RecordingError
from interlock.domain.container.blocks import (
    FORMAT_1,
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

_TAIL = 4096  # bytes in which the last seal is looked for

_NEVER = 1 << 64  # microseconds

ReadAt = Callable[[int, int], bytes]
"""Offset and size to bytes, fewer at the end of the file only."""


def frames_from(read: ReadAt, size: int, at: int, unlock: Unlock | None = None) -> Iterator[Frame]:
    """The header, then what makes a screen as it was ``at`` microseconds after the start, then what followed.

    ``size`` is the file's. Times are those of the recording; what came before the moment has the moment's.
    RecordingError if it is no recording.
    """
    whole = Decoder(unlock)
    offset = 0
    while whole.header is None and (piece := read(offset, PIECE)):
        offset += len(piece)
        for frame in whole.feed(piece):
            yield frame
            break
    if whole.header is None:
        raise RecordingError("this is not a recording", reason="no header")
    point = _nearest(read, size, at, whole)
    if point.keyframe:
        block = _block(read, point.keyframe, whole.version)
        window, painted = read_keyframe(block, whole.opened(block))
        yield Frame(at, window)
        yield Frame(at, Output(Stream.STDOUT, painted))
    whole.resume(point.offset)
    offset = point.offset
    while piece := read(offset, PIECE):
        offset += len(piece)
        yield from _later(whole.feed(piece), at)
    yield from _later(whole.close(), at)


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
    if key is None and version != FORMAT_1 and _block(read, PREAMBLE_SIZE, version).head.kind == BlockKind.KEYS:
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


def _later(frames: Iterator[Frame], at: int) -> Iterator[Frame]:
    for frame in frames:
        if not isinstance(frame.body, Header):
            yield frame if frame.at >= at else Frame(at, frame.body)


def _nearest(read: ReadAt, size: int, at: int, whole: Decoder) -> Point:
    """The last point that is not behind the moment; the beginning if there is none."""
    nearest = Point(PREAMBLE_SIZE, 0)
    if index := _index(read, size, whole):
        points = list(read_index(_block(read, index, whole.version).payload))
        painted = [point for point in points if point.keyframe]
        for point in painted or points:
            if point.at <= at and point.offset >= nearest.offset:
                nearest = point
    return nearest


def _index(read: ReadAt, size: int, whole: Decoder) -> int:
    """Where the index is, as the last seal says; 0 if there is none."""
    tail = read(max(0, size - _TAIL), _TAIL)
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


def _block(read: ReadAt, offset: int, version: int) -> Block:
    size = head_size(version)
    start = read(offset, size)
    if len(start) < size or not start.startswith(SYNC):
        raise RecordingError("the recording is damaged", reason=f"no block at byte {offset}")
    head = read_head(version, start)
    return Block(offset, head, start + read(offset + size, head.length))


def _moved(start: str, at: int) -> str:
    try:
        return (datetime.fromisoformat(start) + timedelta(microseconds=at)).isoformat()
    except (ValueError, OverflowError):
        return start

"""Frames as they lie in a block: what the recorder writes one after the other, unpacked.

::

    frame   = kind (1 byte) delta length data                delta, length: LEB128; delta: microseconds since the
                                                             frame before, 0 for the first of its block

The kinds of frames are in `recording`; a reader skips those that it does not know, so that a new kind needs no new
version.
"""

from collections.abc import Iterator

from interlock.core.errors import RecordingError
from interlock.domain.recording import KNOWN, Frame, Stream, from_payload

JOINED_US = 1000
"""Microseconds in which output of one kind becomes one frame: a flood comes in packets of 4 KB, 18 in them."""

_OUTPUT = frozenset(Stream)
_NO_LENGTH = bytes(3)  # most lengths take three bytes in the end, or few bytes follow them


class FrameBuffer:
    """Collects frames until they are taken out as the contents of a block."""

    __slots__ = ("_buffer", "_count", "_data_at", "_first", "_kind", "_last", "_until", "sizes")

    def __init__(self) -> None:
        self.sizes: dict[int, int] = {}  # bytes of the last block's payloads by kind, once it was taken
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

    def _taken(self) -> tuple[bytearray, int]:
        """The collected frames and how many; the buffer is empty afterwards. Their times stay to be asked for."""
        self._finish()
        buffer, count = self._buffer, self._count
        self._buffer = bytearray()
        self._count = 0
        return buffer, count

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


def parse_frames(data: bytes, count: int, first: int) -> Iterator[Frame]:
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

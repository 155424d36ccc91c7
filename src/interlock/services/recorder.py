"""Turns what a session shows into blocks on disk, on the path of its packets: synchronous, no task, no await.

A block is written when it is full or 100 ms after its first byte, whichever comes first, so a crash costs at most
that much. Strict is the rule: when the disk fails, the owner is told once and ends the session. Nothing that the
client sends changes what is kept; only the presence of a terminal and the byte limit do.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from zstandard import ZstdCompressor

from interlock.core.errors import RecordingError
from interlock.domain.blocks import BLOCK_SIZE, BlockBuilder, preamble
from interlock.domain.recording import FrameKind, Header, Marker, Stream, resize_payload, to_payload
from interlock.domain.session import Exit, Window
from interlock.ports import Clock, RecordingPart

FLUSH_AFTER_S = 0.1
"""Seconds that output may wait in memory. It bounds what a crash loses; shorter would compress worse."""

COMMAND_OUTPUT_LIMIT = 16 * 1024 * 1024
"""Bytes of output kept of a session without a terminal. What a person could have read of it is in there; beyond
it is bulk data (scp, rsync, tar, git), which would double the gateway's work and fill its disk. What is not kept
is counted in a marker, never left out silently."""

MAX_FRAME = 64 * 1024
"""Longest payload of one output frame, so that a block stays below the reader's bound."""


class Timer(Protocol):
    """A pending call."""

    def cancel(self) -> None:
        """Make sure that the call does not happen."""
        ...


CallLater = Callable[[float, Callable[[], None]], Timer]


def call_later(delay: float, callback: Callable[[], None]) -> Timer:
    """The running loop's timer."""
    return asyncio.get_running_loop().call_later(delay, callback)


class SessionRecorder(Protocol):
    """What a live session needs of a recorder."""

    @property
    def failed(self) -> bool:
        """Whether the recording stopped before the session's end."""
        ...

    def output(self, stream: Stream, data: bytes | memoryview) -> None:
        """Keep a copy of the bytes."""
        ...

    def resize(self, window: Window) -> None:
        """Note the terminal's new size."""
        ...

    def finish(self, ended: Exit) -> None:
        """Write the rest and close. Only the first call counts."""
        ...


class NoRecorder:
    """Of a session that another daemon records."""

    @property
    def failed(self) -> bool:
        """Nothing can fail."""
        return False

    def output(self, stream: Stream, data: bytes | memoryview) -> None:
        """Forget the bytes."""

    def resize(self, window: Window) -> None:
        """Forget the size."""

    def finish(self, ended: Exit) -> None:
        """Nothing to close."""


class Recorder:
    """Records one session into one part. Making one writes the header: RecordingError if the disk refuses."""

    def __init__(
        self,
        part: RecordingPart,
        header: Header,
        *,
        salt: bytes,
        compressor: ZstdCompressor,
        clock: Clock,
        on_failure: Callable[[RecordingError], None],
        call_later: CallLater = call_later,
        command_output_limit: int = COMMAND_OUTPUT_LIMIT,
    ) -> None:
        self._part: RecordingPart | None = part  # None: finished or failed
        self._builder = BlockBuilder(salt, compressor)
        self._clock = clock
        self._on_failure = on_failure
        self._call_later = call_later
        self._began = clock.monotonic()
        self._timer: Timer | None = None  # pending only while the block has frames
        self._room: int | None = None if header.interactive else command_output_limit
        self._dropped = {Stream.STDOUT: 0, Stream.STDERR: 0}
        self._finished = False
        self._builder.add(FrameKind.HEADER, 0, to_payload(header))
        try:
            part.append(preamble(salt) + self._builder.take())
        except OSError as error:
            part.remove()
            raise not_recordable(error) from error

    @property
    def failed(self) -> bool:
        """Whether the recording stopped before the session's end."""
        return self._part is None and not self._finished

    def output(self, stream: Stream, data: bytes | memoryview) -> None:
        """Keep a copy of the bytes, up to the limit for sessions without a terminal."""
        size = len(data)
        if self._part is None or not size:
            return
        if self._room is not None:
            if size > self._room:
                self._dropped[stream] += size - self._room
                size = self._room
                data = data[:size]
            self._room -= size
        if size > MAX_FRAME:
            for start in range(0, size, MAX_FRAME):
                self._add(stream, data[start : start + MAX_FRAME])
        elif size:
            self._add(stream, data)

    def resize(self, window: Window) -> None:
        """Note the terminal's new size."""
        self._add(FrameKind.RESIZE, resize_payload(window))

    def finish(self, ended: Exit) -> None:
        """Write the rest, how the session ended, and close. Only the first call counts."""
        self._disarm()
        if self._part is None:
            return
        self._write()
        if any(self._dropped.values()):
            marker = Marker(
                "truncated",
                "the limit for the output of commands without a terminal was reached",
                stdout=self._dropped[Stream.STDOUT],
                stderr=self._dropped[Stream.STDERR],
            )
            self._add(FrameKind.MARKER, to_payload(marker))
        self._add(FrameKind.EXIT, to_payload(ended))
        self._disarm()
        self._write()
        part, self._part = self._part, None
        if part is not None:
            self._finished = True
            part.close()

    def _add(self, kind: int, payload: bytes | memoryview) -> None:
        if self._part is None:
            return
        at = int((self._clock.monotonic() - self._began) * 1_000_000)
        self._builder.add(kind, at, payload)
        if len(self._builder) >= BLOCK_SIZE:
            self._write()
        elif self._timer is None:
            self._timer = self._call_later(FLUSH_AFTER_S, self._flush)

    def _flush(self) -> None:
        self._timer = None
        self._write()

    def _write(self) -> None:
        if self._part is None or not len(self._builder):
            return
        try:
            self._part.append(self._builder.take())
        except OSError as error:
            part, self._part = self._part, None
            part.close()
            self._disarm()
            self._on_failure(not_recordable(error))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def not_recordable(error: OSError) -> RecordingError:
    """What the person and the audit log learn when the disk refuses."""
    public = f"the session cannot be recorded: {error.strerror or 'the storage failed'}"
    return RecordingError(public, reason=f"{public} ({error.filename or 'recording'})")

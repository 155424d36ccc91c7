"""Plays a recording on a person's terminal in its own time, or prints it as text or JSON.

Only what draws reaches the terminal (`domain.terminal`). Finding the recording and reading the arguments is the
business of the commands that call this.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import IO

from interlock.core.errors import RecordingError
from interlock.domain import casting
from interlock.domain.container import Decoder, Unlock, answered, frames_from, frames_near, place_of
from interlock.domain.onwards import ONWARDS
from interlock.domain.recording import MICROSECONDS, Frame, Marker, Output, Stream
from interlock.domain.terminal import RESTORE, screen

IDLE_LIMIT_S = 0.5
"""Longest pause with ``--skip-idle-time``: still felt as a pause."""

MIN_SPEED, MAX_SPEED = 0.1, 100.0


class PlayFormat(Enum):
    """What comes out."""

    PTY = "pty"
    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a recording plays."""

    speed: float = 1.0
    skip_idle: bool = False

    def __post_init__(self) -> None:
        """Refuse a speed that no person can mean."""
        if not MIN_SPEED <= self.speed <= MAX_SPEED:
            msg = f"the speed must be between {MIN_SPEED:g} and {MAX_SPEED:g}"
            raise ValueError(msg)

    def pause(self, microseconds: int) -> float:
        """Seconds to wait for a pause of the session."""
        seconds = microseconds / MICROSECONDS / self.speed
        return min(seconds, IDLE_LIMIT_S) if self.skip_idle else seconds


def play(
    frames: Iterable[Frame],
    write: Callable[[str], object],
    *,
    form: PlayFormat = PlayFormat.PTY,
    pace: Pace | None = None,
    start: int = 0,
    terminal: bool = True,
    sleep: Callable[[float], object] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Play to the end. ``write`` takes text and flushes it; RecordingError if the recording is damaged.

    ``start``: the moment, in microseconds, at which it begins; what draws the screen as it was comes at once.
    ``terminal``: whether what is written reaches one, which must be left as it was found.
    """
    match form:
        case PlayFormat.PTY:
            with _left_as_found(write) if terminal else nullcontext():
                _perform(frames, write, pace or Pace(), start, sleep, monotonic)
        case PlayFormat.TEXT:
            for piece in casting.text(frames):
                write(piece)
        case PlayFormat.JSON:
            for line in casting.json_lines(frames):
                write(line)


class Fetched:
    """A file of which only some places are there."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: list[tuple[int, int]] = []  # beginnings and ends

    def put(self, offset: int, data: bytes) -> None:
        """Keep this; places come in order."""
        self._file.seek(offset)
        self._file.write(data)
        if self._places and self._places[-1][1] == offset:
            self._places[-1] = self._places[-1][0], offset + len(data)
        else:
            self._places.append((offset, offset + len(data)))

    def plays_from(self, at: int) -> bool:
        """Whether what is there is what `frames_of_file` reads for this moment."""
        try:
            place = answered(place_of(self._size, at, Decoder(blind=True)), self._read)
        except LookupError:
            return False
        except RecordingError:  # which playing it tells
            return True
        return self._has(place.point.offset, self._size)

    @property
    def _size(self) -> int:
        return self._places[-1][1] if self._places else 0

    def _has(self, offset: int, end: int) -> bool:
        return any(first <= offset and end <= last for first, last in self._places)

    def _read(self, offset: int, size: int) -> bytes:
        """Some bytes of what is there; LookupError if they are not."""
        end = min(offset + size, self._size)
        if end > offset and not self._has(offset, end):
            raise LookupError(offset)
        self._file.seek(offset)
        return self._file.read(size)


def frames_of_file(
    file: IO[bytes], at: int, unlock: Unlock | None = None, *, form: str = PlayFormat.PTY.value
) -> Iterator[Frame]:
    """Frames from a moment on, in microseconds; of a long recording only what is needed is read.

    What came before is there as far as the format has a use for it: see `domain.onwards`.
    """

    def read(offset: int, size: int) -> bytes:
        file.seek(offset)
        return file.read(size)

    size = file.seek(0, os.SEEK_END)
    if onwards := ONWARDS.get(form):
        return onwards(frames_near(read, size, at, unlock), at)
    return frames_from(read, size, at, unlock)


def unlock_with(identity: Path | None) -> Unlock | None:
    """What opens encrypted recordings; None without an identity. ConfigError if it cannot be read."""
    if identity is None:
        return None
    from interlock.adapters import age  # most recordings need none

    return age.identity(identity)


@contextmanager
def _left_as_found(write: Callable[[str], object]) -> Iterator[None]:
    """Neither colours nor a hidden cursor stay behind, however the playing ends."""
    try:
        yield
    finally:
        write(RESTORE)


def _perform(
    frames: Iterable[Frame],
    write: Callable[[str], object],
    pace: Pace,
    start: int,
    sleep: Callable[[float], object],
    monotonic: Callable[[], float],
) -> None:
    screens = {stream: screen() for stream in Stream}
    due, before = monotonic(), start  # due: when the next frame is to be shown, so that delays do not add up
    try:
        for frame in frames:
            due += pace.pause(max(frame.at - before, 0))
            before = max(frame.at, before)
            match frame.body:
                case Output(stream, data) if stream is not Stream.STDIN:
                    shown = screens[stream].feed(data)
                case Marker():
                    shown = f"\r\n[{casting.marker_text(frame.body)}]\r\n"
                case _:
                    shown = ""
            delay = due - monotonic()
            if delay > 0:
                sleep(delay)
            if shown:
                write(shown)
    finally:
        if rest := "".join(each.close() for each in screens.values()):
            write(rest)

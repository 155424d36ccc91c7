"""A recording from a moment on, for readers: as lines, what the screen showed then; as events, what followed.

A player has what came before drawn at once and is done (`container.frames_from`). Written out, it would be one
heap that nobody asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Protocol

from interlock.domain.recording import Body, Frame, Header, Output, Stream
from interlock.domain.screen import Screen
from interlock.domain.screen.skim import skimmed
from interlock.domain.session import Window

LETTERS = 1024 * 1024
"""Bytes of output before the moment that are followed to the letter, a second of work; of what was written before
them only the modes count (see `screen.skim`). Where a recording has keyframes there are never as many."""

MAX_LINE = 4096
"""Bytes of the line that was being written at the moment."""


class _Past(Protocol):
    def note(self, body: Body) -> None:
        """What came before the moment."""
        ...

    def left(self) -> Iterator[Output | Window]:
        """What of it still counts at the moment."""
        ...


def text_onwards(frames: Iterable[Frame], at: int) -> Iterator[Frame]:
    """For `casting.text`: the lines on the screen, or without one the line that was being written; what followed.

    ``at``: microseconds after the start. The header stays in front.
    """
    return _onwards(frames, at, lambda header: _OnScreen(header) if header.interactive else _Lines())


def events_onwards(frames: Iterable[Frame], at: int) -> Iterator[Frame]:
    """For `casting.json_lines`: the terminal's size, if it is not the header's any more, and what followed."""
    return _onwards(frames, at, lambda _header: _Size())


ONWARDS: Mapping[str, Callable[[Iterable[Frame], int], Iterator[Frame]]] = {
    "text": text_onwards,
    "json": events_onwards,
}
"""By the names of `casting.FORMATS`. What is not here plays, and wants what draws the screen."""


def _onwards(frames: Iterable[Frame], at: int, past_of: Callable[[Header], _Past]) -> Iterator[Frame]:
    past: _Past | None = None
    for frame in frames:
        if isinstance(frame.body, Header):
            past = past_of(frame.body)
            yield frame
        elif past is None:
            yield frame
        elif frame.at < at:
            past.note(frame.body)
        else:
            yield from (Frame(at, body) for body in past.left())
            past = None
            yield frame
    if past is not None:
        yield from (Frame(at, body) for body in past.left())


class _OnScreen:
    """Of a session with a terminal."""

    def __init__(self, header: Header) -> None:
        self._screen = Screen(header.cols or 80, header.rows or 24)
        self._recent = bytearray()

    def note(self, body: Body) -> None:
        match body:
            case Output(Stream.STDOUT | Stream.STDERR, data):
                self._recent += data
                if len(self._recent) > 2 * LETTERS:
                    self._screen.feed(skimmed(bytes(self._recent[:-LETTERS])))
                    del self._recent[:-LETTERS]
            case Window(cols, rows):
                self._catch_up()
                self._screen.resize(cols, rows)
            case _:
                pass

    def left(self) -> Iterator[Output | Window]:
        self._catch_up()
        lines, (row, col) = self._screen.lines, self._screen.cursor
        blank = sum(1 for _ in takewhile(lambda line: not line, reversed(lines[row + 1 :])))
        lines = lines[: len(lines) - blank]
        if len(lines) == row + 1:  # writing goes on in the last line
            text = "\n".join([*lines[:-1], lines[-1].ljust(col)])
        else:
            text = "".join(f"{line}\n" for line in lines)
        if text:
            yield Output(Stream.STDOUT, text.encode())

    def _catch_up(self) -> None:
        self._screen.feed(bytes(self._recent))
        self._recent.clear()


class _Lines:
    """Of a command without a terminal."""

    def __init__(self) -> None:
        self._begun = dict.fromkeys((Stream.STDOUT, Stream.STDERR), b"")

    def note(self, body: Body) -> None:
        match body:
            case Output(Stream.STDOUT | Stream.STDERR as stream, data):
                self._begun[stream] = (self._begun[stream] + data).rpartition(b"\n")[2][-MAX_LINE:]
            case _:
                pass

    def left(self) -> Iterator[Output | Window]:
        return (Output(stream, begun) for stream, begun in self._begun.items() if begun)


class _Size:
    """Of a session whose events are listed: none of them are from before."""

    def __init__(self) -> None:
        self._window: Window | None = None

    def note(self, body: Body) -> None:
        if isinstance(body, Window):
            self._window = body

    def left(self) -> Iterator[Output | Window]:
        if self._window is not None:
            yield self._window

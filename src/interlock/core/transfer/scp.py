"""Observes scp's old protocol in passing: what ``scp -t`` and ``scp -f`` on a host say with a client.

The protocol has no specification but its programs. One side sends, the other answers each step with one byte:

    C0644 5 name    a file of five bytes; after the answer its bytes, and a byte that says whether they are right
    D0755 0 name    into a directory        E    out of it
    T1 0 1 0        times for what follows
    1 or 2, text    the sender cannot give something, or the receiver cannot take it

It is followed as far as its own programs speak it; a sender that goes on without an answer is followed no more.
"""

from collections import deque
from collections.abc import Sequence
from enum import Enum, auto

from interlock.core.limits import MAX_SCP_LINE, MAX_SCP_PATH
from interlock.core.sides import Side
from interlock.core.transfer.command import ScpCommand
from interlock.core.transfer.contents import Contents
from interlock.core.transfer.operations import Direction, Moved, NotFollowed, Operation, Stopped, shown

_NOTHING: tuple[Operation, ...] = ()
_MAX_UNANSWERED = 16
_MAX_SIZE_DIGITS = 19

CUT_OFF = "the session ended before the file was complete"
NOT_OBSERVED = "no longer observed"


class _Step(Enum):
    """What the receiver answers."""

    BEGIN = auto()
    NOTE = auto()  # times, or out of a directory
    DIRECTORY = auto()
    FILE = auto()
    CONTENTS = auto()


class _At(Enum):
    """What the sender's next byte is part of."""

    LINE = auto()
    ANSWER = auto()  # of nothing: it must wait for the receiver
    CONTENTS = auto()
    VERDICT = auto()  # whether the contents were right


class _File:
    """A file on its way."""

    __slots__ = ("contents", "error", "left", "name")

    def __init__(self, name: str, size: int) -> None:
        self.name = name
        self.left = size
        self.contents = Contents()
        self.error = ""


class _Line:
    """A line in pieces."""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def begun(self) -> bool:
        """Whether there are bytes of it."""
        return bool(self._held)

    def take(self, data: memoryview, at: int) -> tuple[int, bytes | None]:
        """Where the next one begins in ``data``, and the line without its end if it is complete."""
        rest = bytes(data[at : at + MAX_SCP_LINE + 1])
        size = rest.find(b"\n")
        self._held += rest if size < 0 else rest[:size]
        if len(self._held) > MAX_SCP_LINE:
            raise NotFollowed(f"a line of more than {MAX_SCP_LINE} bytes")
        if size < 0:
            return at + len(rest), None
        line = bytes(self._held)
        self._held.clear()
        return at + size + 1, line


class ScpObserver:
    """One channel that runs scp; the sides' roles follow from its command."""

    def __init__(self, command: ScpCommand) -> None:
        self._command = command
        self._sender = Side.CLIENT if command.direction is Direction.UPLOAD else Side.TARGET
        self._at = _At.LINE
        self._line = _Line()  # the sender's
        self._answer = _Line()  # the receiver's, if it is more than a byte
        self._unanswered: deque[tuple[_Step, str]] = deque([(_Step.BEGIN, "")])  # with a directory's name
        self._directories: list[str] = []
        self._file: _File | None = None  # from its line to its last answer
        self._out: list[Operation] = []
        self.stopped = ""  # why nothing more is told; empty while it is

    def feed(self, side: Side, data: memoryview) -> Sequence[Operation]:
        """The next bytes from ``side``."""
        if self.stopped:
            return _NOTHING
        step = self._sent if side is self._sender else self._received
        at, end = 0, len(data)
        try:
            while at < end:
                at = step(data, at)
        except NotFollowed as error:
            self._stop(str(error))
        return self._told()

    def stop(self, reason: str) -> Sequence[Operation]:
        """Observe nothing more, for a reason that the bytes do not show."""
        if not self.stopped:
            self._stop(reason)
        return self._told()

    def finish(self) -> Sequence[Operation]:
        """The channel is over: a file on its way is told as cut off."""
        self._tell(CUT_OFF)
        return self._told()

    def _told(self) -> Sequence[Operation]:
        if not self._out:
            return _NOTHING
        out, self._out = self._out, []
        return out

    def _stop(self, reason: str) -> None:
        self.stopped = reason
        self._tell(NOT_OBSERVED)
        self._out.append(Stopped(reason))

    # --- the sender -------------------------------------------------------------------------------

    def _sent(self, data: memoryview, at: int) -> int:
        match self._at:
            case _At.CONTENTS:
                return self._contents(data, at)
            case _At.VERDICT if not data[at] and not self._line.begun:
                self._sent_all("")
                return at + 1
            case _At.ANSWER:
                raise NotFollowed("the sender does not wait for an answer")
            case _:
                after, line = self._line.take(data, at)
                if line is not None:
                    self._sent_line(line)
                return after

    def _contents(self, data: memoryview, at: int) -> int:
        file = self._file
        if file is None:
            raise NotFollowed("contents of no file")
        piece = data[at : at + file.left]
        file.contents.add(piece)
        file.left -= len(piece)
        if not file.left:
            self._at = _At.VERDICT
        return at + len(piece)

    def _sent_all(self, error: str) -> None:
        if self._file is not None:
            self._file.error = error
        self._at = _At.LINE
        self._expect(_Step.CONTENTS)

    def _sent_line(self, line: bytes) -> None:
        kind, rest = line[:1], line[1:]
        if kind in {b"\x01", b"\x02"}:
            if self._at is _At.VERDICT:
                self._sent_all(shown(rest))
            else:
                self._failed(shown(rest))
            return
        if self._at is _At.VERDICT:
            raise NotFollowed("the contents do not end where they should")
        match kind:
            case b"C":
                size, name = _parse(rest)
                self._file = _File("/".join((*self._directories, name)), size)
                self._at = _At.ANSWER
                self._expect(_Step.FILE)
            case b"D":
                self._at = _At.ANSWER
                self._expect(_Step.DIRECTORY, _parse(rest)[1])
            case b"E":
                if self._directories:
                    self._directories.pop()
                self._expect(_Step.NOTE)
            case b"T":
                self._expect(_Step.NOTE)
            case _:
                raise NotFollowed("not a line of scp")

    def _failed(self, error: str) -> None:
        """One side cannot go on with what it was asked for; with what, only its words say."""
        self._out.append(Moved(self._command.path, self._command.direction, error=error or "failure"))

    def _expect(self, step: _Step, name: str = "") -> None:
        if len(self._unanswered) >= _MAX_UNANSWERED:
            raise NotFollowed("the sender does not wait for an answer")
        self._unanswered.append((step, name))

    # --- the receiver -----------------------------------------------------------------------------

    def _received(self, data: memoryview, at: int) -> int:
        if not self._answer.begun:
            if not data[at]:
                self._answered("")
                return at + 1
            if data[at] not in {1, 2}:
                raise NotFollowed("not an answer of scp")
        after, line = self._answer.take(data, at)
        if line is not None:
            self._answered(shown(line[1:]) or "failure")
        return after

    def _answered(self, error: str) -> None:
        if not self._unanswered:
            return
        step, name = self._unanswered.popleft()
        match step:
            case _Step.FILE if not error:
                self._at = _At.CONTENTS if self._file is not None and self._file.left else _At.VERDICT
            case _Step.FILE:
                self._at = _At.LINE
                self._tell(error)
            case _Step.CONTENTS:
                self._tell(error)
            case _Step.BEGIN if error:  # it has no such directory
                self._failed(error)
            case _Step.DIRECTORY:
                self._at = _At.LINE
                if not error:
                    self._enter(name)
            case _:
                pass

    def _enter(self, name: str) -> None:
        self._directories.append(name)
        if sum(map(len, self._directories)) + len(self._directories) > MAX_SCP_PATH:
            raise NotFollowed(f"directories with names of more than {MAX_SCP_PATH} bytes")

    def _tell(self, error: str) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        upload = self._command.direction is Direction.UPLOAD
        error = file.error or error
        self._out.append(
            Moved(
                path=self._command.path_of(file.name),
                direction=self._command.direction,
                written=file.contents.octets if upload else 0,
                read=0 if upload else file.contents.octets,
                sha256="" if error else file.contents.sha256(),
                error=error,
                name=file.name,
            )
        )


def _parse(rest: bytes) -> tuple[int, str]:
    """Size and name of a C or D line behind its letter."""
    _mode, _, rest = rest.partition(b" ")
    size, _, name = rest.partition(b" ")
    if not size.isdigit() or len(size) > _MAX_SIZE_DIGITS or not name:
        raise NotFollowed("not a line of scp")
    return int(size), shown(name)

"""The contents of a file in passing: counted, and hashed as long as they come in order."""

import hashlib

from interlock.core.transfer.operations import Direction, Moved


class Contents:
    """One file's bytes in one direction. Nothing is kept but the hash's state."""

    __slots__ = ("_end", "_hash", "octets", "ordered")

    def __init__(self) -> None:
        self.octets = 0
        self.ordered = True  # all came once, from the file's beginning on, without a gap
        self._hash = hashlib.sha256()
        self._end = 0  # where the next bytes belong

    def begin(self, offset: int) -> None:
        """The bytes that follow belong here."""
        if offset != self._end:
            self.ordered = False

    def add(self, piece: memoryview) -> None:
        """Some bytes."""
        size = len(piece)
        self.octets += size
        if self.ordered:
            self._hash.update(piece)
            self._end += size

    def sha256(self) -> str:
        """Of all bytes, in hexadecimal; empty if they did not come in order."""
        return self._hash.hexdigest() if self.ordered else ""


class OpenFile:
    """A file that the target has open for the client."""

    __slots__ = ("_copied", "_error", "_reads", "_writes", "copied_to", "down", "outstanding", "path", "up")

    def __init__(self, path: str, *, reads: bool, writes: bool, appends: bool) -> None:
        self.path = path
        self.up = Contents()
        self.down = Contents()
        self.outstanding = 0  # requests of this file that are not answered
        self.copied_to = ""
        self._copied = False
        self._error = ""
        self._reads = reads
        self._writes = writes
        if appends:
            self.up.ordered = False  # the offsets mean nothing, and what was there before is not known

    def failed(self, error: str) -> None:
        """A read or write of it failed; the first one is told."""
        self._error = self._error or error
        self.up.ordered = self.down.ordered = False

    def copied(self, to: str = "") -> None:
        """Its contents were copied within the target, from or ``to`` another file."""
        self._copied = True
        self.copied_to = to
        self.up.ordered = self.down.ordered = False

    def told(self, error: str = "") -> Moved:
        """What became of it."""
        direction = self._direction()
        contents = {Direction.UPLOAD: self.up, Direction.DOWNLOAD: self.down}.get(direction)
        whole = contents is not None and not error and not self._error
        return Moved(
            path=self.path,
            direction=direction,
            read=self.down.octets,
            written=self.up.octets,
            sha256=contents.sha256() if contents is not None and whole else "",
            error=self._error or error,
            target_path=self.copied_to,
        )

    def _direction(self) -> Direction:
        """By what passed; by what was asked for if nothing did."""
        if self.up.octets or self.down.octets:
            return _DIRECTIONS[self.down.octets > 0, self.up.octets > 0]
        return Direction.COPY if self._copied else purpose(reads=self._reads, writes=self._writes)


_DIRECTIONS = {
    (True, False): Direction.DOWNLOAD,
    (False, True): Direction.UPLOAD,
    (True, True): Direction.BOTH,
    (False, False): Direction.DOWNLOAD,
}


def purpose(*, reads: bool, writes: bool) -> Direction:
    """What a file that is opened like this is for."""
    return _DIRECTIONS[reads, writes]

"""Marks of life: how long silent recordings had lasted when their daemon last said so, in one file per process.

A recording that gets no output would otherwise not tell until when its session lived, should the daemon be killed.
One small file for all of them, replaced as a whole every few seconds, costs the same for one session and for
thousands. Whoever finishes the parts that a dead process left reads it; when none of them is left, it goes too.
"""

import contextlib
import tempfile
from collections.abc import Mapping
from pathlib import Path

from interlock.core.ids import SessionId, parse_session_id

MARK = ".alive"
"""What the files are called; the rest of the name is chance, so that no process ever takes another's."""

_NEW = ".new"


class Marks:
    """The marks in one directory: this process's, and those that others left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._own: Path | None = None  # from the first mark on
        self._read: dict[Path, tuple[int, dict[SessionId, int]]] = {}  # by file: its time of change, what it says

    def write(self, lasted: Mapping[SessionId, int]) -> None:
        """Say how long, in microseconds, these recordings have lasted now. OSError if the disk refuses."""
        if not lasted:
            if self._own is not None:
                self._own.unlink(missing_ok=True)
                self._own = None
            return
        fd, name = tempfile.mkstemp(_NEW, "", self._directory)
        try:
            with open(fd, "w", encoding="ascii") as file:  # noqa: PTH123  # a descriptor
                file.writelines(f"{sid} {microseconds}\n" for sid, microseconds in lasted.items())
            own = self._own or Path(name).with_suffix(MARK)
            Path(name).replace(own)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
        self._own = own

    def lasted(self, sid: SessionId) -> int:
        """The longest that anybody said of this recording; 0 if nobody did."""
        return max((said.get(sid, 0) for said in map(self._said, self._files())), default=0)

    def forget(self, parts: set[SessionId]) -> None:
        """Remove what says nothing about any of these parts: all that there are."""
        for path in (*self._files(), *self._directory.glob(f"*{_NEW}")):  # killed while it wrote
            if path != self._own and not parts.intersection(self._said(path)):
                self._read.pop(path, None)
                with contextlib.suppress(OSError):
                    path.unlink()

    def _files(self) -> list[Path]:
        return list(self._directory.glob(f"*{MARK}"))

    def _said(self, path: Path) -> dict[SessionId, int]:
        try:
            changed = path.stat().st_mtime_ns
            known = self._read.get(path)
            if known is None or known[0] != changed:
                known = self._read[path] = changed, _parse(path.read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError):
            return {}
        return known[1]


def _parse(text: str) -> dict[SessionId, int]:
    """What the lines say; anything else in the file says nothing."""
    said: dict[SessionId, int] = {}
    for line in text.splitlines():
        sid, _, number = line.partition(" ")
        with contextlib.suppress(ValueError):
            said[parse_session_id(sid)] = int(number)
    return said

"""Events as JSON lines in a file. What is in the file itself says how far it is, so nothing is in it twice.

A process that was killed may have left half a line, which is cut off, or lines that it had not noted: if the last
line is of the batch that is to be written, what the batch has up to there is not written again. A file that was
moved away (logrotate) is begun anew.
"""

import asyncio
import errno
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from interlock.core.errors import ExportError
from interlock.domain.export import BATCH_BYTES, Batch, Cursor, Record

TAIL = 4 * BATCH_BYTES
"""Bytes of the file's end that are read to know how far it is: more than a batch has."""


class _Audit(msgspec.Struct):
    cursor: str


class Line(msgspec.Struct):
    """What is looked at of a line."""

    uid: str
    audit: _Audit

    @property
    def cursor(self) -> Cursor:
        """How far whoever has it is; NotFound if it does not say so."""
        return Cursor.parse(self.audit.cursor)


class FileLines:
    """`ports.Receiver`. Acknowledged is what is on the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, batch: Batch) -> None:
        """`ports.Receiver`."""
        await asyncio.to_thread(self._send, batch)

    async def close(self) -> None:
        """The file is open only while it is written to."""

    async def last(self) -> Line | None:
        """The last line, if it is one of ours. ExportError."""
        return await asyncio.to_thread(self._last)

    def _send(self, batch: Batch) -> None:
        try:
            fresh = not self._path.exists()
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                new = _behind(batch.records, _mended(file))
                file.seek(0, os.SEEK_END)
                file.write("".join(f"{record.line}\n" for record in new).encode())
                file.flush()
                os.fsync(file.fileno())
            if fresh:
                _sync(self._path.parent)
        except OSError as error:
            raise _unusable(self._path, error) from error

    def _last(self) -> Line | None:
        try:
            with self._path.open("r+b") as file:
                return _mended(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unusable(self._path, error) from error


def _mended(file: IO[bytes]) -> Line | None:
    """The last whole line; what is behind that is cut off."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - TAIL)
    file.seek(start)
    tail = file.read()
    whole = tail.rfind(b"\n") + 1
    if start and not whole:
        raise OSError(errno.EINVAL, "its last line is longer than any of ours")
    if whole < len(tail):
        file.truncate(start + whole)
    lines = tail[:whole].splitlines()
    if not lines:
        return None
    try:
        return msgspec.json.decode(lines[-1], type=Line)
    except msgspec.MsgspecError:
        return None  # somebody else's line


def _behind(records: Sequence[Record], last: Line | None) -> Sequence[Record]:
    """Those that are not there: all, unless the last line is one of them."""
    for place, record in enumerate(records):
        if last is not None and record.uid == last.uid:
            return records[place + 1 :]
    return records


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> ExportError:
    return ExportError(f"cannot use {path}: {error.strerror}", reason=str(error))

"""Recordings that daemons send as they happen (sync modes), on auth's disk: parts that only ever grow.

::

    <directory>/<daemon>/<sid>.part   blocks as they came; each was acknowledged once it was on the disk

What a daemon has sent it cannot take back. When it has delivered the whole recording, or when it is gone for good
and `services.sessions.completer` has made a recording of the part, the part goes.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from interlock.adapters.blob.parts import PartFiles, sid_of, sync_directory, unreadable
from interlock.core.errors import RecordingError, StoreError
from interlock.core.ids import DaemonId, SessionId, parse_session_id
from interlock.core.limits import MAX_RECORDING, STORAGE_RESERVE
from interlock.ports import ArrivingPart


class DaemonArea(PartFiles):
    """`ports.SyncStore`, and `ports.RecordingParts` as far as the completer needs it, of one daemon."""

    def __init__(
        self,
        directory: Path,
        quarantine: Path,
        *,
        stored: Callable[[SessionId], bool],
        reserve: int = STORAGE_RESERVE,
    ) -> None:
        super().__init__(directory, quarantine)
        self._stored = stored
        self._reserve = reserve

    async def ready(self, sid: SessionId) -> None:
        """Whether a recording may begin: StoreError if there is no room, RecordingError if it is there already."""
        try:
            await asyncio.to_thread(self._check, sid, 0)
        except OSError as error:
            raise StoreError("auth's disk cannot be read", reason=str(error)) from error

    async def extend(self, sid: SessionId, offset: int, data: bytes) -> None:
        """Take the part's bytes from ``offset`` on; they are durable when this returns. Repeating is harmless.

        StoreError if the disk refuses, RecordingError if they do not continue what is there.
        """
        try:
            await asyncio.to_thread(self._extend, sid, offset, data)
        except OSError as error:
            reason = f"extending the recording {sid}: {error}"
            raise StoreError("the recording could not be stored", reason=reason) from error

    def _check(self, sid: SessionId, more: int) -> None:
        if self._stored(sid):
            public = "there is a recording of this session already"
            raise RecordingError(public, reason=f"the recording {sid} is finished")
        if shutil.disk_usage(self._parts).free < more + self._reserve:
            raise StoreError("no room for the recording on auth's disk", reason=f"no room for {more} bytes more")

    def _extend(self, sid: SessionId, offset: int, data: bytes) -> None:
        self._check(sid, len(data))
        path = self.path(sid)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # a call that was repeated may still be at work
            size = os.fstat(fd).st_size
            if self._stored(sid) and not size:  # meanwhile: this file is another one than was stored
                path.unlink(missing_ok=True)
            self._check(sid, len(data))
            _append(fd, size, offset, data)
        finally:
            os.close(fd)
        if not size:
            sync_directory(self._parts)


class ArrivingRecordings:
    """All of it. ``stored``: whether a session's recording is finished."""

    def __init__(
        self,
        directory: Path,
        quarantine: Path,
        *,
        stored: Callable[[SessionId], bool],
        reserve: int = STORAGE_RESERVE,
    ) -> None:
        self._directory = directory
        self._quarantine = quarantine
        self._stored = stored
        self._reserve = reserve
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def of(self, daemon: DaemonId) -> DaemonArea:
        """What this daemon sends; ValueError if that is no ID."""
        area = self._directory / parse_session_id(daemon)  # a daemon's ID has the form of a session's
        return DaemonArea(area, self._quarantine, stored=self._stored, reserve=self._reserve)

    async def parts(self) -> list[ArrivingPart]:
        """What is there and can be read, the longest untouched first; RecordingError if nothing can."""
        try:
            return await asyncio.to_thread(self._found)
        except OSError as error:
            raise unreadable(error) from error

    def _found(self) -> list[ArrivingPart]:
        found = []
        for path in self._directory.glob("*/*.part"):
            sid = sid_of(path)
            with contextlib.suppress(OSError, ValueError):
                if sid is not None:
                    daemon = DaemonId(parse_session_id(path.parent.name))
                    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                    found.append(ArrivingPart(daemon, sid, changed, finished=self._stored(sid)))
        return sorted(found, key=lambda each: each.changed)


def _append(fd: int, size: int, offset: int, data: bytes) -> None:
    """Bring the file from ``size`` to the end of ``data``; what is there already must be the same."""
    known = size - offset
    if known < 0:
        raise RecordingError("blocks of the recording are missing", reason=f"{-known} bytes before {offset}")
    if known and os.pread(fd, min(known, len(data)), offset) != data[:known]:
        raise RecordingError("the recording was changed", reason=f"other bytes than before from {offset} on")
    if offset + len(data) > MAX_RECORDING:
        raise RecordingError("the recording is too long", reason=f"more than {MAX_RECORDING} bytes")
    rest = memoryview(data)[known:]
    at = size
    try:
        while rest:
            written = os.pwrite(fd, rest, at)
            rest, at = rest[written:], at + written
        os.fdatasync(fd)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)
        raise

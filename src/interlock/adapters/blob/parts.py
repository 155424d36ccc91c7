"""Parts: files of recordings that are not finished, in one directory. Names are session IDs and nothing else.

Everything is 0600 in directories of 0700. What is in quarantine is for a person to look at; no program does.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock

from interlock.adapters.blob.marks import Marks
from interlock.adapters.blob.syncing import Syncer
from interlock.core.errors import RecordingError
from interlock.core.ids import SessionId, parse_session_id
from interlock.domain.container import ContentKey, Keyframe, Point, keyframes_at
from interlock.domain.recording import Header
from interlock.domain.survey import Survey, survey

CHUNK = 256 * 1024
"""Bytes read or sent at once."""

PART = ".part"
"""What parts are called."""


class LivePart:
    """`ports.RecordingPart`: an open file that only ever holds whole blocks.

    It is locked while it is open, so that recovery never takes a living session's part for an orphan.
    """

    def __init__(self, path: Path, syncer: Syncer | None = None) -> None:
        """``syncer``: what it is to be brought to the disk by while it is open."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._path = path
        self._fd = os.open(path, flags, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._size = 0
        self._syncer = syncer
        self._turn = Lock()  # of these two, and of the descriptor's end
        self._syncing = self._closing = False
        self._unsound: OSError | None = None  # why what was written may not be on the disk
        if syncer is not None:
            syncer.made()

    def append(self, data: bytes) -> None:
        """Write all of it; OSError if the disk refuses, and then nothing of it remains in the file.

        Also if the disk did not keep something that was written before: a sync that has failed is never tried
        again, because the kernel may have forgotten what it was about.
        """
        if self._unsound is not None:
            raise self._unsound
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
                os.lseek(self._fd, self._size, os.SEEK_SET)
            raise
        first, self._size = not self._size, self._size + len(data)
        if self._syncer is not None and not first:  # many sessions end before a header alone is worth a sync
            self._syncer.note(self)

    def sync(self) -> None:
        """See `Syncable.sync`."""
        with self._turn:
            if self._fd < 0 or self._closing:
                return
            self._syncing = True
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._unsound = error
        with self._turn:
            self._syncing = False
            self._close_if_due()

    def synced(self, error: OSError | None) -> None:
        """See `Syncable.synced`."""
        self._unsound = self._unsound or error

    def close(self) -> None:
        """Close the file, or have it closed behind a sync that is on its way; harmless when closed already."""
        if self._syncer is not None:
            self._syncer.forget(self)
        with self._turn:
            self._closing = True
            self._close_if_due()

    def _close_if_due(self) -> None:
        if self._closing and not self._syncing and self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1

    def remove(self) -> None:
        """Close and delete a part that never got its header."""
        self.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


class PartFollower:
    """`ports.PartReader`: a second descriptor of a file that grows."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def read(self) -> bytes:
        """What was appended since the last call, in pieces; empty when nothing is left."""
        return os.read(self._fd, CHUNK) if self._fd >= 0 else b""

    def close(self) -> None:
        """Close; harmless when closed already."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = -1


class PartFiles:
    """What can be done with closed parts; ``quarantine`` is where those go that nobody can use."""

    def __init__(self, directory: Path, quarantine: Path) -> None:
        self._parts = directory
        self._quarantine = quarantine
        self._marks = Marks(directory)
        for folder in (directory, quarantine):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def mark(self, lasted: Mapping[SessionId, int]) -> None:
        """These parts' sessions live; RecordingError if the disk does not take that down."""
        try:
            await asyncio.to_thread(self._marks.write, lasted)
        except OSError as error:
            raise unreadable(error) from error

    def path(self, sid: SessionId) -> Path:
        """Where the part is."""
        return self._parts / f"{parse_session_id(sid)}{PART}"

    async def unfinished(self) -> list[SessionId]:
        """The sessions whose parts a process that is gone has left, oldest first; RecordingError."""
        try:
            return await asyncio.to_thread(self._unfinished)
        except OSError as error:
            raise unreadable(error) from error

    async def survey(self, sid: SessionId) -> Survey:
        """What a part contains; RecordingError if it cannot be read at all."""
        try:
            return await asyncio.to_thread(self._survey, sid)
        except OSError as error:
            raise unreadable(error) from error

    async def keyframes(
        self, sid: SessionId, header: Header, points: Sequence[Point], key: ContentKey | None = None
    ) -> list[Keyframe]:
        """See `ports.ClosedParts.keyframes`."""
        try:
            return await asyncio.to_thread(_keyframes, self.path(sid), header, points, key)
        except OSError as error:
            raise unreadable(error) from error

    async def mend(self, sid: SessionId, keep: int, tail: bytes) -> None:
        """Cut the part to its first ``keep`` bytes and append ``tail``; RecordingError if the disk refuses."""
        try:
            await asyncio.to_thread(_mend, self.path(sid), keep, tail)
        except OSError as error:
            raise unreadable(error) from error

    async def quarantine(self, sid: SessionId) -> None:
        """Put a part that nobody can read aside; harmless if it is gone."""
        try:
            await asyncio.to_thread(os.replace, self.path(sid), self._quarantine / f"{sid}{PART}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise unreadable(error) from error

    async def discard(self, sid: SessionId) -> None:
        """Remove a part that was stored; harmless if it is gone."""
        try:
            if not self._was_second_name(sid):
                await asyncio.to_thread(self.path(sid).unlink, missing_ok=True)
        except OSError as error:
            raise unreadable(error) from error

    def _survey(self, sid: SessionId) -> Survey:
        """What the part says, and what was said of it while it said nothing."""
        found = survey(chunks(self.path(sid)))
        if found.header is None or found.exit is not None:
            return found
        return replace(found, last=max(found.last, self._marks.lasted(sid)))

    def _was_second_name(self, sid: SessionId) -> bool:
        """Whether only a name had to go, as the file is the stored recording: too little for a thread."""
        path = self.path(sid)
        try:
            second = path.stat().st_nlink > 1
        except FileNotFoundError:
            return True
        if second:
            path.unlink(missing_ok=True)
        return second

    def _unfinished(self) -> list[SessionId]:
        found = []
        parts = {path: sid_of(path) for path in self._parts.glob(f"*{PART}")}
        self._marks.forget({sid for sid in parts.values() if sid is not None})
        for path, sid in parts.items():
            with contextlib.suppress(FileNotFoundError):  # its session has just been stored
                if sid is not None and not _in_use(path):
                    found.append((path.lstat().st_mtime, sid))
        return [sid for _, sid in sorted(found)]


def sid_of(path: Path) -> SessionId | None:
    """The session whose file this is; None if it is nobody's."""
    try:
        return parse_session_id(path.stem)
    except ValueError:
        return None


def chunks(path: Path, size: int = CHUNK) -> Iterator[bytes]:
    """The file's bytes in pieces."""
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(size):
            yield chunk


def sync_directory(directory: Path) -> None:
    """Make the names in it durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def unreadable(error: OSError) -> RecordingError:
    """What a caller learns of a disk that refuses."""
    return RecordingError("the recording could not be read or mended", reason=str(error))


def _in_use(path: Path) -> bool:
    """Whether a living process is writing this part. FileNotFoundError; of one that cannot be read, nobody is."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        raise
    except OSError:
        return False  # whoever mends it is told why not
    return False


def _keyframes(path: Path, header: Header, points: Sequence[Point], key: ContentKey | None) -> list[Keyframe]:
    with path.open("rb", buffering=0) as file:
        return keyframes_at(lambda offset, size: os.pread(file.fileno(), size, offset), header, points, key)


def _mend(path: Path, keep: int, tail: bytes) -> None:
    with path.open("r+b") as file:  # its buffer goes on where the disk takes less than it was given
        file.truncate(keep)
        file.seek(keep)
        file.write(tail)
        file.flush()
        os.fsync(file.fileno())

"""Recordings as files of one directory. Names are session IDs and nothing else: no text of a user's gets in.

::

    <directory>/<sid>.ilr             finished; never changed again
    <directory>/live/<sid>.part       being written, or left by a process that died
    <directory>/quarantine/<sid>.part without a readable header, or refused by auth
    <directory>/quarantine/<sid>.rival  came for a session whose recording is there already, and is another

What is in quarantine is for a person to look at; no program does.

Everything is 0600 in directories of 0700. A finished file appears by link or rename after fsync, so that it is
whole or absent.
"""

import asyncio
import contextlib
import errno
import fcntl
import filecmp
import os
import shutil
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

import structlog

from interlock.core.errors import NotFound, RecordingError, StoreError
from interlock.core.ids import SessionId, parse_session_id
from interlock.domain.audit import JsonValue
from interlock.domain.recording import RecordingState
from interlock.domain.survey import Survey, describe, survey
from interlock.ports import RecordingInfo

CHUNK = 256 * 1024
"""Bytes read or sent at once."""

REMEMBERED = 20_000
"""Recordings whose descriptions are kept in memory for the next list: some 2 KiB each at most."""

_REMEMBERED_COMMAND = 1024
_LIVE = "live"
_QUARANTINE = "quarantine"
_DONE = ".ilr"
_PART = ".part"
_RIVAL = ".rival"
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK})  # then a copy is made
_log = structlog.get_logger()

_ENDS = 4096  # bytes of a file's end in which its last block is looked for: it holds the exit frame only


@dataclass(frozen=True, slots=True)
class _Described:
    version: tuple[int, int, int]  # of the file: inode, size, time of change
    meta: Mapping[str, JsonValue]


class LivePart:
    """`ports.RecordingPart`: an open file that only ever holds whole blocks.

    It is locked while it is open, so that recovery never takes a living session's part for an orphan.
    """

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._path = path
        self._fd = os.open(path, flags, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._size = 0

    def append(self, data: bytes) -> None:
        """Write all of it; OSError if the disk refuses, and then nothing of it remains in the file."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
                os.lseek(self._fd, self._size, os.SEEK_SET)
            raise
        self._size += len(data)

    def close(self) -> None:
        """Close the file; harmless when closed already."""
        if self._fd >= 0:
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


class FileRecordings:
    """`ports.RecordingStore` and `ports.RecordingParts` over one directory, which it creates."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for folder in (directory, directory / _LIVE, directory / _QUARANTINE):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One thread of its own: people who ask for lists wait for each other, and nobody else waits for them.
        self._lister = ThreadPoolExecutor(1, "recordings.list")
        self._described: dict[Path, _Described] = {}  # used by that thread only

    # --- parts ---------------------------------------------------------------------------------

    def create(self, sid: SessionId) -> LivePart:
        """A new, empty part; OSError if the disk refuses, or if this session was recorded already.

        A target that repeats an old session's ID would otherwise get a session whose recording nobody keeps.
        """
        if self._done(sid).exists():
            raise FileExistsError(errno.EEXIST, "there is a recording of this session already", str(sid))
        return LivePart(self.path(sid))

    def path(self, sid: SessionId) -> Path:
        """Where the part is."""
        return self._directory / _LIVE / f"{parse_session_id(sid)}{_PART}"

    def follow(self, sid: SessionId) -> PartFollower:
        """Read the part of a live session from its beginning; OSError if there is none."""
        return PartFollower(self.path(sid))

    async def unfinished(self) -> list[SessionId]:
        """The sessions whose parts a process that is gone has left, oldest first."""
        return await asyncio.to_thread(self._unfinished)

    async def survey(self, sid: SessionId) -> Survey:
        """What a part contains; RecordingError if it cannot be read at all."""
        try:
            return await asyncio.to_thread(_survey, self.path(sid))
        except OSError as error:
            raise _unreadable(error) from error

    async def left_behind(self) -> list[RecordingInfo]:
        """What is not stored: in the making, left by a process that died, or in quarantine; newest first."""
        return await asyncio.get_running_loop().run_in_executor(self._lister, self._parts)

    async def mend(self, sid: SessionId, keep: int, tail: bytes) -> None:
        """Cut the part to its first ``keep`` bytes and append ``tail``; RecordingError if the disk refuses."""
        try:
            await asyncio.to_thread(_mend, self.path(sid), keep, tail)
        except OSError as error:
            raise _unreadable(error) from error

    async def quarantine(self, sid: SessionId) -> None:
        """Put a part that nobody can read aside; harmless if it is gone."""
        try:
            await asyncio.to_thread(os.replace, self.path(sid), self._directory / _QUARANTINE / f"{sid}{_PART}")
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unreadable(error) from error

    async def discard(self, sid: SessionId) -> None:
        """Remove a part that was stored; harmless if it is gone."""
        try:
            await asyncio.to_thread(self.path(sid).unlink, missing_ok=True)
        except OSError as error:
            raise _unreadable(error) from error

    # --- finished recordings -------------------------------------------------------------------

    async def store(self, sid: SessionId, path: Path) -> str:
        """Store what is in the closed file at ``path`` and return its URL. What is stored is never replaced.

        The file stays the caller's, who removes it and must not write to it again: it may be the same on disk.
        RecordingError if the session's recording is there and is another one; the first such newcomer is kept in
        quarantine.
        """
        done, copy = self._done(sid), self.path(sid).with_suffix(".copy")
        rival = self._directory / _QUARANTINE / f"{sid}{_RIVAL}"
        try:
            if await asyncio.to_thread(_differs, path, done):
                _log.error("recording.rival", sid=sid, kept=str(rival))
                await asyncio.to_thread(_place, path, rival, copy)
                public = "there is another recording of this session already"
                raise RecordingError(public, reason=f"a second, different recording of {sid}")
            await asyncio.to_thread(_place, path, done, copy)
        except OSError as error:
            reason = f"storing the recording {sid}: {error}"
            raise StoreError("the recording could not be stored", reason=reason) from error
        return done.as_uri()

    async def recordings(self) -> list[RecordingInfo]:
        """What is stored, newest first."""
        return await asyncio.get_running_loop().run_in_executor(self._lister, self._recordings)

    async def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """The stored bytes in pieces; NotFound if there are none."""
        try:
            file = await asyncio.to_thread(self._done(sid).open, "rb")
        except FileNotFoundError:
            raise NotFound(f"no recording of session {sid}") from None
        except OSError as error:
            raise _unreadable(error) from error
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk
        finally:
            file.close()

    def _done(self, sid: SessionId) -> Path:
        return self._directory.absolute() / f"{parse_session_id(sid)}{_DONE}"

    def _unfinished(self) -> list[SessionId]:
        found = []
        for path in (self._directory / _LIVE).glob(f"*{_PART}"):
            sid = _sid_of(path)
            with contextlib.suppress(FileNotFoundError):  # its session has just been stored
                if sid is not None and not _in_use(path):
                    found.append((path.stat().st_mtime, sid))
        return [sid for _, sid in sorted(found)]

    def _parts(self) -> list[RecordingInfo]:
        found = []
        for folder, kind in ((_LIVE, RecordingState.UNFINISHED), (_QUARANTINE, RecordingState.QUARANTINED)):
            for path in (self._directory / folder).glob(f"*{_PART}"):
                sid = _sid_of(path)
                with contextlib.suppress(FileNotFoundError):  # its session has just been stored
                    if sid is not None:
                        state = path.stat()
                        changed = datetime.fromtimestamp(state.st_mtime, UTC)
                        found.append(RecordingInfo(sid, state.st_size, changed, _meta(path), kind))
        return sorted(found, key=lambda info: info.stored, reverse=True)

    def _recordings(self) -> list[RecordingInfo]:
        found = []
        for path in self._directory.glob(f"*{_DONE}"):
            sid = _sid_of(path)
            with contextlib.suppress(FileNotFoundError):  # removed by an administrator meanwhile
                if sid is not None:
                    state = path.stat()
                    stored = datetime.fromtimestamp(state.st_mtime, UTC)
                    meta = self._meta(path, state)
                    cut_off = RecordingState.CUT_OFF if meta.get("cut_off") else RecordingState.COMPLETE
                    found.append(RecordingInfo(sid, state.st_size, stored, meta, cut_off))
        return sorted(found, key=lambda info: info.stored, reverse=True)

    def _meta(self, path: Path, state: os.stat_result) -> Mapping[str, JsonValue]:
        """What the file says of itself, which is read once, since a finished recording never changes."""
        version = (state.st_ino, state.st_size, state.st_mtime_ns)
        known = self._described.get(path)
        if known is not None and known.version == version:
            return known.meta
        meta = MappingProxyType(_meta(path))
        if len(str(meta.get("command", ""))) <= _REMEMBERED_COMMAND:
            self._described[path] = _Described(version, meta)
            if len(self._described) > REMEMBERED:
                del self._described[next(iter(self._described))]
        return meta


def _sid_of(path: Path) -> SessionId | None:
    try:
        return parse_session_id(path.stem)
    except ValueError:
        return None


def _in_use(path: Path) -> bool:
    """Whether a living process is writing this part."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _chunks(path: Path, size: int = CHUNK) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(size):
            yield chunk


def _survey(path: Path) -> Survey:
    return survey(_chunks(path))


def _meta(path: Path) -> dict[str, JsonValue]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _ENDS))
        tail = file.read()
    return describe(_chunks(path, _ENDS), tail)


def _mend(path: Path, keep: int, tail: bytes) -> None:
    with path.open("r+b", buffering=0) as file:
        file.truncate(keep)
        file.seek(keep)
        file.write(tail)
        os.fsync(file.fileno())


def _differs(path: Path, done: Path) -> bool:
    """Whether there is a recording that is not the same as the file at ``path``, which may be gone by now."""
    try:
        return not done.samefile(path) and not filecmp.cmp(path, done, shallow=False)
    except FileNotFoundError:
        return False


def _place(path: Path, done: Path, copy: Path) -> None:
    """Make ``done`` of ``path``. Fine if an earlier attempt got through."""
    if done.exists():
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(path, done)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        _copy(path, copy)
        copy.replace(done)
    _sync_directory(done.parent)


def _copy(path: Path, copy: Path) -> None:
    with path.open("rb") as source, copy.open("wb") as target:
        copy.chmod(0o600)
        shutil.copyfileobj(source, target, CHUNK)
        target.flush()
        os.fsync(target.fileno())


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unreadable(error: OSError) -> RecordingError:
    return RecordingError("the recording could not be read or mended", reason=str(error))

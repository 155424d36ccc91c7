"""Recordings as files of one directory. Names are session IDs and nothing else: no text of a user's gets in.

::

    <directory>/<sid>.ilr             finished; never changed again, with one exception
    <directory>/<sid>.completed       says of how many bytes of it a daemon that died is the author
    <directory>/live/<sid>.part       being written, or left by a process that died
    <directory>/quarantine/<sid>.part without a readable header, or refused by auth
    <directory>/quarantine/<sid>.rival  came for a session whose recording is there already, and is another

The exception: what auth made of what had arrived of a recording (sync modes) gives way to the daemon's own copy,
if that begins with all that had arrived. What is in quarantine is for a person to look at; no program does.

Everything is 0600 in directories of 0700. A finished file appears by link or rename after fsync, so that it is
whole or absent.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import structlog

from interlock.adapters.blob.opened import OpenedFile
from interlock.adapters.blob.parts import (
    CHUNK,
    PART,
    LivePart,
    PartFiles,
    PartFollower,
    chunks,
    sid_of,
    sync_directory,
    unreadable,
)
from interlock.adapters.blob.rekeying import FRONT, Rewrap, copy_rewrapped, kept_front, same_files
from interlock.adapters.blob.syncing import Syncer
from interlock.core.errors import NotFound, RecordingError, StoreError
from interlock.core.ids import SessionId, parse_session_id
from interlock.domain.audit import JsonValue
from interlock.domain.recording import RecordingState
from interlock.domain.survey import describe
from interlock.ports import OpenedRecording, RecordingInfo, RecordingSize

REMEMBERED = 20_000
"""Recordings whose descriptions are kept in memory for the next list: some 2 KiB each at most."""

REMEMBERED_COMMAND = 1024
"""Characters of a command with which a description is still kept."""

_LIVE = "live"
_QUARANTINE = "quarantine"
_DONE = ".ilr"
_COMPLETED = ".completed"
_RIVAL = ".rival"
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK})  # then a copy is made
_log = structlog.get_logger()
_Found = TypeVar("_Found")

_ENDS = 4096  # bytes of a file's end in which its last block is looked for: a seal, or the exit frame


@dataclass(frozen=True, slots=True)
class _Described:
    version: tuple[int, int, int]  # of the file: inode, size, time of change
    meta: Mapping[str, JsonValue]


class FileRecordings(PartFiles):
    """`ports.RecordingStore`, `CompletedStore` and `RecordingParts` over one directory, which it creates."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.quarantined = directory / _QUARANTINE
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        super().__init__(directory / _LIVE, self.quarantined)
        self._syncer = Syncer(directory / _LIVE)
        # One thread of its own: people who ask for lists wait for each other, and nobody else waits for them.
        self._lister = ThreadPoolExecutor(1, "recordings.list")
        self._described: dict[Path, _Described] = {}  # used by that thread only

    # --- parts ---------------------------------------------------------------------------------

    def create(self, sid: SessionId) -> LivePart:
        """A new, empty part; OSError if the disk refuses, or if this session was recorded already.

        A target that repeats an old session's ID would otherwise get a session whose recording nobody keeps.
        """
        if self.stored(sid):
            raise FileExistsError(errno.EEXIST, "there is a recording of this session already", str(sid))
        return LivePart(self.path(sid), self._syncer)

    def follow(self, sid: SessionId) -> PartFollower:
        """Read the part of a live session from its beginning; OSError if there is none."""
        return PartFollower(self.path(sid))

    async def left_behind(self, only: Iterable[SessionId]) -> list[RecordingInfo]:
        """Of these, what is in the making, left by a process that died, or in quarantine; newest first."""
        return await self._listed(self._list_parts, list(only))

    async def named(self) -> list[SessionId]:
        """All sessions of which there is a file, in the order of their IDs. Only names are read."""
        return await self._listed(self._named)

    # --- finished recordings -------------------------------------------------------------------

    async def store(self, sid: SessionId, path: Path) -> str:
        """Store what is in the closed file at ``path`` and return its URL. What is stored is never replaced.

        The file stays the caller's, who removes it and must not write to it again: it may be the same on disk.
        RecordingError if the session's recording is there and is another one; the first such newcomer is kept in
        quarantine.
        """
        try:
            return await asyncio.to_thread(self._store, sid, path)
        except OSError as error:
            reason = f"storing the recording {sid}: {error}"
            raise StoreError("the recording could not be stored", reason=reason) from error

    def stored(self, sid: SessionId) -> bool:
        """Whether the session's recording is finished. Short and synchronous."""
        return self._done(sid).exists()

    async def complete(self, sid: SessionId, path: Path, keep: int, tail: bytes) -> str:
        """`ports.CompletedStore`: the first ``keep`` bytes of the file at ``path``, then ``tail``."""
        try:
            await asyncio.to_thread(self._complete, sid, path, keep, tail)
        except OSError as error:
            reason = f"completing the recording {sid}: {error}"
            raise StoreError("the recording could not be stored", reason=reason) from error
        return self._done(sid).as_uri()

    async def recordings(self, only: Iterable[SessionId] | None = None) -> list[RecordingInfo]:
        """What is stored, newest first; with ``only``, of these, without looking at others."""
        wanted = None if only is None else list(only)
        return await self._listed(self._recordings, wanted)

    async def sizes(self) -> list[RecordingSize]:
        """`ports.RemovableRecordings`; in a thread for which nobody waits."""
        try:
            return await asyncio.to_thread(self._sizes)
        except OSError as error:
            raise unreadable(error) from error

    async def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """The stored bytes in pieces; NotFound if there are none."""
        try:
            file = await asyncio.to_thread(self._done(sid).open, "rb")
        except FileNotFoundError:
            raise NotFound(f"no recording of session {sid}") from None
        except OSError as error:
            raise unreadable(error) from error
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK):
                yield chunk
        finally:
            file.close()

    async def open(self, sid: SessionId) -> OpenedRecording:
        """The stored file, to be read at any place; NotFound if there is none."""
        try:
            return await asyncio.to_thread(OpenedFile, self._done(sid))
        except FileNotFoundError:
            raise NotFound(f"no recording of session {sid}") from None
        except OSError as error:
            raise unreadable(error) from error

    async def remove(self, sid: SessionId) -> None:
        """`ports.RemovableRecordings`."""
        try:
            await asyncio.to_thread(self._remove, sid)
        except OSError as error:
            reason = f"removing the recording {sid}: {error}"
            raise StoreError("the recording could not be removed", reason=reason) from error

    async def rekey(self, sid: SessionId, rewrap: Rewrap) -> bool:
        """Wrap the key of a stored recording anew; False if its contents are not encrypted.

        NotFound; RecordingError as ``rewrap`` raises it; StoreError if the disk refuses.
        """
        try:
            return await asyncio.to_thread(self._rekey, sid, rewrap)
        except FileNotFoundError:
            raise NotFound(f"no recording of session {sid}") from None
        except OSError as error:
            reason = f"rekeying the recording {sid}: {error}"
            raise StoreError("the recording could not be changed", reason=reason) from error

    async def _listed(self, look: Callable[..., _Found], *what: object) -> _Found:
        """In the lister's thread; RecordingError if the disk refuses."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._lister, look, *what)
        except OSError as error:
            raise unreadable(error) from error

    def _rekey(self, sid: SessionId, rewrap: Rewrap) -> bool:
        done, copy = self._done(sid), self.path(sid).with_suffix(".rekeyed")
        try:
            if not copy_rewrapped(done, copy, rewrap):
                return False
            copy.replace(done)
        finally:
            copy.unlink(missing_ok=True)
        sync_directory(done.parent)
        return True

    def _remove(self, sid: SessionId) -> None:
        self._note(sid).unlink(missing_ok=True)
        self._done(sid).unlink(missing_ok=True)
        sync_directory(self._directory)

    def _done(self, sid: SessionId) -> Path:
        return self._directory.absolute() / f"{parse_session_id(sid)}{_DONE}"

    def _note(self, sid: SessionId) -> Path:
        return self._done(sid).with_suffix(_COMPLETED)

    def _complete(self, sid: SessionId, path: Path, keep: int, tail: bytes) -> None:
        done, made = self._done(sid), self.path(sid).with_suffix(".made")
        with made.open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)  # of two that complete one session, the later one finds it done
            try:
                if done.exists():
                    return
                _copy(path, made, keep, tail)
                self._note(sid).write_text(str(keep))
                with contextlib.suppress(FileExistsError):  # the daemon's own came meanwhile
                    os.link(made, done)
            finally:
                made.unlink(missing_ok=True)
        sync_directory(done.parent)

    def _store(self, sid: SessionId, path: Path) -> str:
        done, copy = self._done(sid), self.path(sid).with_suffix(".copy")
        if not _differs(path, done):
            _place(path, done, copy)
        elif not self._supersede(sid, path, copy):
            rival = self._directory / _QUARANTINE / f"{sid}{_RIVAL}"
            _log.error("recording.rival", sid=sid, kept=str(rival))
            _place(path, rival, copy)
            public = "there is another recording of this session already"
            raise RecordingError(public, reason=f"a second, different recording of {sid}")
        return done.as_uri()

    def _supersede(self, sid: SessionId, path: Path, copy: Path) -> bool:
        """Put the daemon's own recording in the place of one that was completed here, if it has all of that."""
        done, note = self._done(sid), self._note(sid)
        try:
            keep = int(note.read_text())
        except (FileNotFoundError, ValueError):
            return False
        front = _same_start(path, done, keep)
        if front is None:
            return False
        _copy(path, copy, front=front)
        copy.replace(done)
        note.unlink(missing_ok=True)
        sync_directory(done.parent)
        _log.info("recording.superseded", sid=sid)
        return True

    def _list_parts(self, only: list[SessionId]) -> list[RecordingInfo]:
        found = []
        for folder, kind in ((_LIVE, RecordingState.UNFINISHED), (_QUARANTINE, RecordingState.QUARANTINED)):
            for sid in only:
                path = self._directory / folder / f"{parse_session_id(sid)}{PART}"
                with contextlib.suppress(FileNotFoundError):  # there is none, or it has just been stored
                    state = path.stat()
                    changed = datetime.fromtimestamp(state.st_mtime, UTC)
                    found.append(RecordingInfo(sid, state.st_size, changed, _meta(path), kind))
        return sorted(found, key=lambda info: info.stored, reverse=True)

    def _named(self) -> list[SessionId]:
        places = ((_LIVE, PART), (_QUARANTINE, PART), (".", _DONE))
        paths = (path for folder, ending in places for path in (self._directory / folder).glob(f"*{ending}"))
        return sorted({sid for sid in map(sid_of, paths) if sid is not None})

    def _sizes(self) -> list[RecordingSize]:
        found = []
        for path in self._directory.glob(f"*{_DONE}"):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                if (sid := sid_of(path)) is not None:
                    state = path.stat()
                    found.append(RecordingSize(sid, state.st_size, datetime.fromtimestamp(state.st_mtime, UTC)))
        return found

    def _recordings(self, only: list[SessionId] | None) -> list[RecordingInfo]:
        found = []
        for path in self._directory.glob(f"*{_DONE}") if only is None else map(self._done, only):
            sid = sid_of(path)
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
        if len(str(meta.get("command", ""))) <= REMEMBERED_COMMAND:
            self._described[path] = _Described(version, meta)
            if len(self._described) > REMEMBERED:
                del self._described[next(iter(self._described))]
        return meta


def _meta(path: Path) -> dict[str, JsonValue]:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _ENDS))
        tail = file.read()
    return describe(chunks(path, _ENDS), tail)


def _differs(path: Path, done: Path) -> bool:
    """Whether there is a recording that is not the same as the file at ``path``, which may be gone by now."""
    try:
        return not done.samefile(path) and not same_files(path, done)
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
    sync_directory(done.parent)


def _same_start(path: Path, done: Path, size: int) -> bytes | None:
    """Whether both files have the same first ``size`` bytes, but for how the key is wrapped: see `kept_front`."""
    with path.open("rb") as one, done.open("rb") as other:
        front = kept_front(one.read(FRONT), other.read(FRONT), size)
        if front is None or one.seek(0, os.SEEK_END) < size:
            return None
        one.seek(len(front))
        other.seek(len(front))
        for start in range(len(front), size, CHUNK):
            piece = one.read(min(CHUNK, size - start))
            if piece != other.read(min(CHUNK, size - start)):
                return None
    return front


def _copy(path: Path, copy: Path, size: int | None = None, tail: bytes = b"", *, front: bytes = b"") -> None:
    """The first ``size`` bytes of a file, or all of it, and ``tail``; on the disk when this returns.

    ``front`` takes the place of the file's first bytes.
    """
    with path.open("rb") as source, copy.open("wb") as target:
        copy.chmod(0o600)
        source.seek(target.write(front))
        if size is None:
            shutil.copyfileobj(source, target, CHUNK)
        else:
            for start in range(0, size, CHUNK):
                target.write(source.read(min(CHUNK, size - start)))
        target.write(tail)
        target.flush()
        os.fsync(target.fileno())

"""Narrow protocols: where recordings are, while they are made and afterwards."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import JsonValue
from interlock.domain.container import ContentKey, FreshKey, Keyframe, Point
from interlock.domain.recording import Header, RecordingState
from interlock.domain.room import Usage
from interlock.domain.survey import Survey


@dataclass(frozen=True, slots=True)
class RecordingInfo:
    """A stored recording."""

    sid: SessionId
    size: int
    stored: datetime
    meta: Mapping[str, JsonValue]  # user, login, hostname, start, duration…: the recording's own header
    state: RecordingState = RecordingState.COMPLETE


@dataclass(frozen=True, slots=True)
class RecordingFilter:
    """Which recordings to list."""

    user: str | None = None  # only of sessions of this user
    after: str = ""  # the cursor of the row behind which the page begins; empty: at the beginning
    limit: int = 1000  # at most so many; a page may be shorter than that although it is not the last one


@dataclass(frozen=True, slots=True)
class RecordingPage:
    """A part of the list of recordings, with the cursor of each row."""

    rows: tuple[tuple[str, RecordingInfo], ...]
    next: str  # where the next page begins; empty: this was the last one


class RecordingStore(Protocol):
    """Finished recordings."""

    async def store(self, sid: SessionId, path: Path) -> str:
        """Store the finished file at ``path`` and return its URL. Storing the same recording again is harmless.

        The file stays the caller's, to be removed when everything about its session is stored.
        """
        ...

    async def recordings(self, only: Iterable[SessionId] | None = None) -> list[RecordingInfo]:
        """What is stored, newest first; with ``only``, of these sessions, without looking at others."""
        ...

    def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """The stored bytes in pieces; NotFound if there are none."""
        ...


class OpenedRecording(Protocol):
    """A stored recording that is read at any place; never what is stored in its place meanwhile."""

    @property
    def size(self) -> int:
        """Bytes of it."""
        ...

    async def read(self, offset: int, size: int) -> bytes:
        """So many bytes, fewer at its end only; StoreError or RecordingError if it cannot be read any more."""
        ...

    async def close(self) -> None:
        """Close; never fails."""
        ...


class RecordingPart(Protocol):
    """The file of a recording in the making, on local disk. The packet path calls it, so its calls are short."""

    def append(self, data: bytes) -> None:
        """Write all of it; OSError if the disk refuses, and then nothing of it remains in the file."""
        ...

    def close(self) -> None:
        """Close; never fails, since what matters was appended or is checked when the recording is stored."""
        ...

    def remove(self) -> None:
        """Close and delete a part that never got its header."""
        ...


class LeftBehind(Protocol):
    """Recordings on local disk that are not in the RecordingStore, for whoever lists what exists."""

    async def left_behind(self, only: Iterable[SessionId]) -> list[RecordingInfo]:
        """Of these sessions, those in the making or left by a daemon that died (`UNFINISHED`) or in quarantine."""
        ...

    async def named(self) -> list[SessionId]:
        """All sessions of which there is anything on this disk, in the order of their IDs."""
        ...


class BegunSessions(Protocol):
    """The audit log as the index of all recordings: each begins with its session."""

    async def begun(
        self, *, user: str | None, before: int | None, limit: int
    ) -> list[tuple[int, dict[str, JsonValue]]]:
        """Starts of sessions with their cursors, newest first, of those told before the one with that cursor."""
        ...

    async def have_begun(self, sids: Iterable[SessionId]) -> set[SessionId]:
        """Those of these sessions whose start is known."""
        ...

    async def deleted(self, sids: Iterable[SessionId]) -> set[SessionId]:
        """Those of these sessions whose recordings were deleted by policy."""
        ...


class PartReader(Protocol):
    """Follows a part while it is written."""

    def read(self) -> bytes:
        """What was appended since the last call, in pieces; empty when nothing is left. Waits for the disk."""
        ...

    def close(self) -> None:
        """Close; never fails."""
        ...


class ClosedParts(Protocol):
    """Recordings that nobody writes any more and that are not in the RecordingStore yet."""

    def path(self, sid: SessionId) -> Path:
        """Where the part is."""
        ...

    async def survey(self, sid: SessionId) -> Survey:
        """What a part contains; RecordingError if it cannot be read at all."""
        ...

    async def keyframes(
        self, sid: SessionId, header: Header, points: Sequence[Point], key: ContentKey | None = None
    ) -> list[Keyframe]:
        """The screens at these places of a part; none if its contents are encrypted and the key is not at hand.

        RecordingError if it cannot be read.
        """
        ...

    async def mend(self, sid: SessionId, keep: int, tail: bytes) -> None:
        """Cut the part to its first ``keep`` bytes and append ``tail``; RecordingError if the disk refuses."""
        ...

    async def quarantine(self, sid: SessionId) -> None:
        """Put a part that nobody can read aside, for a person to look at; harmless if it is gone."""
        ...

    async def discard(self, sid: SessionId) -> None:
        """Remove a part that was stored; harmless if it is gone."""
        ...


class RecordingParts(ClosedParts, Protocol):
    """A daemon's recordings on its own disk, those in the making included."""

    def create(self, sid: SessionId) -> RecordingPart:
        """A new, empty part; OSError if the disk refuses or there is one already. Short and synchronous."""
        ...

    def follow(self, sid: SessionId) -> PartReader:
        """Read the part of a live session from its beginning; OSError if there is none."""
        ...

    async def mark(self, lasted: Mapping[SessionId, int]) -> None:
        """Note how long, in microseconds, these parts have lasted by now: a `survey` of one that was left knows.

        Each note is in the place of the one before. RecordingError if the disk does not take it.
        """
        ...

    async def unfinished(self) -> list[SessionId]:
        """The sessions whose parts a process that is gone has left, oldest first."""
        ...


class ContentKeys(Protocol):
    """Whether the contents of recordings are encrypted, and for whom."""

    @property
    def known(self) -> bool:
        """Whether that is known already."""
        ...

    async def wait_known(self) -> None:
        """Return once it is; RecordingError if it takes too long."""
        ...

    def fresh(self) -> FreshKey | None:
        """For a new recording; None if contents are not to be encrypted. RecordingError if it is not known."""
        ...


class SyncStore(Protocol):
    """Auth's storage as a recording in the making reaches it (sync modes)."""

    async def ready(self, sid: SessionId) -> None:
        """Return if such a recording may begin.

        StoreError if auth is away or has no room, RecordingError if it is there already.
        """
        ...

    async def extend(self, sid: SessionId, offset: int, data: bytes) -> None:
        """Take the part's bytes from ``offset`` on; they are durable when this returns. Repeating is harmless.

        StoreError if it may be tried again, RecordingError if the bytes do not continue what is there.
        """
        ...


@dataclass(frozen=True, slots=True)
class ArrivingPart:
    """What auth has of a recording that a daemon sends as it happens."""

    daemon: DaemonId
    sid: SessionId
    changed: datetime
    finished: bool  # its recording is stored, whoever made it


class Arriving(Protocol):
    """All that has arrived."""

    async def parts(self) -> list[ArrivingPart]:
        """What is there, the longest untouched first."""
        ...

    def of(self, daemon: DaemonId) -> ClosedParts:
        """One daemon's."""
        ...


class RecordingDisk(Protocol):
    """The file system of a daemon's recordings. Calls are short and synchronous, but for `hold`."""

    def usage(self) -> Usage:
        """How full it is; StoreError if it cannot be read."""
        ...

    def hold(self, size: int) -> None:
        """Set so many bytes aside, in all; StoreError if they are not there."""
        ...

    def release(self) -> None:
        """Give away what was set aside; never fails."""
        ...


class CompletedStore(Protocol):
    """Finished recordings, as auth makes them of what has arrived."""

    async def complete(self, sid: SessionId, path: Path, keep: int, tail: bytes) -> str:
        """Store the first ``keep`` bytes of the file, then ``tail``; the URL. Harmless if there is a recording.

        It gives way to a recording that `RecordingStore.store` gets later, if that begins with those bytes.
        """
        ...

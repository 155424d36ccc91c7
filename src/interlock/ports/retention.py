"""Narrow protocols: what is held, and what is dropped by policy."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from interlock.core.ids import SessionId
from interlock.domain.audit import AuditEvent
from interlock.domain.hold import Hold
from interlock.ports.recordings import RecordingInfo


class HoldStore(Protocol):
    """Legal holds."""

    async def holds(self) -> list[Hold]:
        """All of them, oldest first."""
        ...

    async def add_hold(self, hold: Hold) -> None:
        """Store it. It counts for everything that is dropped from now on."""
        ...

    async def remove_hold(self, hold_id: str) -> Hold:
        """Remove it; what it was. NotFound."""
        ...

    async def held(self, sids: Iterable[SessionId]) -> set[SessionId]:
        """Those of these sessions that are held, as the audit log knows them: also by who took part."""
        ...


@dataclass(frozen=True, slots=True)
class EventLimits:
    """What may be dropped of the audit log now."""

    before: datetime | None  # what was told of earlier times
    bytes: int | None  # what makes it larger than this
    taken: Mapping[str, int] | None = None  # up to where every export has each writer's events; None: no exports


@dataclass(frozen=True, slots=True)
class Dropped:
    """Events of one writer that are not there any more."""

    writer: str
    first: int
    last: int
    events: int
    bytes: int
    held: int  # events up to ``last`` that stay


SignCut = Callable[[str], bytes]
"""Signs an encoded `domain.chain.Cut`."""


class EventRetention(Protocol):
    """Drops the beginnings of chains."""

    async def drop(
        self,
        limits: EventLimits,
        *,
        sign: SignCut,
        key: bytes,
        tell: Callable[[Dropped], AuditEvent],
        now: datetime,
        cluster: str,
    ) -> Dropped | None:
        """One step, which is short: the proof, the event that tells of it, and the deletion at once.

        None if nothing is left to drop. ``key``: as of `CheckpointStore.sign`. StoreError.
        """
        ...


@dataclass(frozen=True, slots=True)
class RecordingSize:
    """What a listing says of a stored recording."""

    sid: SessionId
    size: int
    stored: datetime


class RemovableRecordings(Protocol):
    """Stored recordings, as retention sees them."""

    async def sizes(self) -> list[RecordingSize]:
        """All that is stored, in any order. Reads none of them. StoreError."""
        ...

    async def recordings(self, only: Iterable[SessionId] | None = None) -> list[RecordingInfo]:
        """What is stored, newest first; with ``only``, of these."""
        ...

    async def remove(self, sid: SessionId) -> None:
        """Remove a finished recording; harmless if there is none. StoreError."""
        ...

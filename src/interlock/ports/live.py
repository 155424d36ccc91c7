"""Narrow protocols: sessions while they go on: trackers, leases, locks."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.lease import Lease
from interlock.domain.lock import Lock, LockList
from interlock.domain.tracker import Tracker
from interlock.ports.recordings import OpenedRecording, RecordingFilter, RecordingPage


class TrackerStore(Protocol):
    """Live sessions, seen by every daemon."""

    async def put(self, tracker: Tracker) -> None:
        """Create or replace. A stored tracker never moves back to an earlier state.

        A ``swept`` one leaves a terminated one alone, and is replaced by whatever its daemon puts.
        """
        ...

    async def put_all(self, trackers: Sequence[Tracker]) -> None:
        """The same for several, each of another session."""
        ...

    async def keep(self, daemon: DaemonId, sids: Iterable[SessionId], expires: datetime) -> None:
        """One heartbeat for all sessions of a daemon; those that were swept live again."""
        ...

    async def live(self) -> list[Tracker]:
        """Pending and running trackers, expired ones included until they are swept, oldest first."""
        ...


class TrackerPages(TrackerStore, Protocol):
    """The same in parts."""

    async def page(self, *, after: str, limit: int) -> list[Tracker]:
        """The first of `live` behind the one with that `Tracker.cursor`, if it is not empty.

        NotFound if it is no cursor; whether its session still lives does not matter.
        """
        ...

    async def among(self, sids: Iterable[SessionId]) -> list[Tracker]:
        """Those of `live` with these IDs."""
        ...


class TrackerLookup(Protocol):
    """One live session at a time, for those who know its ID."""

    async def find(self, sid: SessionId) -> Tracker | None:
        """The session's tracker if `TrackerStore.live` would have it."""
        ...


class KnownTrackers(TrackerStore, TrackerLookup, Protocol):
    """Auth's own."""

    async def count_live(self, daemon: DaemonId) -> int:
        """How many of `live` are this daemon's."""
        ...


class LiveSessions(Protocol):
    """Live sessions as people list them: each once."""

    async def live(self, *, after: str, limit: int) -> tuple[list[Tracker], str]:
        """Pending and running trackers, expired ones included until they are swept, oldest first; a page of them.

        With the cursor of the last one that was looked at, or nothing if there are no more.
        """
        ...


class Recordings(Protocol):
    """Finished recordings as people list and read them: one of each session."""

    async def page(self, wanted: RecordingFilter) -> RecordingPage:
        """Those of the sessions that began last first, whatever became of them; NotFound for a wrong cursor."""
        ...

    def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """The stored bytes in pieces; NotFound if there are none."""
        ...

    async def open(self, sid: SessionId) -> OpenedRecording:
        """The same, to be read at any place; NotFound if there is none."""
        ...


class LockSource(Protocol):
    """The locks, as policy looks them up."""

    async def locks(self) -> list[Lock]:
        """All that are stored, expired ones included, oldest first."""
        ...


class LockStore(LockSource, Protocol):
    """Locks as administrators change them."""

    async def add_lock(self, lock: Lock) -> None:
        """Store it, and forget those that had expired when it was made; Denied if there are too many."""
        ...

    async def remove_lock(self, lock_id: str) -> Lock:
        """Forget a lock and return it; NotFound if there is none with this ID."""
        ...


class LockFeed(Protocol):
    """Where a daemon learns of locks in time to end what is live."""

    def follow_locks(self) -> AsyncGenerator[LockList, None]:
        """The list: at once, after every change, and every few seconds as a sign that it is current.

        StoreError ends it; whoever needs it asks again.
        """
        ...


class SharedClaims(Protocol):
    """Whose session an ID is, for all auths of a cluster, until something is stored of it, which tells it too."""

    async def claim(self, sid: SessionId, daemon: DaemonId, *, now: datetime) -> DaemonId:
        """Whose it is: this daemon's, atomically, unless another one's was claimed before. StoreError."""
        ...

    async def forget(self, before: datetime) -> int:
        """Do without claims that are older; how many there were."""
        ...


class LeaseStore(Protocol):
    """Places among a limited number, in the whole cluster."""

    async def acquire(self, lease: Lease, limit: int) -> bool:
        """Take a place, atomically; False if other leases that live hold ``limit`` or more under the semaphore.

        A lease that the daemon has already is taken again.
        """
        ...

    async def renew_leases(self, daemon: DaemonId, leases: Iterable[str], expires: datetime) -> set[str]:
        """One heartbeat for the daemon's leases; those that it still has.

        One that has expired is still its own as long as nobody has asked for a place since.
        """
        ...

    async def release(self, daemon: DaemonId, leases: Iterable[str]) -> None:
        """Give places back; harmless for those that are lost."""
        ...

    async def release_all(self, daemon: DaemonId) -> None:
        """Give back whatever earlier processes of the daemon held (`lease.holder_of`)."""
        ...


@dataclass(frozen=True, slots=True)
class Posted:
    """A claim on the board."""

    daemon: DaemonId  # whose the session is
    process: str  # which process of the gateway has claimed it


class ClaimBoard(Protocol):
    """The session IDs that the processes of one gateway have claimed. Synchronous; a matter of microseconds."""

    def post(self, sid: SessionId, daemon: DaemonId) -> bool:
        """Claim it for this process, atomically; False if it is claimed. StoreError if that cannot be known."""
        ...

    def posted(self, sid: SessionId) -> Posted | None:
        """The claim on this ID; None if there is none."""
        ...

    def take_down(self, sid: SessionId) -> None:
        """Withdraw a claim of this process; harmless if there is none."""
        ...

    def inherit(self, process: str) -> dict[SessionId, DaemonId]:
        """Make this process the holder of everything that another one has claimed, which is gone."""
        ...

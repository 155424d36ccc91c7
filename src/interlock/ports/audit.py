"""Narrow protocols: the audit log, and who writes to and reads from it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from interlock.core.ids import SessionId
from interlock.domain.audit import AuditEvent, JsonValue
from interlock.domain.twin import Twin


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list; None means any."""

    sid: str | None = None
    user: str | None = None
    event: str | None = None
    limit: int = 1000
    newest: bool = False  # which ones the limit leaves: the newest instead of the oldest
    duplicates: bool = False  # with what a node's twin of a session says again (`domain.twin`), marked
    as_told: bool = False  # nothing folded: each event with the session ID under which its daemon told it
    before: int | None = None  # only what was stored before the event with this cursor
    after: int | None = None  # only what was stored after it


class AuditLog(Protocol):
    """Append-only. Appending twice is harmless: uid is unique, and `ONCE_PER_SESSION` says what is kept once.

    One exception: an end that auth made up for a silent daemon moves behind whatever else its session turns out to
    have had, and gives way to a real one.
    """

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """Store the events durably, in order; StoreError when that failed and the caller must try again.

        Those with index `NEXT` get the number that follows the highest of their session, unless they are dropped.
        """
        ...


class EventReader(Protocol):
    """The audit log as administrators read it."""

    async def events(self, wanted: EventFilter) -> list[dict[str, JsonValue]]:
        """Stored events as JSON objects, oldest first."""
        ...


class EventPages(Protocol):
    """The same in parts."""

    async def page(self, wanted: EventFilter) -> list[tuple[int, dict[str, JsonValue]]]:
        """`EventReader.events`, each with its cursor."""
        ...


class SessionLookup(Protocol):
    """Whether there was a session: asked when one is about to begin under an ID that a target chose."""

    def knows(self, sid: SessionId) -> bool:
        """Whether anything but refusals is stored of this session. Short and synchronous; StoreError."""
        ...


class TwinStore(Protocol):
    """Sessions that a node recorded a second time; readers of events, trackers and recordings see one of both."""

    async def put(self, twin: Twin) -> None:
        """Expect a twin of a session, or say more of it; nothing is forgotten. StoreError: try again."""
        ...

    async def folded(self, among: Iterable[SessionId]) -> dict[SessionId, SessionId]:
        """Those of these IDs that are a node's for a twin that was found, and ours of the same session."""
        ...

    async def one(self, sid: SessionId) -> SessionId:
        """The ID under which a session is shown: ours if this is a twin's."""
        ...


class EventSink(Protocol):
    """Where services leave audit events; services.audit.emitter.Emitter stores them."""

    def emit(self, event: AuditEvent) -> None:
        """Take the event; never blocks, never fails."""
        ...

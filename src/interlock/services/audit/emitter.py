"""Audit events: stamped, numbered per session, stored in the order in which they were emitted.

The number of an event within its session (``ei``) runs from 0 without gaps and includes ``session.data`` and
``session.upload``; the field elsewhere gives those two fixed numbers near 2**31, which would hide a missing event.
"""

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from interlock.core.errors import LocalProtocolError
from interlock.core.ids import SessionId
from interlock.domain.audit import (
    BY_RECOVERY,
    ENVELOPE,
    NEXT,
    SYNTHESIZED,
    AuditEvent,
    JsonValue,
    Kind,
    repeatable_uid,
)
from interlock.ports import AuditLog, Clock, Entropy, EventSink
from interlock.services.audit.outbox import BACKLOG, Outbox, Sleep
from interlock.services.audit.sparing import Sparing


class Emitter:
    """The one writer of a daemon's audit events. `run` belongs into a TaskGroup of the daemon."""

    def __init__(
        self,
        log: AuditLog,
        *,
        backlog: int = BACKLOG,
        gather: float = 0,
        sleep: Sleep = asyncio.sleep,
        on_emit: Callable[[AuditEvent], None] = lambda _event: None,
    ) -> None:
        """``gather``: seconds, see `Outbox`. ``on_emit``: is called with every event, and counts it."""
        self._on_emit = on_emit
        self._sparing = Sparing()
        self._outbox: Outbox[AuditEvent] = Outbox(
            "audit events", log.append, backlog=backlog, gather=gather, sleep=sleep
        )

    @property
    def healthy(self) -> bool:
        """False while so many events wait that no new session should start."""
        return self._outbox.healthy

    @property
    def waiting(self) -> int:
        """How many events are not stored yet."""
        return self._outbox.waiting

    @property
    def oldest(self) -> datetime | None:
        """When the event was made that has waited longest; None if none waits."""
        first = self._outbox.first
        return first.time if first is not None else None

    @property
    def has_room(self) -> bool:
        """False while half of what makes it unhealthy waits: time to leave out what a client causes at will."""
        return self._outbox.has_room

    def emit(self, event: AuditEvent) -> None:
        """Take the event; never blocks, never fails."""
        self._on_emit(event)
        if (told := self._sparing.spare(event)) is not None:
            self._outbox.put(told)

    async def flush(self) -> None:
        """Store all events emitted so far, now; return when they are."""
        await self._outbox.flush()

    async def stored(self) -> None:
        """Return when all events emitted so far are stored, which is soon."""
        await self._outbox.delivered()

    def stop(self) -> None:
        """Make `run` return when all events are stored."""
        self._outbox.stop()

    async def run(self) -> None:
        """Store events until stopped."""
        await self._outbox.run()


class EventFactory:
    """Stamps events with a new uid, the time and the cluster."""

    def __init__(self, *, cluster: str, clock: Clock, entropy: Entropy) -> None:
        self._cluster = cluster
        self._clock = clock
        self._entropy = entropy

    def make(
        self,
        kind: Kind,
        fields: Mapping[str, JsonValue],
        *,
        sid: SessionId | None = None,
        index: int = 0,
        time: datetime | None = None,
        repeatable: bool = False,
        teller: str = "",
    ) -> AuditEvent:
        """An event of now, or of ``time`` when it is reconstructed.

        ``repeatable``: it is stored once for this session, however often it is told. ``teller``: who makes it up
        in another's place, whose own event has another uid. LocalProtocolError if a field has a name of the
        envelope: who passes it expects it to count.
        """
        if taken := ENVELOPE & fields.keys():
            raise LocalProtocolError("internal error", reason=f"event {kind.name} with field {min(taken)}")
        return AuditEvent(
            kind=kind,
            time=time or self._clock.now(),
            uid=repeatable_uid(sid, f"{kind.event} {teller}".rstrip())
            if repeatable and sid
            else self._entropy.uuid(),
            cluster=self._cluster,
            sid=sid,
            index=index,
            fields=_cleaned(fields),
        )


class Journal(Protocol):
    """Where a session leaves its events."""

    def add(self, kind: Kind, fields: Mapping[str, JsonValue], *, repeatable: bool = False) -> None:
        """Emit the session's next event; ``repeatable`` is the one of its name that recovery would tell again."""
        ...


class SessionJournal:
    """The events of one session, numbered."""

    def __init__(self, sid: SessionId, sink: EventSink, factory: EventFactory) -> None:
        self._sid = sid
        self._sink = sink
        self._factory = factory
        self._index = 0  # of the next event

    def add(self, kind: Kind, fields: Mapping[str, JsonValue], *, repeatable: bool = False) -> None:
        """Emit the session's next event."""
        event = self._factory.make(kind, fields, sid=self._sid, index=self._index, repeatable=repeatable)
        self._sink.emit(event)
        self._index += 1


class RetoldJournal:
    """The events of a session whose process died: told whether stored or not, for the audit log to number."""

    def __init__(self, sid: SessionId, sink: EventSink, factory: EventFactory) -> None:
        self._sid = sid
        self._sink = sink
        self._factory = factory

    def retell(self, kind: Kind, fields: Mapping[str, JsonValue], *, time: datetime | None = None) -> None:
        """Emit what the session must have emitted; marked as made up, if it is stored."""
        marked = {**fields, SYNTHESIZED: BY_RECOVERY}
        self._sink.emit(self._factory.make(kind, marked, sid=self._sid, index=NEXT, time=time, repeatable=True))

    def add(self, kind: Kind, fields: Mapping[str, JsonValue], *, repeatable: bool = True) -> None:
        """Emit what happens to the session only now."""
        self._sink.emit(self._factory.make(kind, fields, sid=self._sid, index=NEXT, repeatable=repeatable))


class NoJournal:
    """Of a session whose events are another daemon's duty."""

    def add(self, kind: Kind, fields: Mapping[str, JsonValue], *, repeatable: bool = False) -> None:
        """Forget the event."""


def _cleaned(fields: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A copy that every store takes; of what hardly ever needs it."""
    cleaned = dict(fields)
    for name, value in fields.items():
        if value.isascii() if isinstance(value, str) else not isinstance(value, list):
            continue
        cleaned[name] = _clean(value)
    return cleaned


def _clean(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, list):
        texts = [visible(item) for item in value if isinstance(item, str)]
        return texts or value
    return value


def visible(text: str) -> str:
    """Show bytes that were not UTF-8 (surrogates) as escapes, since no store takes them as they are."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()

"""What a daemon that was killed left on its disk becomes recordings with their events, at the next start.

The part's own header says whose session it was, so this works on a node that cannot read the audit log too. A part
that cannot be read goes to quarantine; no part holds up another or the start of the daemon.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from interlock.core.errors import InterlockError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.recording import Header
from interlock.domain.session import SessionKind, Start, Window, end_fields
from interlock.domain.survey import Survey
from interlock.domain.tracker import Tracker, TrackerState
from interlock.ports import EventFilter, EventReader, EventSink, RecordingParts
from interlock.services.emitter import EventFactory, SessionJournal
from interlock.services.live import RESIZE_EVENTS
from interlock.services.outbox import Sleep
from interlock.services.trackers import EVENTS_OF_ONE_SESSION, TrackerWriter, next_index
from interlock.services.uploads import Upload, Uploads

PAUSE_S = 5.0
"""Seconds until what could not be recovered, because a store was away, is tried again."""

_log = structlog.get_logger()


class Recovery:
    """Runs once per start of a daemon, beside its new sessions."""

    def __init__(
        self,
        parts: RecordingParts,
        uploads: Uploads,
        sink: EventSink,
        factory: EventFactory,
        *,
        trackers: TrackerWriter,
        events: EventReader | None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._parts = parts
        self._uploads = uploads
        self._sink = sink
        self._factory = factory
        self._trackers = trackers
        self._events = events
        self._sleep = sleep
        self._ours: set[SessionId] | None = set()  # parts of this process; None once it is known which are not

    def opened(self, sid: SessionId) -> None:
        """This part is our own: it may look finished before the search for orphans has begun."""
        if self._ours is not None:
            self._ours.add(sid)

    async def run(self) -> None:
        """Hand everything that a dead process left over to the uploads."""
        found = await self._parts.unfinished()
        left = [sid for sid in found if sid not in (self._ours or ())]
        self._ours = None
        while left:
            left = [sid for sid in left if not await self._recovered(sid)]
            if left:
                await self._sleep(PAUSE_S)

    async def _recovered(self, sid: SessionId) -> bool:
        try:
            found = await self._parts.survey(sid)
            if found.header is None:
                _log.error("recording.quarantined", sid=sid)
                await self._parts.quarantine(sid)
                return True
            await self._recover(sid, found.header, found)
        except InterlockError as error:
            _log.warning("recovery.retry", sid=sid, reason=error.reason)
            return False
        _log.warning("recording.recovered", sid=sid, bytes=found.good, lost=found.lost)
        return True

    async def _recover(self, sid: SessionId, header: Header, found: Survey) -> None:
        fields: dict[str, JsonValue] = dict(header.event)
        start, began = _start_of(header)
        end = end_fields(
            start,
            began=began,
            ended=began + timedelta(microseconds=found.last),
            participants=(header.user,),
        )
        if self._events is None:
            # The audit store keeps the first start and end of a session, so repeating them is harmless.
            SessionJournal(sid, self._sink, self._factory).add(
                Kind.SESSION_START, fields | start.fields(), time=began
            )
            names = {Kind.SESSION_START.event} | ({Kind.SESSION_LEAVE.event} if found.exit else set())
            index = _index_after(start, found)
        else:
            stored = await self._events.events(EventFilter(sid=sid, limit=EVENTS_OF_ONE_SESSION))
            names = {str(event["event"]) for event in stored}
            index = next_index(stored)
        journal = SessionJournal(sid, self._sink, self._factory, index=index)
        if Kind.SESSION_START.event not in names:
            journal.add(Kind.SESSION_START, fields | start.fields(), time=began)
        if Kind.SESSION_END.event not in names:
            journal.add(Kind.SESSION_END, fields | end)
        if Kind.SESSION_LEAVE.event not in names:
            journal.add(Kind.SESSION_LEAVE, _without_connection(fields))
        self._trackers.put(_terminated(sid, header, began))
        self._uploads.add(Upload(sid, journal, _without_connection(fields), closed=False))


def _start_of(header: Header) -> tuple[Start, datetime]:
    window = Window(header.cols, header.rows) if header.interactive else None
    try:
        kind, began = SessionKind(header.kind), datetime.fromisoformat(header.start).astimezone(UTC)
    except ValueError:
        kind, began = SessionKind.SHELL, datetime.fromtimestamp(0, UTC)
    return Start(kind, header.command, window, header.term), began


def _index_after(start: Start, found: Survey) -> int:
    """The number after the events that the dead daemon emitted before the session's end, told by the frames."""
    commands = 1 if found.exit is not None and start.kind is not SessionKind.SHELL else 0
    return 1 + min(found.resizes, RESIZE_EVENTS) + commands


def _without_connection(fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: value for name, value in fields.items() if name not in ("addr.remote", "addr.local", "proto")}


def _terminated(sid: SessionId, header: Header, began: datetime) -> Tracker:
    return Tracker(
        sid=sid,
        state=TrackerState.TERMINATED,
        created=began,
        expires=began,
        user=header.user,
        login=header.login,
        hostname=header.hostname,
        target_id=DaemonId(header.target_id),
        daemon_id=DaemonId(header.recorded_by),
        cluster=header.cluster,
        sub_kind=header.sub_kind,
        recording_mode=header.mode,
        command=(header.command,) if header.command else (),
        participants=(header.user,),
    )

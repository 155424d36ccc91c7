"""The completer: auth's recordings of sessions whose daemon sent them as they happened and then died (sync modes).

What auth has is enough: nobody waits for the daemon to come back. The recording is what arrived, with an end that
says what is missing; if the daemon does come back with its own copy, that takes the place of the end that was made
up here, and never of what had arrived (`ports.CompletedStore`). Whether a daemon is dead is the sweeper's to say.
"""

import asyncio
from datetime import timedelta

import structlog

from interlock.core.errors import InterlockError
from interlock.core.ids import SessionId
from interlock.domain.audit import BY_AUTH, NEXT, SYNTHESIZED, JsonValue, Kind
from interlock.domain.recording import Header
from interlock.domain.signing import KeySource, unsigned
from interlock.domain.survey import Survey
from interlock.ports import (
    Arriving,
    ArrivingPart,
    AuditLog,
    Clock,
    CompletedStore,
    EventFilter,
    EventReader,
    TrackerStore,
)
from interlock.services.audit.emitter import EventFactory
from interlock.services.audit.outbox import Sleep
from interlock.services.recordings.uploads import ending
from interlock.services.sessions.story import story, told_by, without_connection
from interlock.services.sessions.trackers import HEARTBEAT_S

UNKNOWN_AFTER = timedelta(seconds=60)
"""Silence after which a part counts as left behind though nobody ever told of its session."""

UNDELIVERED_AFTER = timedelta(hours=1)
"""Silence after which the recording of a session that its daemon has ended is made here. The daemon lives, or did
then, and has the better copy, which still takes the place of ours when it comes."""

_TELLER = "completer"

_log = structlog.get_logger()


class Completer:
    """Makes recordings of what is left behind."""

    def __init__(
        self,
        arriving: Arriving,
        recordings: CompletedStore,
        trackers: TrackerStore,
        reader: EventReader,
        log: AuditLog,
        factory: EventFactory,
        *,
        clock: Clock,
        signer: KeySource = unsigned,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._signer = signer
        self._arriving = arriving
        self._recordings = recordings
        self._trackers = trackers
        self._reader = reader
        self._log = log
        self._factory = factory
        self._clock = clock
        self._sleep = sleep

    async def run(self) -> None:
        """Complete until cancelled."""
        while True:
            try:
                await self.complete()
            except InterlockError as error:
                _log.warning("completer.retry", reason=error.reason)
            await self._sleep(HEARTBEAT_S)

    async def complete(self) -> list[SessionId]:
        """Complete what is left behind by now, and return it; one that fails holds up no other."""
        parts = await self._arriving.parts()
        live = {tracker.sid for tracker in await self._trackers.live()} if parts else set()
        completed = []
        for part in parts:
            try:
                if part.finished:
                    await self._arriving.of(part.daemon).discard(part.sid)
                elif part.sid not in live and await self._left_behind(part):
                    await self._complete(part)
                    completed.append(part.sid)
            except InterlockError as error:
                _log.warning("completer.retry", sid=part.sid, reason=error.reason)
            except Exception:  # noqa: BLE001 - a bug; what one daemon sent must not end auth
                _log.exception("completer.retry", sid=part.sid)
        return completed

    async def _left_behind(self, part: ArrivingPart) -> bool:
        ends = await self._reader.events(EventFilter(sid=part.sid, event=Kind.SESSION_END.event, limit=1))
        end = next(iter(ends), None)
        silence = self._clock.now() - part.changed
        if end is None:
            return silence >= UNKNOWN_AFTER
        return end.get(SYNTHESIZED) == BY_AUTH or silence >= UNDELIVERED_AFTER

    async def _complete(self, part: ArrivingPart) -> None:
        area, sid = self._arriving.of(part.daemon), part.sid
        found = await area.survey(sid)
        if found.header is None:
            _log.error("recording.quarantined", sid=sid)
            await area.quarantine(sid)
            return
        tail = b""
        if not found.closed:
            keyframes = await area.keyframes(sid, found.header, found.points)
            tail = await asyncio.to_thread(ending, sid, found, signer=self._signer(), keyframes=keyframes)
        url = await self._recordings.complete(sid, area.path(sid), found.good, tail)
        await self._tell(part, found.header, found, url)
        await area.discard(sid)
        _log.warning("recording.completed", sid=sid, daemon=part.daemon, bytes=found.good)

    async def _tell(self, part: ArrivingPart, header: Header, found: Survey, url: str) -> None:
        """The whole story: the audit log keeps of it what it lacks."""
        marked: dict[str, JsonValue] = {"recorded_by": part.daemon, SYNTHESIZED: BY_AUTH}
        upload = without_connection(told_by(header)) | marked | {"url": url}
        events = [
            self._factory.make(
                each.kind,
                each.fields | marked,
                sid=part.sid,
                index=NEXT,
                time=each.time,
                repeatable=True,
                teller=_TELLER,
            )
            for each in story(header, found)
        ]
        events.append(
            self._factory.make(
                Kind.SESSION_UPLOAD, upload, sid=part.sid, index=NEXT, repeatable=True, teller=_TELLER
            )
        )
        await self._log.append(events)

"""What a process that was killed left on its disk becomes recordings with their events.

That is at the daemon's next start, or at once if the daemon has other processes that live on.

The part's own header says whose session it was, so the audit log is not asked: the whole story is told, and the
log keeps of it what it does not have. A part that cannot be read goes to quarantine; no part holds up another or
the start of the daemon.
"""

import asyncio
from collections.abc import Iterable
from functools import partial

import structlog

from interlock.core.errors import InterlockError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.recording import Header
from interlock.domain.survey import Survey
from interlock.domain.tracker import Tracker, TrackerState
from interlock.ports import EventSink, RecordingParts
from interlock.services.audit.emitter import EventFactory, RetoldJournal
from interlock.services.audit.outbox import Sleep
from interlock.services.recordings.uploads import Upload, Uploads
from interlock.services.sessions.claims import SessionClaims
from interlock.services.sessions.story import start_of, story, told_by, without_connection
from interlock.services.sessions.trackers import TrackerWriter

PAUSE_S = 5.0
"""Seconds until what could not be recovered, because a store was away, is tried again."""

_UNREADABLE: dict[str, JsonValue] = {
    "error": "it has no header",
    "message": "the recording cannot be read",
}

_log = structlog.get_logger()


class Recovery:
    """`run` once per start of a daemon, beside its new sessions; `take` whenever one of its processes has died."""

    def __init__(
        self,
        parts: RecordingParts,
        uploads: Uploads,
        sink: EventSink,
        factory: EventFactory,
        *,
        trackers: TrackerWriter,
        claims: SessionClaims,
        daemon_id: DaemonId,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._parts = parts
        self._uploads = uploads
        self._sink = sink
        self._factory = factory
        self._trackers = trackers
        self._claims = claims
        self._daemon_id = daemon_id
        self._sleep = sleep
        self._done = asyncio.Event()
        self._ours: set[SessionId] | None = set()  # parts of this process; None once it is known which are not
        self._left: list[SessionId] = []

    def opened(self, sid: SessionId) -> None:
        """This part is our own: it may look finished before the search for orphans has begun."""
        if self._ours is not None:
            self._ours.add(sid)

    async def prepare(self) -> None:
        """Find what a dead process left and claim it before anybody else can. Needed once; `run` does it too."""
        if self._ours is None:
            return
        for sid in await self._parts.unfinished():
            if sid in self._ours:
                continue
            if self._claims.hold(sid, self._daemon_id):
                self._left.append(sid)
            else:
                _log.error("recovery.foreign", sid=sid, owner=self._claims.owner(sid))
        self._ours = None

    async def run(self) -> None:
        """Hand everything that a dead process left over to the uploads."""
        await self.prepare()
        await self._hand_over(self._left)
        self._done.set()

    async def take(self, sids: Iterable[SessionId]) -> None:
        """The same for what a process of this daemon left that had claimed these sessions (`claims.inherit`)."""
        theirs = set(sids)
        parts = [sid for sid in await self._parts.unfinished() if sid in theirs]
        await self._hand_over([sid for sid in parts if self._claims.hold(sid, self._daemon_id)])

    async def wait_done(self) -> None:
        """Return when nothing is left to hand over."""
        await self._done.wait()

    async def _hand_over(self, left: list[SessionId]) -> None:
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
                journal = RetoldJournal(sid, self._sink, self._factory)
                journal.add(
                    Kind.RECORDING_QUARANTINED, {"success": False, "recorded_by": self._daemon_id, **_UNREADABLE}
                )
                self._claims.release(sid)
                return True
            self._recover(sid, found.header, found)
        except InterlockError as error:
            _log.warning("recovery.retry", sid=sid, reason=error.reason)
            return False
        except Exception:  # noqa: BLE001 - a bug; one part must not stop the daemon from starting
            _log.exception("recovery.retry", sid=sid)
            return False
        _log.warning("recording.recovered", sid=sid, bytes=found.good, lost=found.lost)
        return True

    def _recover(self, sid: SessionId, header: Header, found: Survey) -> None:
        journal = RetoldJournal(sid, self._sink, self._factory)
        for event in story(header, found):
            journal.retell(event.kind, event.fields, time=event.time)
        self._trackers.put(_terminated(sid, header))
        self._uploads.add(self._upload(sid, header))

    async def recall(self, sid: SessionId) -> Upload:
        """What is to be stored of a session that this daemon has told of; InterlockError if the disk refuses."""
        found = await self._parts.survey(sid)
        return self._upload(sid, found.header)

    def _upload(self, sid: SessionId, header: Header | None) -> Upload:
        fields = without_connection(told_by(header)) if header is not None else {}
        done = partial(self._claims.release, sid)
        return Upload(sid, RetoldJournal(sid, self._sink, self._factory), fields, closed=False, done=done)


def _terminated(sid: SessionId, header: Header) -> Tracker:
    began = start_of(header)[1]
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

"""Sessions and recordings as people list them: from what exists, and each session once (`domain.twin`).

A recording is listed from the moment it begins: while it is made, when its recorder has died and nobody has
finished it yet, when it is still on a node, and when the audit log is all that knows of it.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import datetime

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import JsonValue
from interlock.domain.recording import RecordingState
from interlock.domain.tracker import Tracker
from interlock.ports import (
    Clock,
    LeftBehind,
    RecordingInfo,
    RecordingStore,
    TrackerStore,
    TwinStore,
    UnstoredSessions,
)

_SHOWN = {
    "user": "user",
    "login": "login",
    "hostname": "server_hostname",
    "target_id": "server_id",
    "sub_kind": "server_sub_kind",
    "recorded_by": "recorded_by",
    "start": "time",
    "cluster": "cluster_name",
}
"""What a recording's description has in common with the event of its session's start."""


class Catalogue:
    """`ports.LiveSessions` and `ports.Recordings` over stores that know nothing of each other."""

    def __init__(
        self,
        daemon_id: DaemonId,
        *,
        trackers: TrackerStore,
        recordings: RecordingStore,
        parts: LeftBehind,
        events: UnstoredSessions,
        twins: TwinStore,
        clock: Clock,
    ) -> None:
        self._daemon_id = daemon_id
        self._trackers = trackers
        self._recordings = recordings
        self._parts = parts
        self._events = events
        self._twins = twins
        self._clock = clock

    async def live(self) -> list[Tracker]:
        """Pending and running trackers, expired ones included, oldest first."""
        live = await self._trackers.live()
        folded = await self._twins.folded()
        return [tracker for tracker in live if tracker.sid not in folded]

    async def recordings(self) -> list[RecordingInfo]:
        """What is stored, newest first."""
        found = await self._recordings.recordings()
        folded = await self._twins.folded()
        return [info for info in found if info.sid not in folded]

    async def everything(self) -> list[RecordingInfo]:
        """What is stored, and what is not for some reason, newest first. A session is in one place only."""
        now = self._clock.now()
        live = {tracker.sid for tracker in await self._trackers.live() if not tracker.expired(now=now)}
        found: dict[SessionId, RecordingInfo] = {}
        for start in await self._events.unstored():
            info = self._known_only(start, live, now)
            found[info.sid] = info
        for info in await self._parts.left_behind():
            running = info.state is RecordingState.UNFINISHED and info.sid in live
            found[info.sid] = replace(info, state=RecordingState.RUNNING) if running else info
        found |= {info.sid: info for info in await self._recordings.recordings()}
        for sid in await self._twins.folded():
            found.pop(sid, None)
        return sorted(found.values(), key=lambda info: info.stored, reverse=True)

    async def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """The stored bytes of a session, by either of its IDs; NotFound if there are none."""
        async for piece in self._recordings.read(await self._twins.one(sid)):
            yield piece

    def _known_only(self, start: Mapping[str, JsonValue], live: set[SessionId], now: datetime) -> RecordingInfo:
        """A recording of which nothing is here: it is where it is made, unless that is here."""
        sid = SessionId(str(start["sid"]))
        if sid in live:
            state = RecordingState.RUNNING
        elif start.get("recorded_by") == self._daemon_id:
            state = RecordingState.MISSING
        else:
            state = RecordingState.ON_NODE
        meta = {name: start[field] for name, field in _SHOWN.items() if field in start}
        return RecordingInfo(sid, 0, datetime.fromisoformat(str(start.get("time", now.isoformat()))), meta, state)

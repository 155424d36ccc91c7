"""Sessions and recordings as people list them: from what exists, and each session once (`domain.twin`).

A recording is listed from the moment it begins: while it is made, when its recorder has died and nobody has
finished it yet, when it is still on a node, and when the audit log is all that knows of it.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from interlock.core.errors import NotFound
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import JsonValue
from interlock.domain.duties import RecordingMode
from interlock.domain.recording import RecordingState
from interlock.domain.tracker import NO_CURSOR, Tracker
from interlock.ports import (
    BegunSessions,
    Clock,
    LeftBehind,
    OpenedRecording,
    RecordingFilter,
    RecordingInfo,
    RecordingPage,
    RecordingStore,
    TrackerPages,
    TwinStore,
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


ROUNDS = 5
"""How often a page that is not full is filled up: who has many sessions without recordings gets shorter pages."""

MAX_DIGITS = 19
"""Fewer digits than this has any number that a database can hold."""

_UNTOLD = "~"
"""Begins the cursors of what the audit log does not know."""


class Files(RecordingStore, LeftBehind, Protocol):
    """All that is on this disk."""

    async def open(self, sid: SessionId) -> OpenedRecording:
        """A stored recording, to be read at any place; NotFound."""
        ...


class Catalogue:
    """`ports.LiveSessions` and `ports.Recordings` over stores that know nothing of each other."""

    def __init__(
        self,
        daemon_id: DaemonId,
        *,
        trackers: TrackerPages,
        recordings: Files,
        events: BegunSessions,
        twins: TwinStore,
        clock: Clock,
    ) -> None:
        self._daemon_id = daemon_id
        self._trackers = trackers
        self._recordings = recordings
        self._events = events
        self._twins = twins
        self._clock = clock

    async def live(self, *, after: str, limit: int) -> tuple[list[Tracker], str]:
        """A page of pending and running trackers: see `ports.LiveSessions`."""
        live = await self._trackers.page(after=after, limit=limit)
        folded = await self._twins.folded(tracker.sid for tracker in live)
        more = live[-1].cursor if len(live) == limit else ""
        return [tracker for tracker in live if tracker.sid not in folded], more

    async def page(self, wanted: RecordingFilter) -> RecordingPage:
        """What is stored, and what is not for some reason: see `ports.Recordings`. A session is in one place only.

        The audit log is the index, so a page costs the same however many recordings there are. What nobody told of
        comes at the end of all, where the disk is searched for it, if everybody's are asked for.
        """
        rows: list[tuple[str, RecordingInfo]] = []
        place, told = wanted.after, not wanted.after.startswith(_UNTOLD)
        for _ in range(ROUNDS):
            if not told or len(rows) == wanted.limit:
                break
            found, place = await self._begun(wanted.user, place, wanted.limit - len(rows))
            rows += found
            if not place:
                place, told = _UNTOLD, False
        if told or len(rows) == wanted.limit:
            return RecordingPage(tuple(rows), place)
        if wanted.user is not None:
            return RecordingPage(tuple(rows), "")
        untold, place = await self._untold(place.removeprefix(_UNTOLD), wanted.limit - len(rows))
        return RecordingPage((*rows, *untold), place)

    async def _begun(
        self, user: str | None, after: str, limit: int
    ) -> tuple[list[tuple[str, RecordingInfo]], str]:
        """Of sessions that the audit log knows to have begun, and where to go on."""
        if after and not (after.isascii() and after.isdecimal() and len(after) < MAX_DIGITS):
            raise NotFound(NO_CURSOR, reason=f"{after[:100]!r} is no cursor of a recording")
        begun = await self._events.begun(user=user, before=int(after) if after else None, limit=limit)
        starts = {SessionId(str(start["sid"])): (str(seq), start) for seq, start in begun}
        infos = await self._infos(starts)
        missing = [sid for sid in starts if sid not in infos]
        live = await self._living(missing)
        deleted = await self._events.deleted(missing) if missing else set()
        for sid in missing:
            if starts[sid][1].get("session_recording") != RecordingMode.OFF.value:
                info = self._known_only(sid, starts[sid][1], living=sid in live)
                infos[sid] = replace(info, state=RecordingState.DELETED) if sid in deleted else info
        folded = await self._twins.folded(starts)
        rows = [(starts[sid][0], infos[sid]) for sid in starts if sid in infos and sid not in folded]
        return rows, str(begun[-1][0]) if len(begun) == limit else ""

    async def _untold(self, after: str, limit: int) -> tuple[list[tuple[str, RecordingInfo]], str]:
        """Of files of which the audit log knows no beginning."""
        named = await self._recordings.named()
        begun = await self._events.have_begun(named)
        folded = await self._twins.folded(named)
        untold = [sid for sid in named if sid not in begun and sid not in folded and sid > after]
        infos = await self._infos(untold[:limit])
        rows = [(f"{_UNTOLD}{sid}", infos[sid]) for sid in untold[:limit] if sid in infos]
        return rows, f"{_UNTOLD}{untold[limit - 1]}" if len(untold) > limit else ""

    async def _infos(self, sids: Collection[SessionId]) -> dict[SessionId, RecordingInfo]:
        """Those of which there is something on this disk."""
        found = {info.sid: info for info in await self._recordings.recordings(sids)}
        parts = await self._recordings.left_behind(sid for sid in sids if sid not in found)
        unfinished = [info.sid for info in parts if info.state is RecordingState.UNFINISHED]
        live = await self._living(unfinished)
        for info in parts:
            running = info.state is RecordingState.UNFINISHED and info.sid in live
            found[info.sid] = replace(info, state=RecordingState.RUNNING) if running else info
        found |= {info.sid: info for info in await self._recordings.recordings(unfinished)}  # stored meanwhile
        return found

    async def _living(self, sids: Iterable[SessionId]) -> set[SessionId]:
        wanted, now = list(sids), self._clock.now()
        trackers = await self._trackers.among(wanted) if wanted else []
        return {each.sid for each in trackers if not each.expired(now=now)}

    async def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """The stored bytes of a session, by either of its IDs; NotFound if there are none."""
        async for piece in self._recordings.read(await self._twins.one(sid)):
            yield piece

    async def open(self, sid: SessionId) -> OpenedRecording:
        """The same, to be read at any place."""
        return await self._recordings.open(await self._twins.one(sid))

    def _known_only(self, sid: SessionId, start: Mapping[str, JsonValue], *, living: bool) -> RecordingInfo:
        """A recording of which nothing is here: it is where it is made, unless that is here."""
        if living:
            state = RecordingState.RUNNING
        elif start.get("recorded_by") == self._daemon_id:
            state = RecordingState.MISSING
        else:
            state = RecordingState.ON_NODE
        meta = {name: start[field] for name, field in _SHOWN.items() if field in start}
        return RecordingInfo(sid, 0, datetime.fromisoformat(str(start["time"])), meta, state)

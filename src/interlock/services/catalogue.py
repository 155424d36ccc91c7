"""Sessions and recordings as people list them: each session once, whoever else recorded it too (`domain.twin`)."""

from collections.abc import AsyncIterator

from interlock.core.ids import SessionId
from interlock.domain.tracker import Tracker
from interlock.ports import RecordingInfo, RecordingStore, TrackerStore, TwinStore


class Catalogue:
    """`ports.LiveSessions` and `ports.Recordings` over the stores, which know nothing of twins."""

    def __init__(self, trackers: TrackerStore, recordings: RecordingStore, twins: TwinStore) -> None:
        self._trackers = trackers
        self._recordings = recordings
        self._twins = twins

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

    async def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """The stored bytes of a session, by either of its IDs; NotFound if there are none."""
        async for piece in self._recordings.read(await self._twins.one(sid)):
            yield piece

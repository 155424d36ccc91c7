"""What becomes of a part when the store will not have it."""

import asyncio
from pathlib import Path

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.core.errors import Denied, InterlockError, RecordingError, StoreError
from interlock.core.ids import SessionId
from interlock.services.emitter import NoJournal
from interlock.services.uploads import FIRST_PAUSE_S, Upload, Uploads
from interlock.testing.clock import FakeClock
from interlock.testing.stores import VirtualSleep

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")


class Journal(NoJournal):
    """Counts events."""

    def __init__(self) -> None:
        self.events = 0

    def add(self, *_what: object, **_how: object) -> None:
        self.events += 1


class World:
    """Uploads of one finished part to a store that answers with errors first."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, *errors: InterlockError) -> None:
        self.directory = directory
        self.files = FileRecordings(directory)
        self.sleep = VirtualSleep(FakeClock())
        self.journal = Journal()
        self.uploads = Uploads(self.files, self.files, events_stored=self._stored, sleep=self.sleep)
        answers, real = list(errors), self.files.store

        async def store(sid: SessionId, path: Path) -> str:
            if answers:
                raise answers.pop(0)
            return await real(sid, path)

        monkeypatch.setattr(self.files, "store", store)
        part = self.files.create(SID)
        part.append(b"evidence")
        part.close()

    async def _stored(self) -> None:
        return

    async def upload(self, *pauses: float) -> None:
        """Let the part be stored, with so many pauses in between."""
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.uploads.run())
            self.uploads.add(Upload(SID, self.journal, {}, closed=True))
            for pause in pauses:
                await self.sleep.wait_sleeper(pause)
                self.sleep.advance(pause)
            await self.uploads.wait_idle()
            running.cancel()


@pytest.mark.parametrize("refusal", [Denied("not yours"), RecordingError("another recording is there")])
async def test_what_is_refused_for_good_goes_to_quarantine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: InterlockError
) -> None:
    """It is kept for a person, is not offered again at the next start, and no event says that it was stored."""
    world = World(tmp_path, monkeypatch, refusal)
    await world.upload()
    assert (tmp_path / "quarantine" / f"{SID}.part").read_bytes() == b"evidence"
    assert await world.files.unfinished() == []
    assert world.journal.events == 0


async def test_a_store_that_is_away_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With growing pauses, until it has the recording."""
    world = World(tmp_path, monkeypatch, StoreError("away"), StoreError("still away"))
    await world.upload(FIRST_PAUSE_S, 2 * FIRST_PAUSE_S)
    assert [info.sid for info in await world.files.recordings()] == [SID]
    assert world.journal.events == 1

"""Sync modes on one's own disk: what is acknowledged is durable, and a disk that fails is believed at once."""

import errno
import os
from pathlib import Path

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.blob.synced import SyncedParts
from interlock.core.errors import RecordingError
from interlock.core.ids import SessionId

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")


@pytest.fixture
def recordings(tmp_path: Path) -> FileRecordings:
    """A store with one part."""
    found = FileRecordings(tmp_path)
    found.create(SID).append(b"block")
    return found


async def test_the_part_is_synced(recordings: FileRecordings, monkeypatch: pytest.MonkeyPatch) -> None:
    """That very file, and nothing is copied."""
    synced: list[int] = []

    def fdatasync(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    store = SyncedParts(recordings)
    await store.ready(SID)
    await store.extend(SID, 0, b"block")
    assert synced == [recordings.path(SID).stat().st_ino]
    assert recordings.path(SID).read_bytes() == b"block"


@pytest.mark.parametrize("cause", [errno.EIO, errno.ENOSPC])
async def test_a_disk_that_fails_is_not_asked_again(
    recordings: FileRecordings, monkeypatch: pytest.MonkeyPatch, cause: int
) -> None:
    """R10: the next answer would be a lie, so this is no error that is tried again."""

    def fails(_fd: int) -> None:
        raise OSError(cause, os.strerror(cause))

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(RecordingError, match=os.strerror(cause)):
        await SyncedParts(recordings).extend(SID, 0, b"block")


async def test_a_part_that_is_gone_is_an_error(recordings: FileRecordings) -> None:
    """Its recording is stored, or somebody removed it: either way nothing is promised."""
    await recordings.discard(SID)
    with pytest.raises(RecordingError):
        await SyncedParts(recordings).extend(SID, 0, b"block")

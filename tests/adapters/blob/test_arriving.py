"""Recordings that arrive as they happen: what was acknowledged is on the disk and is never changed."""

import asyncio
import contextlib
import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.adapters.blob import arriving
from interlock.adapters.blob.arriving import ArrivingRecordings, DaemonArea
from interlock.core.errors import RecordingError, StoreError
from interlock.core.ids import DaemonId, SessionId

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
OTHER = SessionId("8d57a9d5-3e0f-4c0b-8f0e-0a4f1f5f7a11")
NODE = DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166")


class World:
    """A directory, and whose recordings are finished."""

    def __init__(self, directory: Path) -> None:
        self.finished: set[SessionId] = set()
        self.asked: OSError | None = None  # what the disk says when it is asked for finished recordings
        self.all = ArrivingRecordings(directory / "sync", directory / "quarantine", stored=self._stored)
        self.area: DaemonArea = self.all.of(NODE)

    def _stored(self, sid: SessionId) -> bool:
        if self.asked is not None:
            raise self.asked
        return sid in self.finished

    def content(self) -> bytes:
        """What has arrived."""
        return self.area.path(SID).read_bytes()


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An empty one."""
    return World(tmp_path)


async def test_a_part_grows_by_what_arrives(world: World) -> None:
    """In a private file of the daemon's own."""
    await world.area.ready(SID)
    await world.area.extend(SID, 0, b"one")
    await world.area.extend(SID, 3, b"two")
    assert world.content() == b"onetwo"
    assert stat.S_IMODE(world.area.path(SID).stat().st_mode) == 0o600
    [part] = await world.all.parts()
    assert (part.daemon, part.sid, part.finished) == (NODE, SID, False)


async def test_a_part_that_cannot_be_read_hides_no_other(world: World) -> None:
    """And what cannot be asked at all is an error in words, which ends nobody's loop."""
    await world.area.extend(SID, 0, b"one")
    world.area.path(OTHER).symlink_to(world.area.path(OTHER))
    assert [part.sid for part in await world.all.parts()] == [SID]
    world.asked = OSError(errno.EIO, "Input/output error")
    with pytest.raises(StoreError):
        await world.area.ready(SID)


async def test_a_call_that_is_repeated_changes_nothing(world: World) -> None:
    """Whole, or with more behind what was known: its answer was lost."""
    await world.area.extend(SID, 0, b"one")
    await world.area.extend(SID, 0, b"one")
    await world.area.extend(SID, 1, b"ne")
    await world.area.extend(SID, 1, b"netwo")
    assert world.content() == b"onetwo"


@pytest.mark.parametrize(
    ("offset", "data", "words"),
    [
        (4, b"x", "missing"),
        (0, b"other", "changed"),
        (2, b"E", "changed"),
        (1 << 62, b"x", "missing"),
    ],
)
async def test_what_does_not_continue_the_part_is_refused(
    world: World, offset: int, data: bytes, words: str
) -> None:
    """A daemon cannot take back what it has sent, nor leave anything out."""
    await world.area.extend(SID, 0, b"one")
    with pytest.raises(RecordingError, match=words):
        await world.area.extend(SID, offset, data)
    assert world.content() == b"one"


async def test_a_recording_has_a_longest_size(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is delivered whole has."""
    monkeypatch.setattr(arriving, "MAX_RECORDING", 5)
    await world.area.extend(SID, 0, b"12345")
    with pytest.raises(RecordingError, match="too long"):
        await world.area.extend(SID, 5, b"6")


async def test_a_finished_recording_begins_no_second_one(world: World) -> None:
    """Neither before the first byte nor in the middle."""
    await world.area.extend(SID, 0, b"one")
    world.finished.add(SID)
    for attempt in (world.area.ready(SID), world.area.extend(SID, 3, b"two")):
        with pytest.raises(RecordingError, match="already"):
            await attempt
    assert world.content() == b"one"
    await world.area.discard(SID)
    with pytest.raises(RecordingError, match="already"):
        await world.area.extend(SID, 0, b"one")
    assert not world.area.path(SID).exists()


async def test_a_full_disk_is_told_before_it_is_full(tmp_path: Path) -> None:
    """So that the database and live sessions have room."""
    full = ArrivingRecordings(tmp_path / "s", tmp_path / "q", stored=lambda _sid: False, reserve=1 << 62).of(NODE)
    with pytest.raises(StoreError, match="no room"):
        await full.ready(SID)
    with pytest.raises(StoreError, match="no room"):
        await full.extend(SID, 0, b"one")


async def test_a_disk_that_refuses_leaves_whole_blocks(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a block is taken back, so that repeating it works."""
    await world.area.extend(SID, 0, b"one")
    write = os.pwrite

    def half(fd: int, data: memoryview, at: int) -> int:
        if len(data) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data[:-1], at)

    monkeypatch.setattr(os, "pwrite", half)
    with pytest.raises(StoreError, match="could not be stored"):
        await world.area.extend(SID, 3, b"two")
    assert world.content() == b"one"
    monkeypatch.setattr(os, "pwrite", write)
    await world.area.extend(SID, 3, b"two")
    assert world.content() == b"onetwo"


async def test_daemons_do_not_meet(world: World) -> None:
    """Each has a directory; names that are no IDs have none."""
    other = world.all.of(DaemonId("31486a8f-ed19-45e7-9610-ddb916493e52"))
    await world.area.extend(SID, 0, b"one")
    await other.extend(OTHER, 0, b"two")
    assert {(part.daemon, part.sid) for part in await world.all.parts()} == {
        (NODE, SID),
        (DaemonId("31486a8f-ed19-45e7-9610-ddb916493e52"), OTHER),
    }
    with pytest.raises(ValueError, match="not a session ID"):
        world.all.of(DaemonId("../../etc"))


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12))
def test_any_calls_leave_a_beginning_of_the_truth(calls: list[tuple[int, int]]) -> None:
    """Whatever is repeated, reordered or left out by who speaks the truth: no byte is wrong."""
    truth = bytes(range(16))
    with tempfile.TemporaryDirectory() as directory:
        area = World(Path(directory)).area
        for offset, size in calls:
            with contextlib.suppress(RecordingError):
                asyncio.run(area.extend(SID, offset, truth[offset : offset + size]))
        path = area.path(SID)
        content = path.read_bytes() if path.exists() else b""
        assert truth.startswith(content)

"""What every recording store does: what it takes is stored whole, once, and the caller's file stays."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from interlock.adapters.blob.files import FileRecordings
from interlock.core.errors import InterlockError, RecordingError
from interlock.ports import RecordingStore
from interlock.testing.auth import SID, Auth, Node

CONTENT = b"all of the recording" * 1000


@dataclass
class World:
    """A store as a daemon sees it, and the store as auth reads it."""

    store: RecordingStore
    stored: RecordingStore
    part: Path

    async def content(self) -> bytes:
        """What is stored."""
        return b"".join([chunk async for chunk in self.stored.read(SID)])


@pytest.fixture(params=["files", "rpc"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Each implementation in turn, with a finished part."""
    part = tmp_path / "part"
    part.write_bytes(CONTENT)
    files = FileRecordings(tmp_path / "recordings")
    if request.param == "files":
        yield World(files, files, part)
        return
    auth = Auth(tmp_path / "auth")
    auth.recordings = files
    await auth.start()
    node = await Node.join(auth, "db1")
    yield World(node.client, files, part)
    await node.client.close()
    await auth.stop()


async def test_what_is_stored_is_the_file_and_the_file_stays(world: World) -> None:
    """It is the caller's until everything about the session is stored."""
    url = await world.store.store(SID, world.part)
    assert url.endswith(f"{SID}.ilr")
    assert await world.content() == CONTENT
    assert world.part.read_bytes() == CONTENT


async def test_storing_the_same_again_is_harmless(world: World) -> None:
    """A crash between two steps repeats the first."""
    first = await world.store.store(SID, world.part)
    assert await world.store.store(SID, world.part) == first
    assert await world.content() == CONTENT


async def test_another_recording_of_the_session_is_refused(world: World) -> None:
    """Whoever comes second with something else must not be told that it was stored."""
    await world.store.store(SID, world.part)
    other = world.part.with_name("other")
    other.write_bytes(CONTENT[::-1])
    with pytest.raises(RecordingError, match="another recording"):
        await world.store.store(SID, other)
    assert await world.content() == CONTENT


async def test_a_file_that_is_gone_cannot_be_stored(world: World) -> None:
    """The caller learns it as an error of ours."""
    world.part.unlink()
    with pytest.raises(InterlockError):
        await world.store.store(SID, world.part)

"""Arriving recordings: whole or not at all, and nothing left behind."""

import resource
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from interlock.adapters.rpc.spool import Spool
from interlock.core.errors import RecordingError, RemoteProtocolError, StoreError
from interlock.core.limits import MAX_RECORDING


def left_in(directory: Path) -> list[Path]:
    """What is there."""
    return list(directory.iterdir())


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    """Chunks as they come."""
    for chunk in chunks:
        yield chunk


async def test_a_whole_recording_is_one_private_file(tmp_path: Path) -> None:
    """Readable by nobody else, and gone when nobody took it."""
    async with Spool(tmp_path).received(6, stream(b"abc", b"", b"def")) as path:
        assert path.read_bytes() == b"abcdef"
        assert path.stat().st_mode & 0o777 == 0o600
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("size", [5, 7])
async def test_a_recording_of_another_length_is_refused(tmp_path: Path, size: int) -> None:
    """A stream that was cut off is not a recording."""
    with pytest.raises(RemoteProtocolError):
        async with Spool(tmp_path).received(size, stream(b"abc", b"def")):
            pass
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("size", [-1, 0, MAX_RECORDING + 1])
async def test_absurd_sizes_are_refused_before_anything_is_written(tmp_path: Path, size: int) -> None:
    """The announced size is checked first."""
    with pytest.raises(RecordingError):
        async with Spool(tmp_path).received(size, stream(b"x")):
            pass


async def test_no_room_is_said_before_anything_is_written(tmp_path: Path) -> None:
    """The node keeps the recording and tries again later."""
    with pytest.raises(StoreError, match="no room"):
        async with Spool(tmp_path, reserve=2**62).received(1, stream(b"x")):
            pass


async def test_a_disk_that_fails_is_an_error_to_try_again(tmp_path: Path) -> None:
    """The node still has the recording."""
    spool = Spool(tmp_path / "spool")
    (tmp_path / "spool").rmdir()
    with pytest.raises(StoreError):
        async with spool.received(1, stream(b"x")):
            pass


async def test_a_disk_that_takes_less_than_it_is_given_has_not_taken_it(tmp_path: Path) -> None:
    """And calls that a success: here up to the longest file allowed. A recording would be stored cut off."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, before[1]))
    try:
        with pytest.raises(StoreError):
            async with Spool(tmp_path).received(6, stream(b"abcdef")):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left_in(tmp_path) == []


def test_what_a_dead_process_left_is_removed(tmp_path: Path) -> None:
    """Half a recording is worth nothing here: the node has all of it."""
    (tmp_path / "x.arriving").write_bytes(b"half")
    Spool(tmp_path)
    assert left_in(tmp_path) == []

"""A recording that is read at any place: its descriptor, whoever stops reading where."""

import gc
from pathlib import Path

from interlock.adapters.blob.opened import OpenedFile


def descriptors(path: Path) -> int:
    """Of this process, at this file."""
    return sum(each.is_symlink() and each.readlink() == path for each in Path("/proc/self/fd").iterdir())


async def test_a_file_is_let_go_of_once_and_also_when_nobody_says_so(tmp_path: Path) -> None:
    """A download that ends before its first byte runs no clean-up of the generator that was to send it."""
    path = tmp_path / "recording"
    path.write_bytes(b"content")
    closed, dropped = OpenedFile(path), OpenedFile(path)
    assert await closed.read(3, 4) == b"tent"
    assert descriptors(path) == 2
    await closed.close()
    await closed.close()
    assert descriptors(path) == 1
    del dropped
    gc.collect()
    assert descriptors(path) == 0

"""The model of a power cut, fed by the real strace of a real process."""

import subprocess
import sys
from pathlib import Path

import pytest

from interlock.testing.powercut import CALLS, OPTIONS, Disk, steps

pytestmark = [pytest.mark.slow]

PROGRAM = """
import os, sys
os.chdir(sys.argv[1])
def put(name, data):
    fd = os.open(name, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(fd, data)
    return fd
def sync_directory():
    fd = os.open(".", os.O_RDONLY); os.fsync(fd); os.close(fd)
kept = put("kept", b"certain")
os.fsync(kept)
named = put("named", b"not synced")
lost = put("lost", b"synced, but without a name"); os.fsync(lost)
os.unlink("lost")
sync_directory()
lost = put("lost", b"synced, but without a name"); os.fsync(lost)
os.write(kept, b", and this is not")
os.pwrite(named, b"XY", 4)
os.link("kept", "linked")
os.rename("old", "new")
os.ftruncate(named, 3)
"""


@pytest.fixture
def traced(tmp_path: Path) -> tuple[Path, Disk, Path]:
    """A directory, what it was, and the log of what a process did to it."""
    root, log = tmp_path / "root", tmp_path / "log"
    root.mkdir()
    (root / "old").write_bytes(b"was there")
    disk = Disk(root)
    argv: list[str | Path] = ["strace", "-f", "-y", *OPTIONS, "-o", log, "-e", f"trace={','.join(CALLS)}"]
    subprocess.run([*argv, sys.executable, "-c", PROGRAM, root], check=True)
    return root, disk, log


def test_only_what_was_synced_is_left(traced: tuple[Path, Disk, Path], tmp_path: Path) -> None:
    """Bytes by the file's sync, names by the directory's."""
    root, disk, log = traced
    for step in steps(log.read_text().splitlines(), root, root):
        disk.play(step)
    disk.leave(tmp_path / "left")
    left = {path.name: path.read_bytes() for path in (tmp_path / "left").iterdir()}
    assert left == {"kept": b"certain", "named": b"", "old": b"was there"}


def test_what_the_kernel_had_is_what_is_there(traced: tuple[Path, Disk, Path], tmp_path: Path) -> None:
    """The model misses no call."""
    root, disk, log = traced
    for step in steps(log.read_text().splitlines(), root, root):
        disk.play(step)
    disk.leave_all(tmp_path / "left")
    now = {path.name: path.read_bytes() for path in (tmp_path / "left").iterdir()}
    assert now == {path.name: path.read_bytes() for path in root.iterdir()}

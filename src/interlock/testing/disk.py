"""A file system of a few megabytes, for what happens when it is full.

It is mounted in a mount namespace of the test process, so that nothing of it is left when that ends, however. What
the process starts from then on sees it. Needs root.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interlock.testing.procs import run

_CLONE_NEWNS = 0x00020000
_MIB = 1024 * 1024


class _Namespace:
    """Whether this process has one of its own."""

    own = False

    @classmethod
    def enter(cls) -> None:
        """Needed once."""
        if cls.own:
            return
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        run(["mount", "--make-rprivate", "/"]).check()
        cls.own = True


class SmallDisk:
    """A mounted one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._filler = directory / "filler"

    @property
    def free(self) -> int:
        """Bytes."""
        found = os.statvfs(self._directory)
        return found.f_bavail * found.f_frsize

    def leave(self, size: int) -> None:
        """Fill it, as somebody else would, so that so many bytes are free; or make so much room again."""
        with self._filler.open("ab") as file:
            have = file.tell()
            wanted = max(0, have + self.free - size)
            if wanted <= have:
                file.truncate(wanted)
            else:
                try:
                    os.posix_fallocate(file.fileno(), have, wanted - have)
                except OSError:  # somebody was quicker: take what there is
                    self._take_rest(file.fileno())

    @staticmethod
    def _take_rest(fd: int) -> None:
        try:
            while True:
                os.write(fd, b"\0" * 4096)
        except OSError:
            return

    def clear(self) -> None:
        """Take everything back."""
        self._filler.unlink(missing_ok=True)


@contextmanager
def small_disk(directory: Path, mebibytes: int) -> Iterator[SmallDisk]:
    """One at this directory, which is made. OSError if we may not."""
    _Namespace.enter()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes * _MIB},mode=0700", "none", directory]).check()
    try:
        yield SmallDisk(directory)
    finally:
        run(["umount", "--lazy", directory]).check()

"""The file system of the recordings: how full it is, and a file that does nothing but hold some of it.

::

    <directory>/reserve   of a daemon's recordings: as long as it is there, so much can be made free at once
"""

import contextlib
import os
from pathlib import Path

from interlock.core.errors import StoreError
from interlock.domain.room import Usage

_RESERVE = "reserve"


class DiskOfRecordings:
    """`ports.RecordingDisk` of a directory, which it makes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / _RESERVE
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def usage(self) -> Usage:
        """Two system calls."""
        try:
            found = os.statvfs(self._directory)
        except OSError as error:
            raise StoreError("the disk of the recordings cannot be read", reason=str(error)) from error
        held = 0
        with contextlib.suppress(OSError):
            held = self._file.stat().st_blocks * 512
        return Usage(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, held)

    def hold(self, size: int) -> None:
        """Make the file, of so many bytes."""
        try:
            fd = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.ftruncate(fd, size)
                if size:
                    os.posix_fallocate(fd, 0, size)
            finally:
                os.close(fd)
        except OSError as error:
            self.release()
            raise StoreError(
                "nothing can be set aside on the disk of the recordings", reason=str(error)
            ) from error

    def release(self) -> None:
        """Remove it; fine if it is gone."""
        with contextlib.suppress(OSError):
            self._file.unlink()

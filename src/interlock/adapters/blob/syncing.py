"""Brings parts to the disk behind the sessions that write them: a power cut costs hardly more than a crash.

A part's bytes are the kernel's as soon as they are written, which outlives our process, and not the machine. So
what was written is synced in a thread, twenty times a second at most: while one round is on its way, the next one
gathers. Nothing on the path of a packet waits. A part that is closed in the same step needs no sync of its own:
storing it does that.
"""

import asyncio
import ctypes
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol

MANY = 8
"""Parts of one round above which the whole file system is synced at once, which takes a disk as long as a few."""

PAUSE_S = 0.05
"""Seconds between the beginnings of two rounds at least: half of what a recorder holds back."""

_LIBC = ctypes.CDLL(None, use_errno=True)


class Syncable(Protocol):
    """An open part."""

    def sync(self) -> None:
        """Bring it to the disk; called in the thread. It keeps its own errors."""
        ...

    def synced(self, error: OSError | None) -> None:
        """It was, or could not be, brought to the disk with all others."""
        ...


class Syncer:
    """Of one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._thread = ThreadPoolExecutor(1, "parts.sync")
        self._dirty: dict[Syncable, None] = {}
        self._fresh = False  # whether a part was made since the directory was synced
        self._busy = False  # a round is on its way, or about to begin
        self._last = -PAUSE_S  # when the last one began, by the loop's clock

    def note(self, part: Syncable) -> None:
        """Something was written to this part. Short; called on the event loop, as are all but the thread's own."""
        self._dirty[part] = None
        if not self._busy:
            self._busy = True
            loop = asyncio.get_running_loop()
            loop.call_at(max(loop.time(), self._last + PAUSE_S), self._begin, loop)

    def made(self) -> None:
        """There is a part that was not there before."""
        self._fresh = True

    def forget(self, part: Syncable) -> None:
        """It is closed."""
        self._dirty.pop(part, None)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Behind the rest of the step of the loop in which something was written: the part may be closed in it."""
        parts, self._dirty = tuple(self._dirty), {}
        fresh, self._fresh = self._fresh, self._fresh and not parts
        self._busy = bool(parts)
        if parts:
            self._last = loop.time()
            self._thread.submit(self._work, loop, parts, fresh)

    def _work(self, loop: asyncio.AbstractEventLoop, parts: Sequence[Syncable], fresh: bool) -> None:
        if fresh:
            _sync_directory(self._directory)
        if len(parts) > MANY:
            error = _sync_file_system(self._directory)
            for part in parts:
                part.synced(error)
        else:
            for part in parts:
                part.sync()
        with suppress(RuntimeError):  # the loop is closed: nobody writes any more
            loop.call_soon_threadsafe(self._done)

    def _done(self) -> None:
        self._busy = False
        for part in self._dirty:  # one is enough: a round takes all
            self.note(part)
            break


def _sync_directory(directory: Path) -> None:
    """If that fails, syncing what is in it fails, too, and is told."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _sync_file_system(directory: Path) -> OSError | None:
    """syncfs(2), which Python does not have; it tells errors since Linux 5.8."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return error
    try:
        if _LIBC.syncfs(descriptor) == 0:
            return None
        number = ctypes.get_errno()
        return OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)

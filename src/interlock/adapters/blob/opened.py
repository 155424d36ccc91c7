"""Stored recordings that are read at any place: `ports.OpenedRecording` over a file and over an object."""

import asyncio
import os
import weakref
from pathlib import Path

from interlock.adapters.blob.bucket import Bucket
from interlock.adapters.blob.parts import unreadable
from interlock.adapters.blob.threads import Threads
from interlock.core.errors import StoreError


class OpenedFile:
    """A file, which stays readable when its name is another's or nobody's. FileNotFoundError; for a thread.

    It is closed at the latest when nobody has it any more: a reader may be gone before the first byte is read.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._let_go = weakref.finalize(self, os.close, self._fd)
        self.size = os.fstat(self._fd).st_size

    async def read(self, offset: int, size: int) -> bytes:
        """See `OpenedRecording.read`."""
        try:
            return await asyncio.to_thread(os.pread, self._fd, size, offset)
        except OSError as error:
            raise unreadable(error) from error

    async def close(self) -> None:
        """See `OpenedRecording.close`; harmless twice."""
        self._let_go()


class OpenedObject:
    """An object as it was looked at: one that has changed since is not read. Holds no connection."""

    def __init__(self, bucket: Bucket, key: str, threads: Threads, *, size: int, etag: str) -> None:
        self._bucket = bucket
        self._key = key
        self._threads = threads
        self._etag = etag
        self.size = size

    async def read(self, offset: int, size: int) -> bytes:
        """See `OpenedRecording.read`. A request."""
        if (wanted := min(size, self.size - offset)) <= 0:  # the storage would refuse
            return b""
        piece = await self._threads.run(self._piece, offset, wanted)
        if piece is None:
            raise StoreError("the recording cannot be read any more", reason=f"{self._key} has gone")
        return piece

    async def close(self) -> None:
        """There is nothing to let go of."""

    def _piece(self, offset: int, size: int) -> bytes | None:
        piece = self._bucket.get(self._key, offset, size, etag=self._etag)
        return None if piece is None else piece.data

"""Sync modes where auth's storage is this very disk: what the recorder wrote is made durable, nothing is sent."""

import asyncio
import os

from interlock.adapters.blob.parts import PartFiles
from interlock.core.errors import RecordingError
from interlock.core.ids import SessionId


class SyncedParts:
    """`ports.SyncStore` over the parts of the same process."""

    def __init__(self, parts: PartFiles) -> None:
        self._parts = parts

    async def ready(self, sid: SessionId) -> None:
        """Making the part is the test."""
        del sid

    async def extend(self, sid: SessionId, offset: int, data: bytes) -> None:
        """The bytes are in the part already; RecordingError if the disk does not confirm them.

        It is not asked again: after a failure the kernel counts what it could not write as written.
        """
        del offset, data
        try:
            await asyncio.to_thread(self._sync, sid)
        except OSError as error:
            words = error.strerror or "the storage failed"
            raise RecordingError(words, reason=f"syncing the recording {sid}: {error}") from error

    def _sync(self, sid: SessionId) -> None:
        fd = os.open(self._parts.path(sid), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)

"""Recordings on their way in: received into a file of their own, checked for length, then handed to the store."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from interlock.core.errors import RecordingError, RemoteProtocolError, Rule, StoreError
from interlock.core.limits import MAX_RECORDING, STORAGE_RESERVE

_SUFFIX = ".arriving"


class Spool:
    """A directory of files that belong to calls in progress; what an earlier process left there is removed."""

    def __init__(self, directory: Path, *, reserve: int = STORAGE_RESERVE) -> None:
        self._directory = directory
        self._reserve = reserve
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for stale in directory.glob(f"*{_SUFFIX}"):
            stale.unlink(missing_ok=True)

    @asynccontextmanager
    async def received(self, size: int, chunks: AsyncIterator[bytes]) -> AsyncIterator[Path]:
        """A file with all of the chunks, gone afterwards unless somebody took it.

        RecordingError if it is longer than we take, StoreError if there is no room or the disk fails,
        RemoteProtocolError if the stream's length is not ``size``.
        """
        if not 0 < size <= MAX_RECORDING:
            raise RecordingError(f"a recording of {size} bytes is not accepted")
        try:
            path = await asyncio.to_thread(self._create, size)
            try:
                await _receive(path, size, chunks)
                yield path
            finally:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError("the recording could not be stored", reason=f"receiving: {error}") from error

    def _create(self, size: int) -> Path:
        if shutil.disk_usage(self._directory).free < size + self._reserve:
            raise StoreError("no room for the recording on auth's disk", reason=f"no room for {size} bytes")
        fd, name = tempfile.mkstemp(suffix=_SUFFIX, dir=self._directory)  # 0600 and O_EXCL
        os.close(fd)
        return Path(name)


async def _receive(path: Path, size: int, chunks: AsyncIterator[bytes]) -> None:
    left = size
    with path.open("wb") as file:  # its buffer goes on where the disk takes less than it was given
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                break
            await asyncio.to_thread(file.write, chunk)
    if left:
        raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, f"a recording of {size} bytes came with {size - left}")

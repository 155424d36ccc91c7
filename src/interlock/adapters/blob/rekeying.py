"""Recordings whose wrapped key is another one: the block that holds it is replaced, and not a byte besides."""

import filecmp
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from interlock.adapters.blob.parts import CHUNK
from interlock.core.errors import RecordingError
from interlock.domain.container import KEYS_SIZE, PREAMBLE_SIZE, rewrapped

FRONT = PREAMBLE_SIZE + KEYS_SIZE
"""Bytes of a file in which the wrapped key is, if it has one."""

Rewrap = Callable[[bytes], bytes]
"""From an age file that holds a key to another one that holds the same key."""


def copy_rewrapped(path: Path, copy: Path, rewrap: Rewrap) -> bool:
    """A copy on the disk with the key wrapped anew; False, and no copy, if the file holds no wrapped key."""
    with path.open("rb") as source:
        front = rewrapped(source.read(FRONT), rewrap)
        if front is None:
            return False
        with copy.open("wb") as target:
            copy.chmod(0o600)
            target.write(front)
            shutil.copyfileobj(source, target, CHUNK)
            target.flush()
            os.fsync(target.fileno())
    return True


def same_but_for_keys(one: Path, other: Path) -> bool:
    """Whether two files are the same recording, of which the key is wrapped differently."""
    with one.open("rb") as first, other.open("rb") as second:
        try:
            fronts = [rewrapped(file.read(FRONT), lambda _wrapped: b"") for file in (first, second)]
        except RecordingError:  # one of them is none
            return False
        if fronts[0] is None or fronts[0] != fronts[1]:
            return False
        while piece := first.read(CHUNK):
            if piece != second.read(CHUNK):
                return False
        return not second.read(1)


def same_beginnings(one: bytes, other: bytes) -> bool:
    """The same of as many bytes of two recordings, at least `FRONT`; the rest of them must be the same bytes."""
    try:
        fronts = [rewrapped(each[:FRONT], lambda _wrapped: b"") for each in (one, other)]
    except RecordingError:  # one of them is none
        return False
    return fronts[0] is not None and fronts[0] == fronts[1] and one[FRONT:] == other[FRONT:]


def kept_front(ours: bytes, theirs: bytes, keep: int) -> bytes | None:
    """What the beginning of ``ours`` becomes in the place of ``theirs``: the key stays wrapped as it is there.

    Both are `FRONT` bytes, or all there are; of theirs ``keep`` bytes of the file count. None if they are not the
    beginnings of one recording.
    """
    if ours[:keep] == theirs[:keep]:
        return ours
    return theirs if keep >= FRONT and same_beginnings(ours, theirs) else None


def same_files(one: Path, other: Path) -> bool:
    """Whether the files hold the same recording."""
    return filecmp.cmp(one, other, shallow=False) or same_but_for_keys(one, other)

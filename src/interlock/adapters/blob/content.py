"""What is to be stored under one key: the beginning of a file and a tail, read in pieces, with all its sums.

A storage says of an object in several parts what it made of the parts' sums: SHA-256 of them if it keeps that,
and a tag that is MD5 of them unless it encrypts. Both are made here too, so that what is stored can be compared
without reading it back.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from interlock.adapters.blob.bucket import Digests, Found

PART_SIZE = 8 * 1024 * 1024
"""Bytes of one request and of one part. The longest recording has 8,192 of them, and 10,000 are allowed."""


@dataclass(frozen=True, slots=True)
class Source:
    """The first ``keep`` bytes of a closed file, then ``tail``."""

    path: Path
    keep: int
    tail: bytes = b""
    front: bytes = b""  # takes the place of the file's first bytes; less than `keep`, and than a piece

    @classmethod
    def whole(cls, path: Path) -> "Source":
        """All of the file. OSError if it is not there."""
        return cls(path, path.stat().st_size)

    @property
    def size(self) -> int:
        """Bytes of it all."""
        return self.keep + len(self.tail)

    def pieces(self) -> Iterator[bytes]:
        """At least one, each but the last of `PART_SIZE`; OSError if the file has become shorter."""
        with self.path.open("rb", buffering=0) as file:
            left, rest = self.keep, self.tail
            for start in range(0, max(self.size, 1), PART_SIZE):
                wanted = min(PART_SIZE, self.size - start)
                piece = file.read(min(wanted, left))
                if len(piece) < min(wanted, left):
                    raise OSError(0, "the file has become shorter", str(self.path))
                left -= len(piece)
                more = wanted - len(piece)
                if not start:
                    piece = self.front + piece[len(self.front) :]
                yield piece + rest[:more] if more else piece
                rest = rest[more:]


@dataclass(frozen=True, slots=True)
class Content:
    """The sums of it all."""

    size: int
    sha256: str  # of all bytes, in hexadecimal: what two recordings are compared by
    parts: tuple[Digests, ...]

    @classmethod
    def of(cls, pieces: Iterator[bytes]) -> "Content":
        """Read it once."""
        size, whole, parts = 0, hashlib.sha256(), []
        for piece in pieces:
            size += len(piece)
            whole.update(piece)
            parts.append(
                Digests(hashlib.md5(piece, usedforsecurity=False).digest(), hashlib.sha256(piece).digest())
            )
        return cls(size, whole.hexdigest(), tuple(parts))

    def agrees(self, found: Found) -> bool:
        """Whether the storage's own sums show that this is what it has. False may also mean that it has none."""
        if found.size != self.size:
            return False
        return found.sha256 == self._sha256() if found.sha256 else found.etag.strip('"') == self._etag()

    def _sha256(self) -> str:
        one = self.parts[0].sha256
        made = (
            one if len(self.parts) == 1 else hashlib.sha256(b"".join(each.sha256 for each in self.parts)).digest()
        )
        text = base64.b64encode(made).decode()
        return text if len(self.parts) == 1 else f"{text}-{len(self.parts)}"

    def _etag(self) -> str:
        if len(self.parts) == 1:
            return self.parts[0].md5.hex()
        together = hashlib.md5(b"".join(each.md5 for each in self.parts), usedforsecurity=False)
        return f"{together.hexdigest()}-{len(self.parts)}"

"""Frames into compressed blocks."""

import zstandard

from interlock.domain.container.blocks import BlockKind, Chain, Continued
from interlock.domain.container.frames import FrameBuffer
from interlock.domain.container.packing import new_compressor
from interlock.domain.recording import CLEAR


class BlockBuilder(FrameBuffer):
    """Collects frames, and packs them into one block when asked. Many builders may share one compressor."""

    __slots__ = ("_chain", "_compressor")

    def __init__(
        self, salt: bytes, compressor: zstandard.ZstdCompressor | None = None, *, chain: Continued | None = None
    ) -> None:
        """``chain``: the file to be continued; by default a new one with this salt."""
        super().__init__()
        self._compressor = compressor or new_compressor()
        self._chain = chain or Chain.begin(salt)

    def take(self) -> bytes:
        """The collected frames as one block, ready to be written; the builder is empty afterwards."""
        frames, count = self._taken()
        packed = self._compressor.compress(frames)
        secret = not CLEAR.issuperset(self.sizes)
        return self._chain.block(
            BlockKind.FRAMES, packed, count=count, first=self._first, last=self._last, secret=secret
        )

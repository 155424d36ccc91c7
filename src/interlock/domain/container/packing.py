"""Compression: every payload is one zstd frame that states its content's size."""

import zstandard

from interlock.core.errors import RecordingError
from interlock.domain.container.blocks import MAX_BLOCK

_LEVEL = 1  # takes some 400 MB/s of a terminal's text; level 3 gains a few percent and costs a third more time


def new_compressor() -> zstandard.ZstdCompressor:
    """A compressor with the format's settings; not to be used by two threads at once."""
    return zstandard.ZstdCompressor(level=_LEVEL, write_content_size=True)


def unpacked(packed: bytes, unpack: zstandard.ZstdDecompressor) -> bytes:
    """A payload's contents; RecordingError if it is damaged or too large."""
    try:
        if not 0 <= zstandard.get_frame_parameters(packed).content_size <= MAX_BLOCK:
            raise RecordingError("the recording is damaged", reason="a block is too large")
        return unpack.decompress(packed)
    except zstandard.ZstdError as error:
        raise RecordingError("the recording is damaged", reason=str(error)) from None

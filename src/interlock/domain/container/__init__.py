"""The recording file (docs/FORMAT.md): how it is laid out, written, signed, read and verified."""

from interlock.domain.container.blocks import (
    BLOCK_SIZE,
    MAX_BLOCK,
    PREAMBLE_SIZE,
    SALT_SIZE,
    SYNC,
    Chain,
    preamble,
)
from interlock.domain.container.frames import JOINED_US
from interlock.domain.container.index import Keyframe, Painter, Point, Points, indexed
from interlock.domain.container.packing import new_compressor
from interlock.domain.container.reading import Decoder, decode, read_all
from interlock.domain.container.seal import CLOSING, SealState, Unsealed, closing, sealed
from interlock.domain.container.seeking import frames_from, keyframes_at, rebased
from interlock.domain.container.verify import Problem, Standing, Verdict, verify
from interlock.domain.container.writing import BlockBuilder

__all__ = [
    "BLOCK_SIZE",
    "CLOSING",
    "JOINED_US",
    "MAX_BLOCK",
    "PREAMBLE_SIZE",
    "SALT_SIZE",
    "SYNC",
    "BlockBuilder",
    "Chain",
    "Decoder",
    "Keyframe",
    "Painter",
    "Point",
    "Points",
    "Problem",
    "SealState",
    "Standing",
    "Unsealed",
    "Verdict",
    "closing",
    "decode",
    "frames_from",
    "indexed",
    "keyframes_at",
    "new_compressor",
    "preamble",
    "read_all",
    "rebased",
    "sealed",
    "verify",
]

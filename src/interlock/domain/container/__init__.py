"""The recording file (docs/FORMAT.md): how it is laid out, written, signed, read and verified."""

from interlock.domain.container.blocks import (
    BLOCK_SIZE,
    MAX_BLOCK,
    PREAMBLE_SIZE,
    SALT_SIZE,
    SYNC,
    Chain,
    keys_block,
    preamble,
)
from interlock.domain.container.frames import JOINED_US
from interlock.domain.container.index import Keyframe, Painter, Point, Points, indexed
from interlock.domain.container.locked import KEYS_SIZE, ContentKey, FreshKey, Held, Unlock
from interlock.domain.container.packing import new_compressor
from interlock.domain.container.reading import Decoder, decode, opened_for_player, read_all, rewrapped
from interlock.domain.container.seal import CLOSING, SealState, Unsealed, closing, sealed
from interlock.domain.container.seeking import (
    FRONT,
    Asking,
    Place,
    answered,
    frames_from,
    frames_near,
    keyframes_at,
    needed,
    place_of,
    rebased,
)
from interlock.domain.container.verify import Problem, Standing, Verdict, verify
from interlock.domain.container.writing import BlockBuilder

__all__ = [
    "BLOCK_SIZE",
    "CLOSING",
    "FRONT",
    "JOINED_US",
    "KEYS_SIZE",
    "MAX_BLOCK",
    "PREAMBLE_SIZE",
    "SALT_SIZE",
    "SYNC",
    "Asking",
    "BlockBuilder",
    "Chain",
    "ContentKey",
    "Decoder",
    "FreshKey",
    "Held",
    "Keyframe",
    "Painter",
    "Place",
    "Point",
    "Points",
    "Problem",
    "SealState",
    "Standing",
    "Unlock",
    "Unsealed",
    "Verdict",
    "answered",
    "closing",
    "decode",
    "frames_from",
    "frames_near",
    "indexed",
    "keyframes_at",
    "keys_block",
    "needed",
    "new_compressor",
    "opened_for_player",
    "place_of",
    "preamble",
    "read_all",
    "rebased",
    "rewrapped",
    "sealed",
    "verify",
]

"""Seals: blocks in which a daemon signs all that is in the file before them.

::

    payload = state (1 byte) kept (8) index (8) length of warrant (2) warrant signature (64, or none)

Signed is the session's ID, the offset of the block, and all of the block behind its checksum except the signature:
the number of blocks and the hash of the whole chain are in there. A checkpoint vouches for a recording that goes
on; the last block of a file is the seal that closes it. A warrant is left out if it is the one of the seal before.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum
from struct import Struct
from uuid import UUID

from interlock.core.ids import SessionId
from interlock.domain.container.blocks import CHECKED, Block, BlockKind, Chain
from interlock.domain.container.index import Keyframe, Point, indexed
from interlock.domain.recording import Header
from interlock.domain.signing import MAX_WARRANT, SIGNATURE_SIZE, Purpose, WarrantedKey, is_signed

_PAYLOAD = Struct(">BQQH")


class SealState(IntEnum):
    """How a recording stands when it is sealed."""

    CHECKPOINT = 1  # it goes on
    CLOSED = 2  # it has its end
    COMPLETED = 3  # its recorder died, and whoever seals has made up the end


_STATES = frozenset(map(int, SealState))
CLOSING = frozenset({SealState.CLOSED, SealState.COMPLETED})
"""Nothing follows these."""


@dataclass(frozen=True, slots=True)
class Unsealed:
    """A file that has its end and lacks its seek index and its seal."""

    chain: Chain  # where it goes on
    header: Header
    last: int  # its length in microseconds
    points: tuple[Point, ...]  # for the index


@dataclass(frozen=True, slots=True)
class Seal:
    """What a seal says."""

    state: SealState
    kept: int  # bytes of the file that are its recorder's own; the rest was added by whoever seals
    index: int  # offset of the seek index; 0: there is none
    warrant: bytes
    signature: bytes  # empty: nobody has signed

    @classmethod
    def read(cls, block: Block) -> "Seal | None":
        """From a block of this kind; None if it is none."""
        payload = block.payload
        if len(payload) < _PAYLOAD.size or block.head.kind != BlockKind.SEAL:
            return None
        state, kept, index, length = _PAYLOAD.unpack_from(payload)
        warrant, signature = payload[_PAYLOAD.size : _PAYLOAD.size + length], payload[_PAYLOAD.size + length :]
        known = state in _STATES and length <= MAX_WARRANT
        if not known or len(warrant) != length or len(signature) not in (0, SIGNATURE_SIZE):
            return None
        return cls(SealState(state), kept, index, warrant, signature)

    def is_signed_by(self, public: bytes, block: Block, sid: SessionId) -> bool:
        """Whether this key has signed it, as the seal of this session's recording at this place."""
        message = _message(sid, block.offset, block.raw[CHECKED:-SIGNATURE_SIZE])
        return is_signed(public, Purpose.RECORDING, message, self.signature)


def sealed(
    chain: Chain,
    sid: SessionId,
    state: SealState,
    signer: WarrantedKey | None,
    *,
    at: int,
    kept: int | None = None,
    index: int = 0,
) -> bytes:
    """A seal as the chain's next block. ``at``: the recording's length in microseconds.

    ``kept``: bytes that are the recorder's own, if not all; ``index``: offset of the seek index. Without a signer
    it says how the recording stands and proves nothing.
    """
    warrant, signature_size = b"", 0
    if signer is not None:
        warrant = b"" if signer.warrant == chain.warrant else signer.warrant
        signature_size = SIGNATURE_SIZE
    said = _PAYLOAD.pack(state, chain.offset if kept is None else kept, index, len(warrant)) + warrant
    head = chain.head(BlockKind.SEAL, len(said) + signature_size, first=at, last=at)
    if signer is None:
        return chain.add(head, said)
    message = _message(sid, chain.offset, head[CHECKED:] + said)
    block = chain.add(head, said + signer.key.sign(Purpose.RECORDING, message))
    chain.warrant = signer.warrant
    return block


def closing(
    file: Unsealed,
    sid: SessionId,
    state: SealState,
    signer: WarrantedKey | None,
    keyframes: Iterable[Keyframe],
    *,
    kept: int,
) -> bytes:
    """Keyframes, index and last seal, for the end of the file; ``kept`` as for `sealed`."""
    chain = replace(file.chain)  # another attempt begins at the same place
    blocks, index = indexed(chain, file.points, keyframes)
    return b"".join((*blocks, sealed(chain, sid, state, signer, at=file.last, kept=kept, index=index)))


def _message(sid: SessionId, offset: int, checked: bytes) -> bytes:
    return b"".join((UUID(sid).bytes, offset.to_bytes(8, "big"), checked))

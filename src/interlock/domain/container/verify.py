"""Whether a recording is, byte for byte, what its recorder wrote: checked offline, with the public key alone.

Strict where `reading` is lenient: the first byte that is not as it must be is named, and nothing behind it counts.
An independent program of the same purpose, which shares no code with this one, is docs/verify_recording.py.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from zlib import crc32

import zstandard

from interlock.core.errors import RecordingError
from interlock.core.ids import SessionId, parse_session_id
from interlock.domain.container.blocks import (
    FORMAT_1,
    KEYED,
    MAGIC,
    MAX_STORED,
    PREAMBLE_SIZE,
    SYNC,
    Block,
    BlockKind,
    head_size,
    preamble,
    read_head,
)
from interlock.domain.container.frames import parse_frames
from interlock.domain.container.locked import read_keys
from interlock.domain.container.packing import unpacked
from interlock.domain.container.reading import read_preamble
from interlock.domain.container.seal import CLOSING, Seal, SealState
from interlock.domain.recording import Header
from interlock.domain.signing import DaemonRole, Warrant, read_warrant


class Standing(Enum):
    """What a recording proves."""

    SIGNED = "signed"
    NOT_SIGNED = "not signed"
    OLD = "not signed (format 1)"
    BROKEN = "not what was recorded"


@dataclass(frozen=True, slots=True)
class Problem:
    """The first thing that is wrong."""

    offset: int  # of the first byte that does not belong, or of the block in which it is
    words: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found."""

    standing: Standing
    size: int = 0  # bytes that were looked at
    blocks: int = 0
    vouched: int = 0  # bytes for which the last signature that holds vouches
    header: Header | None = None
    signer: Warrant | None = None  # of that signature
    encrypted: bool = False  # contents can be read with a key only; verifying needs none
    completed: bool = False  # its recorder died, and the signer has made up the end
    problem: Problem | None = None


def verify(chunks: Iterable[bytes], keys: Sequence[bytes], *, sid: SessionId | None = None) -> Verdict:
    """Read a whole file and say what it proves; never raises for its contents.

    ``keys``: the raw public keys of the recordings' authority; ``sid``: whose recording it should be.
    """
    checker = _Checker(keys, sid)
    try:
        checker.check(_Source(chunks))
    except _Wrong as wrong:
        return replace(checker.verdict, standing=Standing.BROKEN, problem=Problem(wrong.offset, wrong.words))
    return checker.verdict


class _Wrong(Exception):
    def __init__(self, offset: int, words: str) -> None:
        super().__init__(words)
        self.offset = offset
        self.words = words


class _Source:
    """The file's bytes from the beginning, as many at a time as are asked for."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = bytearray()
        self.offset = 0

    def peek(self, size: int) -> bytes:
        """The next bytes; fewer only at the end."""
        while len(self._buffer) < size and (chunk := next(self._chunks, None)) is not None:
            self._buffer += chunk
        return bytes(self._buffer[:size])

    def take(self, size: int) -> bytes:
        """The same, and go on behind them."""
        taken = self.peek(size)
        del self._buffer[:size]
        self.offset += len(taken)
        return taken


class _Checker:
    def __init__(self, keys: Sequence[bytes], sid: SessionId | None) -> None:
        self.verdict = Verdict(Standing.BROKEN)
        self._keys = keys
        self._sid = sid  # the header's, once that was read
        self._before = b""
        self._warrant = b""  # of the last seal that had one
        self._closed = False

    def check(self, source: _Source) -> None:
        start = source.take(PREAMBLE_SIZE)
        if len(start) < PREAMBLE_SIZE and start[: len(MAGIC)] == MAGIC[: len(start)]:
            raise _Wrong(len(start), "the file ends before its first block")
        try:
            version, salt = read_preamble(start)
        except RecordingError as error:
            raise _Wrong(0, error.public) from None
        self._before = hashlib.sha256(preamble(salt, version)).digest()
        keyed = False
        for block in _blocks(source, version, crc32(salt)):
            if block.head.kind == BlockKind.KEYS and block.offset == PREAMBLE_SIZE:
                if read_keys(block.payload) is None:
                    raise _Wrong(block.offset, "the recording's wrapped key cannot be read")
                keyed = True
                continue
            if version != FORMAT_1:
                self._check_place(block)
            if not self.verdict.blocks:
                if keyed != bool(block.head.flags & KEYED):
                    raise _Wrong(PREAMBLE_SIZE, "the block with the recording's wrapped key is missing or foreign")
                self.verdict = replace(self.verdict, encrypted=keyed)
                self._check_header(block)
            if block.head.kind == BlockKind.SEAL:
                self._check_seal(block)
            self._before = hashlib.sha256(block.raw).digest()
            self.verdict = replace(self.verdict, blocks=self.verdict.blocks + 1, size=block.end)
        if version == FORMAT_1:
            self.verdict = replace(self.verdict, standing=Standing.OLD)
        elif not self._closed:
            vouched = self.verdict.vouched
            words = f"signed are the first {vouched} bytes" if vouched else "nothing of it is signed"
            raise _Wrong(source.offset, f"the recording has no end, or it was cut off: {words}")

    def _check_place(self, block: Block) -> None:
        head, due = block.head, self.verdict.blocks
        if self._closed:
            raise _Wrong(block.offset, "something follows the seal that closes the recording")
        if head.number < due:
            raise _Wrong(block.offset, f"block {head.number} comes again where block {due} is due")
        if head.number > due:
            raise _Wrong(block.offset, f"block {head.number} comes where block {due} is due: blocks are missing")
        if head.before != self._before:
            raise _Wrong(block.offset, f"block {due} does not continue what is before it")

    def _check_header(self, block: Block) -> None:
        try:
            frame = next(
                parse_frames(
                    unpacked(block.payload, zstandard.ZstdDecompressor()), block.head.count, block.head.first
                ),
                None,
            )
            if frame is None or not isinstance(frame.body, Header):
                raise _Wrong(block.offset, "the recording does not begin with its header")
            sid = parse_session_id(frame.body.sid)
        except (RecordingError, IndexError, ValueError):
            raise _Wrong(block.offset, "the recording's header cannot be read") from None
        if self._sid not in (None, sid):
            raise _Wrong(block.offset, f"this is the recording of another session: {sid}")
        self._sid = sid
        self.verdict = replace(self.verdict, header=frame.body)

    def _check_seal(self, block: Block) -> None:
        seal = Seal.read(block)
        if seal is None:
            raise _Wrong(block.offset, "the seal cannot be read")
        self._closed = seal.state in CLOSING
        if not seal.signature:
            self.verdict = replace(self.verdict, standing=Standing.NOT_SIGNED)
            return
        self._warrant = seal.warrant or self._warrant
        warrant = read_warrant(self._warrant, self._keys)
        if warrant is None:
            raise _Wrong(block.offset, "signed with a key of which no given key says whose it is")
        if self._sid is None or not seal.is_signed_by(warrant.public, block, self._sid):
            raise _Wrong(block.offset, "the signature is wrong")
        self._check_signer(block, warrant)
        self.verdict = replace(
            self.verdict,
            standing=Standing.SIGNED,
            vouched=block.end,
            signer=warrant,
            completed=seal.state is SealState.COMPLETED,
        )

    def _check_signer(self, block: Block, warrant: Warrant) -> None:
        header = self.verdict.header
        if header is None or warrant.cluster != header.cluster:
            raise _Wrong(block.offset, f"signed in another cluster: {warrant.cluster}")
        if warrant.role is not DaemonRole.AUTH and warrant.daemon != header.recorded_by:
            raise _Wrong(block.offset, f"signed by {warrant.daemon}, which has not recorded it")
        try:
            until = datetime.fromtimestamp(warrant.valid_until, UTC)
            started = datetime.fromisoformat(header.start)
            sealed_at = (started + timedelta(microseconds=block.head.last)).astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            return  # of a header that is signed: it proves nothing about the time
        if sealed_at >= until:
            raise _Wrong(block.offset, f"signed with a key that was good until {until.isoformat()}")


def _blocks(source: _Source, version: int, seed: int) -> Iterator[Block]:
    """Block after block with nothing in between."""
    size = head_size(version)
    while start := source.peek(size):
        offset = source.offset
        if not start.startswith(SYNC[: len(start)]):
            raise _Wrong(offset, "no block begins where one is due")
        if len(start) < size:
            raise _Wrong(offset, f"the file ends inside a block, after {len(start)} bytes of it")
        head = read_head(version, start)
        if head.length > MAX_STORED:
            raise _Wrong(offset, "a block is damaged: it is longer than any can be")
        raw = source.take(size + head.length)
        block = Block(offset, head, raw)
        if len(raw) < size + head.length:
            raise _Wrong(
                offset, f"the file ends inside a block, after {len(raw)} bytes of it, or its head is damaged"
            )
        if not block.is_whole(seed):
            raise _Wrong(offset, "a block is damaged: its checksum is wrong")
        yield block

"""Recordings made block by block, and the ways in which one can be damaged."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.container import (
    PREAMBLE_SIZE,
    SALT_SIZE,
    BlockBuilder,
    Chain,
    ContentKey,
    FreshKey,
    Held,
    Points,
    SealState,
    Unsealed,
    closing,
    keyframes_at,
    keys_block,
    preamble,
    sealed,
)
from interlock.domain.coverage import Covered, Level
from interlock.domain.recording import Coverage, FrameKind, Header, resize_payload, to_payload
from interlock.domain.session import Exit, Window
from interlock.domain.signing import DaemonRole, SigningKey, WarrantedKey, issue_warrant
from interlock.testing.entropy import FakeEntropy

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
NODE = DaemonId("31486a8f-ed19-45e7-9610-ddb916493e52")
AUTH = DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166")
SALT = b"saltsalt"
SECOND = 1_000_000  # in microseconds
START = datetime(2026, 1, 10, 22, 23, 57, tzinfo=UTC)
HEADER = Header(
    sid=SID,
    user="jeff",
    login="root",
    hostname="web1",
    target_id=NODE,
    sub_kind="interlock",
    recorded_by=NODE,
    mode="node",
    kind="shell",
    command="",
    start=START.isoformat(),
    cluster="demo",
    interactive=True,
    cols=80,
    rows=24,
    event={"user": "jeff", "user_roles": ["access"]},
)
CONTENT = FreshKey(b"k" * 32, b"an age file")
AUTHORITY, STRANGER = (SigningKey.from_seed(bytes([number]) * 32) for number in (1, 2))


def signer(
    daemon: DaemonId = NODE,
    role: DaemonRole = DaemonRole.NODE,
    *,
    authority: SigningKey = AUTHORITY,
    cluster: str = "demo",
    until: datetime = START + timedelta(days=30),
) -> WarrantedKey:
    """A daemon's key under a warrant."""
    key = SigningKey.from_seed(daemon.encode()[:32])
    warrant = issue_warrant(
        authority,
        cluster=cluster,
        daemon=daemon,
        role=role,
        public=key.public,
        valid_from=START - timedelta(days=1),
        valid_until=until,
    )
    return WarrantedKey(key, warrant)


@dataclass(frozen=True, slots=True)
class Made:
    """A recording and where its blocks begin."""

    blocks: tuple[bytes, ...]  # the preamble is the first of them

    @property
    def data(self) -> bytes:
        """The whole file."""
        return b"".join(self.blocks)

    def offset(self, number: int) -> int:
        """Where the block with this number begins, counted from 0 behind the preamble."""
        return sum(map(len, self.blocks[: number + 1]))


def made(
    outputs: Sequence[bytes] = (b"$ ", b"uptime\r\n", b"up 9 days\r\n"),
    *,
    by: WarrantedKey | None = None,
    header: Header = HEADER,
    closed_by: WarrantedKey | None = None,
    state: SealState = SealState.CLOSED,
    salt: bytes = SALT,
    content: FreshKey | None = None,
) -> Made:
    """Header, a block for each output with a checkpoint behind the first, a resize, the end and its seal.

    ``content``: with which the contents are encrypted.
    ``by``: who signs; ``closed_by``: who signs the end, if that is somebody else.
    """
    chain = Chain.begin(salt, None if content is None else ContentKey(content.key))
    builder, blocks, at = BlockBuilder(salt, chain=chain), [preamble(salt)], 0
    if content is not None:
        blocks.append(keys_block(salt, Held.AGE, content.wrapped))

    def put(kind: FrameKind, payload: bytes) -> None:
        builder.add(kind, at, payload)
        blocks.append(builder.take())

    put(FrameKind.HEADER, to_payload(header))
    for number, output in enumerate(outputs):
        at += 1_000_000
        put(FrameKind.STDOUT, output)
        if not number and by is not None:
            blocks.append(sealed(chain, SID, SealState.CHECKPOINT, by, at=at))
    put(FrameKind.RESIZE, resize_payload(Window(132, 43)))
    put(FrameKind.COVERAGE, to_payload(Coverage((Covered("session", Level.FULL),), final=True)))
    put(FrameKind.EXIT, to_payload(Exit(status=0)))
    blocks.append(sealed(chain, SID, state, closed_by or by, at=at))
    return Made(tuple(blocks))


Damage = Callable[[Made, int, int], tuple[bytes, int]]
"""From a recording and two numbers to a damaged one, and the offset that a verifier has to name."""


def flipped(recording: Made, one: int, other: int) -> tuple[bytes, int]:
    """One bit is another."""
    where = one % len(recording.data)
    data = bytearray(recording.data)
    data[where] ^= 1 << other % 8
    if where < PREAMBLE_SIZE:  # a wrong salt is noticed by the first checksum
        return bytes(data), PREAMBLE_SIZE if where >= PREAMBLE_SIZE - SALT_SIZE else 0
    return bytes(data), max(
        each for each in map(recording.offset, range(len(recording.blocks) - 1)) if each <= where
    )


def cut(recording: Made, one: int, other: int) -> tuple[bytes, int]:
    """The end is missing, from anywhere on."""
    del other
    size = one % len(recording.data)
    starts = [recording.offset(each) for each in range(len(recording.blocks) - 1)]
    return recording.data[:size], max((each for each in starts if each <= size), default=size)


def dropped(recording: Made, one: int, other: int) -> tuple[bytes, int]:
    """A block is missing, or several one after the other."""
    first = one % (len(recording.blocks) - 1)
    count = other % (len(recording.blocks) - 1 - first) + 1
    blocks = recording.blocks[: first + 1] + recording.blocks[first + 1 + count :]
    return b"".join(blocks), recording.offset(first)


def swapped(recording: Made, one: int, other: int) -> tuple[bytes, int]:
    """Two blocks have changed places."""
    blocks, last = list(recording.blocks), len(recording.blocks) - 2
    first, second = sorted({one % last, one % last + 1 + other % (last - one % last)})
    blocks[first + 1], blocks[second + 1] = blocks[second + 1], blocks[first + 1]
    return b"".join(blocks), recording.offset(first)


def replayed(recording: Made, one: int, other: int) -> tuple[bytes, int]:
    """A block comes a second time, somewhere behind its place."""
    blocks = list(recording.blocks)
    again = one % (len(blocks) - 1)
    where = again + 1 + other % (len(blocks) - 1 - again)
    blocks.insert(where + 1, blocks[again + 1])
    return b"".join(blocks), recording.offset(where)


DAMAGES: dict[str, Damage] = {
    "flipped": flipped,
    "cut": cut,
    "dropped": dropped,
    "swapped": swapped,
    "replayed": replayed,
}
"""All of them by name."""


def long_recording(
    seconds: int,
    *,
    noise: int = 20_000,
    interactive: bool = True,
    content: FreshKey | None = None,
    header: Header = HEADER,
) -> bytes:
    """Each second a line that says which, behind so much that does not compress; closed as the uploads do it."""
    key = None if content is None else ContentKey(content.key)
    chain, points = Chain.begin(SALT, key), Points()
    builder, out = BlockBuilder(SALT, chain=chain), [preamble(SALT)]
    if content is not None:
        out.append(keys_block(SALT, Held.AGE, content.wrapped))
    header = replace(header, interactive=interactive)

    def put(kind: FrameKind, at: int, payload: bytes) -> None:
        points.block(chain.offset, at)
        builder.add(kind, at, payload)
        out.append(builder.take())

    put(FrameKind.HEADER, 0, to_payload(header))
    put(FrameKind.STDOUT, 0, b"\x1b[?1049h\x1b[3;10r\x1b[31m")
    put(FrameKind.RESIZE, SECOND // 2, resize_payload(Window(60, 12)))
    for second in range(1, seconds):
        junk = FakeEntropy(second).token(noise).hex().encode()
        put(FrameKind.STDOUT, second * SECOND, junk + b"\x1b[2J\x1b[Hsecond %d\r\n" % second)
    put(FrameKind.EXIT, seconds * SECOND, to_payload(Exit(status=0)))
    data = b"".join(out)
    keyframes = keyframes_at(lambda offset, size: data[offset : offset + size], header, points.found, key)
    file = Unsealed(chain, header, seconds * SECOND, points.found)
    return data + closing(file, SID, SealState.CLOSED, signer(), keyframes, kept=len(data))

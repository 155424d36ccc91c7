"""The recording file: what is written is read back, whatever the pieces and the damage."""

import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import RecordingError
from interlock.domain.container import (
    JOINED_US,
    MAX_BLOCK,
    SYNC,
    BlockBuilder,
    Decoder,
    decode,
    preamble,
)
from interlock.domain.recording import (
    Frame,
    FrameKind,
    Header,
    Marker,
    Output,
    Stream,
    resize_payload,
    to_payload,
)
from interlock.domain.session import Exit, Window

SALT = b"saltsalt"
HEADER = Header(
    sid="d46d710b-24b9-4f86-af68-d7755636b94b",
    user="jeff",
    login="root",
    hostname="web1",
    target_id="23bc35d7-10f5-421f-9ef4-890af45e3166",
    sub_kind="interlock",
    recorded_by="31486a8f-ed19-45e7-9610-ddb916493e52",
    mode="node",
    kind="shell",
    command="",
    start="2026-01-10T22:23:57.642Z",
    cluster="demo",
    interactive=True,
    cols=80,
    rows=24,
    event={"user": "jeff", "user_roles": ["access"], "server_labels": {"env": "dev"}, "user_kind": 1},
)


def blocks_of(frames: list[tuple[int, int, bytes]], *, per_block: int = 3) -> list[bytes]:
    """The frames as blocks of a few each."""
    builder = BlockBuilder(SALT)
    blocks = []
    for start in range(0, len(frames), per_block):
        for kind, at, payload in frames[start : start + per_block]:
            builder.add(kind, at, payload)
        blocks.append(builder.take())
    return blocks


def recording(frames: list[tuple[int, int, bytes]], *, per_block: int = 3) -> bytes:
    """A whole file."""
    return preamble(SALT) + b"".join(blocks_of(frames, per_block=per_block))


SESSION: list[tuple[int, int, bytes]] = [
    (FrameKind.HEADER, 0, to_payload(HEADER)),
    (FrameKind.STDOUT, 1_000, b"hello"),
    (FrameKind.STDERR, 300_000_000_000, b"\xff\xfe"),
    (FrameKind.RESIZE, 300_000_000_000, resize_payload(Window(132, 43))),
    (FrameKind.MARKER, 300_000_000_001, to_payload(Marker("truncated", "limit", stdout=7))),
    (FrameKind.EXIT, 300_000_000_002, to_payload(Exit(status=3))),
]
FRAMES = [
    Frame(0, HEADER),
    Frame(1_000, Output(Stream.STDOUT, b"hello")),
    Frame(300_000_000_000, Output(Stream.STDERR, b"\xff\xfe")),
    Frame(300_000_000_000, Window(132, 43)),
    Frame(300_000_000_001, Marker("truncated", "limit", stdout=7)),
    Frame(300_000_000_002, Exit(status=3)),
]


def test_every_kind_of_frame_survives_the_round_trip() -> None:
    """Header, output of both streams, resize, marker and exit come back as they were, with their times."""
    assert list(decode([recording(SESSION)])) == FRAMES


@given(st.lists(st.integers(min_value=0, max_value=400), max_size=12))
def test_the_pieces_in_which_a_file_arrives_do_not_matter(cuts: list[int]) -> None:
    """A reader fed any pieces yields the same frames as one fed the whole."""
    data = recording(SESSION)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    assert list(decode(pieces)) == FRAMES


@given(
    st.lists(
        st.tuples(st.sampled_from([2, 3]), st.integers(JOINED_US, 10**6), st.binary(max_size=300)),
        min_size=1,
        max_size=20,
    ),
    st.integers(1, 7),
)
def test_any_output_survives_the_round_trip(steps: list[tuple[int, int, bytes]], per_block: int) -> None:
    """Bytes, streams and times of output are kept exactly, whichever blocks they fall into."""
    at, frames = 0, []
    for kind, delta, data in steps:
        at += delta
        frames.append((kind, at, data))
    read = list(decode([recording(frames, per_block=per_block)]))
    assert read == [Frame(when, Output(Stream(kind), data)) for kind, when, data in frames]


@given(
    st.lists(
        st.tuples(st.sampled_from([2, 3]), st.integers(0, JOINED_US), st.binary(max_size=40)),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 30),
)
def test_output_of_one_millisecond_is_one_frame(steps: list[tuple[int, int, bytes]], per_block: int) -> None:
    """It keeps its order, and each frame has the time of its first byte."""
    at, frames = 0, []
    for kind, delta, data in steps:
        at += delta
        frames.append((kind, at, data))
    read = list(decode([recording(frames, per_block=per_block)]))
    bodies = [(frame.at, frame.body) for frame in read if isinstance(frame.body, Output)]
    shown = [(body.stream, byte) for _, body in bodies for byte in body.data]
    assert shown == [(kind, byte) for kind, _, data in frames for byte in data]
    begun: list[tuple[int, int]] = []  # with when
    for start in range(0, len(frames), per_block):
        block: list[tuple[int, int]] = []
        for kind, when, _ in frames[start : start + per_block]:
            if not block or block[-1][0] != kind or when - block[-1][1] >= JOINED_US:
                block.append((kind, when))
        begun += block
    assert [(body.stream, at) for at, body in bodies] == begun


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 200_000])
def test_joined_output_of_any_size_has_the_length_that_a_reader_expects(size: int) -> None:
    """Its length is written when the next frame begins or the block ends, as short as any other's."""
    builder = BlockBuilder(SALT)
    builder.add(FrameKind.STDOUT, 5, bytes(size // 2))
    builder.add(FrameKind.STDOUT, 6, bytes(size - size // 2))
    builder.add(FrameKind.RESIZE, 7, resize_payload(Window(132, 43)))
    builder.add(FrameKind.STDERR, 8, b"err")
    written = len(builder)
    file = preamble(SALT) + builder.take()
    assert builder.sizes == {FrameKind.STDOUT: size, FrameKind.RESIZE: 8, FrameKind.STDERR: 3}
    builder.add(FrameKind.STDOUT, 9, b"in a block of its own")
    assert list(decode([file, builder.take()])) == [
        Frame(5, Output(Stream.STDOUT, bytes(size))),
        Frame(7, Window(132, 43)),
        Frame(8, Output(Stream.STDERR, b"err")),
        Frame(9, Output(Stream.STDOUT, b"in a block of its own")),
    ]
    assert builder.sizes == {FrameKind.STDOUT: 21}
    assert written < size + 8 + 3 + 3 * 5


@given(st.integers(min_value=16, max_value=10_000))
def test_a_file_cut_off_anywhere_keeps_every_whole_block(cut: int) -> None:
    """After a crash all complete blocks are read, and what is lost is counted."""
    blocks = blocks_of(SESSION, per_block=2)
    data = preamble(SALT) + b"".join(blocks)
    data = data[: min(cut, len(data))]
    whole, end = 0, len(preamble(SALT))
    for block in blocks:
        if end + len(block) > len(data):
            break
        whole, end = whole + 2, end + len(block)
    decoder = Decoder()
    frames = [*decoder.feed(data), *decoder.close()]
    assert frames == FRAMES[:whole]
    assert (decoder.good, decoder.lost) == (end, len(data) - end)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_one_wrong_byte_costs_one_block_at_most(where: int, flip: int) -> None:
    """A damaged block is skipped; those before and after it are read."""
    blocks = blocks_of(SESSION, per_block=2)
    body = bytearray(b"".join(blocks))
    where %= len(body)
    body[where] ^= flip
    index = 0
    while where >= len(blocks[index]):
        where -= len(blocks[index])
        index += 1
    expected = FRAMES[: 2 * index] + FRAMES[2 * index + 2 :]
    decoder = Decoder()
    assert [*decoder.feed(preamble(SALT) + bytes(body)), *decoder.close()] == expected
    assert decoder.lost == len(blocks[index])


def test_a_block_that_a_user_printed_is_not_taken_for_one_of_ours() -> None:
    """Output that looks like a block does not become frames when the block around it is damaged."""
    forger = BlockBuilder(b"guessed!")
    forger.add(FrameKind.EXIT, 5, to_payload(Exit(status=0)))
    forged = forger.take()
    builder = BlockBuilder(SALT)
    builder.add(FrameKind.STDOUT, 1, os.urandom(2000) + forged + os.urandom(2000))
    block = builder.take()
    assert forged in block, "incompressible output is stored as it is"
    decoder = Decoder()
    frames = [*decoder.feed(preamble(SALT) + block[:-1]), *decoder.close()]
    assert frames == []


def test_a_block_that_unpacks_to_too_much_is_not_unpacked() -> None:
    """A forged block cannot make a reader hold more than MAX_BLOCK."""
    builder = BlockBuilder(SALT)
    builder.add(FrameKind.STDOUT, 1, bytes(MAX_BLOCK + 1))
    assert list(decode([preamble(SALT) + builder.take()])) == []


def test_a_length_beyond_all_bounds_does_not_make_the_reader_wait() -> None:
    """A block head that announces gigabytes is damage, and the next block is read at once."""
    huge = SYNC + bytes(4) + b"\xff\xff\xff\xff" + bytes(12)
    decoder = Decoder()
    frames = list(decoder.feed(preamble(SALT) + huge + blocks_of(SESSION, per_block=6)[0]))
    assert frames == FRAMES


@pytest.mark.parametrize("data", [b"", b"\x89ILR", b"#!/bin/sh\nexit 0\necho no recording"])
def test_what_is_no_recording_is_refused(data: bytes) -> None:
    """Files without the magic bytes are refused, not skipped through."""
    with pytest.raises(RecordingError, match="not a recording"):
        list(decode([data]))


def test_a_later_format_is_refused_by_name() -> None:
    """A reader says that it does not know a version instead of finding damage."""
    data = bytearray(recording(SESSION))
    data[7] = 3
    with pytest.raises(RecordingError, match="format 3"):
        list(decode([bytes(data)]))


@given(st.binary(max_size=400))
def test_no_file_makes_the_reader_fail_in_another_way(junk: bytes) -> None:
    """Arbitrary bytes behind a preamble yield frames or nothing, never an exception."""
    list(decode([preamble(SALT) + junk]))


def test_frames_of_a_kind_to_come_are_skipped() -> None:
    """A newer writer may add kinds without a new version: the rest of the block is read."""
    builder = BlockBuilder(SALT)
    builder.add(FrameKind.STDOUT, 0, b"before")
    builder.add(200, 5, b"from the future")
    builder.add(FrameKind.STDOUT, 7, b"after")
    read = list(decode([preamble(SALT) + builder.take()]))
    assert read == [Frame(0, Output(Stream.STDOUT, b"before")), Frame(7, Output(Stream.STDOUT, b"after"))]

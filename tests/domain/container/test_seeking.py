"""Seeking: the screen at any moment is what it was, and what is read does not grow with what came before."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.core.errors import RecordingError
from interlock.domain.container import (
    BlockBuilder,
    Chain,
    Keyframe,
    Point,
    Points,
    SealState,
    Standing,
    Unsealed,
    closing,
    frames_from,
    keyframes_at,
    new_compressor,
    preamble,
    rebased,
    verify,
)
from interlock.domain.container.blocks import MAX_BLOCK
from interlock.domain.container.index import MAX_KEYFRAMES, MAX_POINTS, STEP, STEP_US, WINDOW
from interlock.domain.container.seeking import PIECE
from interlock.domain.recording import Frame, FrameKind, Header, Output, Stream, resize_payload, to_payload
from interlock.domain.screen import Screen
from interlock.domain.session import Exit, Window
from interlock.testing.entropy import FakeEntropy
from interlock.testing.recordings import AUTHORITY, HEADER, SALT, SID, made, signer

SECOND = 1_000_000


class File:
    """Bytes that count how many of them are read."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.read_bytes = 0

    def read(self, offset: int, size: int) -> bytes:
        """`seeking.ReadAt`."""
        self.read_bytes += len(self.data[offset : offset + size])
        return self.data[offset : offset + size]

    def frames(self, at: int) -> list[Frame]:
        """From a moment on."""
        return list(frames_from(self.read, len(self.data), at))


def long_recording(seconds: int, *, noise: int = 20_000, interactive: bool = True) -> bytes:
    """Each second a line that says which, behind so much that does not compress; closed as the uploads do it."""
    chain, points = Chain.begin(SALT), Points()
    builder, out = BlockBuilder(SALT, chain=chain), [preamble(SALT)]
    header = replace(HEADER, interactive=interactive)

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
    keyframes = keyframes_at(lambda offset, size: data[offset : offset + size], header, points.found)
    file = Unsealed(chain, header, seconds * SECOND, points.found)
    return data + closing(file, SID, SealState.CLOSED, signer(), keyframes, kept=len(data))


LONG = long_recording(60)


def screen(frames: list[Frame], until: int) -> list[str]:
    """What a person sees then."""
    shown = Screen(HEADER.cols, HEADER.rows)
    for frame in frames:
        if frame.at > until:
            break
        match frame.body:
            case Output(Stream.STDOUT, data):
                shown.feed(data)
            case Window(cols, rows):
                shown.resize(cols, rows)
            case _:
                pass
    assert shown.size == (60, 12)
    return shown.lines


@pytest.mark.parametrize("second", [1, 30, 31, 59])
def test_the_screen_is_the_same_as_if_all_had_been_played(second: int) -> None:
    """Wherever somebody begins: what it shows, and on which page."""
    file = File(LONG)
    frames = file.frames(second * SECOND)
    assert isinstance(frames[0].body, Header)
    assert all(frame.at >= second * SECOND for frame in frames[1:])
    assert screen(frames[1:], second * SECOND) == screen(File(LONG).frames(0)[1:], second * SECOND)
    assert screen(frames[1:], second * SECOND)[0] == f"second {second}"
    assert frames[-1].body == Exit(status=0)


def test_what_is_read_does_not_grow_with_what_came_before() -> None:
    """The beginning, the end, the index, one keyframe, and the blocks from there on."""
    longer = long_recording(120)
    last = 5 * SECOND  # from the end
    read = []
    for data, seconds in ((LONG, 60), (longer, 120)):
        file = File(data)
        file.frames(seconds * SECOND - last)
        read.append(file.read_bytes)
    spacing = STEP + STEP_US // SECOND * 50_000
    assert all(each < spacing + 4 * PIECE for each in read)
    assert len(longer) > 2 * max(read)


def test_a_file_with_an_index_verifies() -> None:
    """Keyframes and index are signed like everything else."""
    found = verify([LONG], [AUTHORITY.public], sid=SID)
    assert (found.standing, found.problem, found.vouched) == (Standing.SIGNED, None, len(LONG))


def test_a_recording_without_a_terminal_has_an_index_and_no_keyframes() -> None:
    """There is no screen to show; frames begin at the nearest point."""
    file = File(long_recording(50, interactive=False))
    frames = file.frames(45 * SECOND)
    assert file.read_bytes < len(file.data) * 2 // 3
    assert not any(isinstance(frame.body, Output) and b"\x1b[?7h" in frame.body.data for frame in frames)


@given(st.integers(0, 10 * SECOND))
def test_a_short_recording_is_read_from_its_beginning(at: int) -> None:
    """It has no index and needs none; nothing of it is lost."""
    frames = File(made(by=signer()).data).frames(at)
    output = [frame.body.data for frame in frames if isinstance(frame.body, Output)]
    assert b"".join(output) == b"$ uptime\r\nup 9 days\r\n"
    assert all(frame.at >= at for frame in frames[1:])


def test_a_part_of_a_recording_as_one_of_its_own() -> None:
    """Its times begin at nothing, and its header says when that was."""
    frames = list(rebased(iter(File(LONG).frames(40 * SECOND)), 40 * SECOND))
    assert isinstance(frames[0].body, Header)
    assert frames[0].body.start == "2026-01-10T22:24:37+00:00"
    assert (frames[1].at, frames[-1].at) == (0, 20 * SECOND)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(1, STEP), st.integers(0, STEP_US)), max_size=200))
def test_points_are_neither_too_many_nor_too_near(steps: list[tuple[int, int]]) -> None:
    """Each is a step of bytes and a step of time away from the one before."""
    points, offset, at = Points(), 0, 0
    for size, pause in steps:
        offset, at = offset + size, at + pause
        points.block(offset, at)
    for one, other in zip([Point(0, 0), *points.found], points.found, strict=False):
        assert other.offset - one.offset >= STEP
        assert other.at - one.at >= STEP_US


def test_an_endless_recording_has_a_bounded_index() -> None:
    """Its points lie further apart the longer it gets."""
    points = Points()
    for number in range(4 * MAX_POINTS):
        points.block(number * STEP, number * STEP_US)
    assert MAX_POINTS // 4 < len(points.found) < MAX_POINTS
    assert points.found[-1].offset > 3 * MAX_POINTS * STEP


@pytest.mark.parametrize("damage", [b"ILRB", b"\0"])
def test_a_damaged_index_is_an_error_in_words(damage: bytes) -> None:
    """Or nothing at all: never another exception."""
    data = bytearray(LONG)
    start = data.rfind(b"ILRB", 0, data.rfind(b"ILRB"))
    data[start : start + len(damage)] = damage[::-1]
    with pytest.raises(RecordingError, match="damaged"):
        File(bytes(data)).frames(60 * SECOND)
    with pytest.raises(RecordingError, match="not a recording"):
        File(b"junk" * 30).frames(0)
    assert WINDOW > STEP


def test_a_very_long_recording_has_a_bounded_number_of_keyframes() -> None:
    """Painting them is work for a thread, and must end some time."""
    points = [Point(16, each * STEP_US) for each in range(4 * MAX_KEYFRAMES - 1)]
    data = made().data
    keyframes = keyframes_at(lambda offset, size: data[offset : offset + size], HEADER, points)
    assert len(keyframes) == MAX_KEYFRAMES
    assert [each.point.at for each in keyframes[:3]] == [0, 4 * STEP_US, 8 * STEP_US]


def test_screens_that_do_not_compress_take_no_more_memory_than_is_allowed() -> None:
    """Of a few fewer are kept, from the whole length; whoever begins in between has more to pass over."""
    kept = {}
    for limit in (1 << 30, 8192):
        chain, points = Chain.begin(SALT), []
        builder, out = BlockBuilder(SALT, chain=chain), [preamble(SALT)]
        builder.add(FrameKind.HEADER, 0, to_payload(HEADER))
        out.append(builder.take())
        for second in range(20):
            points.append(Point(chain.offset, second * SECOND))
            builder.add(FrameKind.STDOUT, second * SECOND, FakeEntropy(second).token(2000).hex().encode())
            out.append(builder.take())
        found = keyframes_at(File(b"".join(out)).read, HEADER, points, limit=limit)
        kept[limit] = [each.point.at // SECOND for each in found]
        size = sum(len(each.packed) for each in found)
        assert size <= limit
    assert kept[1 << 30] == list(range(20))
    assert 2 < len(kept[8192]) < 20
    assert kept[8192][0] < 5
    assert kept[8192][-1] > 15


def test_a_screen_that_no_reader_would_unpack_is_none() -> None:
    """Nor is it kept in memory until the recording is closed."""
    window = Window(80, 24)
    found = Keyframe.of(Point(16, 0), window, b"a" * (MAX_BLOCK - 8), new_compressor())
    assert found is not None
    assert len(found.packed) < MAX_BLOCK // 100
    assert Keyframe.of(Point(16, 0), window, b"a" * (MAX_BLOCK - 7), new_compressor()) is None

"""Seeking: the screen at any moment is what it was, and what is read does not grow with what came before."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.core.errors import RecordingError
from interlock.domain.container import (
    BlockBuilder,
    Chain,
    Decoder,
    FreshKey,
    Keyframe,
    Point,
    Points,
    Standing,
    answered,
    frames_from,
    keyframes_at,
    needed,
    new_compressor,
    place_of,
    preamble,
    rebased,
    verify,
)
from interlock.domain.container.blocks import MAX_BLOCK
from interlock.domain.container.index import MAX_KEYFRAMES, MAX_POINTS, STEP, STEP_US, WINDOW, read_index
from interlock.domain.container.seeking import PIECE
from interlock.domain.recording import Frame, FrameKind, Header, Output, Stream, to_payload
from interlock.domain.screen import Screen
from interlock.domain.session import Exit, Window
from interlock.testing.entropy import FakeEntropy
from interlock.testing.recordings import (
    AUTHORITY,
    CONTENT,
    HEADER,
    SALT,
    SECOND,
    SID,
    long_recording,
    made,
    signer,
)


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


@settings(max_examples=settings().max_examples * 3 // 10)
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


@pytest.mark.parametrize("content", [None, CONTENT])
@pytest.mark.parametrize("at", [1, 5 * SECOND, 33 * SECOND, 70 * SECOND])
def test_what_is_needed_is_what_is_read(content: FreshKey | None, at: int) -> None:
    """Whoever fetches it from elsewhere can play it, and fetches little more than what comes behind the moment."""
    data = long_recording(60, content=content)
    seen: list[tuple[int, int]] = []

    def look(offset: int, size: int) -> bytes:
        seen.append((offset, len(data[offset : offset + size])))
        return data[offset : offset + size]

    place = answered(place_of(len(data), at, Decoder(blind=True)), look)
    places = needed(seen, place, len(data))
    assert place.header == HEADER
    assert data.startswith(place.front)
    assert all(one[0] + one[1] < other[0] for one, other in pairwise(places))
    rest = len(data) * max(0, 60 * SECOND - at) // (60 * SECOND)
    assert sum(size for _, size in places) < rest + STEP + STEP_US // SECOND * 25_000 + 2 * PIECE

    def read(offset: int, size: int) -> bytes:
        found = data[offset : offset + size]
        assert not found or any(first <= offset and offset + len(found) <= first + all_ for first, all_ in places)
        return found

    unlock = None if content is None else lambda _wrapped: CONTENT.key
    file = File(data)
    assert list(frames_from(read, len(data), at, unlock)) == list(frames_from(file.read, len(data), at, unlock))


def test_a_block_that_claims_to_be_huge_is_not_read() -> None:
    """Nor an index of more points than there can be: whoever looks for a place is not made to hold a file."""
    index = LONG.rfind(b"ILRB", 0, LONG.rfind(b"ILRB"))
    data = bytearray(LONG)
    data[index + 14 : index + 18] = b"\xff" * 4
    asked = []

    def read(offset: int, size: int) -> bytes:
        asked.append(size)
        return bytes(data[offset : offset + size])

    with pytest.raises(RecordingError, match="damaged"):
        answered(place_of(len(data), 30 * SECOND, Decoder(blind=True)), read)
    assert max(asked) <= PIECE
    with pytest.raises(RecordingError, match="damaged"):
        list(read_index(new_compressor().compress(bytes(24 * (MAX_POINTS + 1)))))

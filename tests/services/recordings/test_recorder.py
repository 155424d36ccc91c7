"""The recorder: what is kept, when it reaches the disk, and what happens when the disk refuses."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import RecordingError
from interlock.domain.casting import FORMATS
from interlock.domain.container import (
    BLOCK_SIZE,
    decode,
)
from interlock.domain.coverage import Level
from interlock.domain.recording import Frame, Header, Marker, Output, Stream
from interlock.domain.session import Exit, Window
from interlock.services.recordings.recorder import FLUSH_AFTER_S, MAX_FRAME, RETRY_AFTER_S
from interlock.testing.recorder import EXEC, SHELL, Desk, Part


def test_the_header_is_on_disk_before_the_session_starts() -> None:
    """Opening writes the header block, so a full disk is found in time."""
    desk = Desk(Part())
    assert list(decode([desk.part.data])) == [Frame(0, SHELL)]
    assert desk.timers.pending == []


def test_a_full_disk_refuses_the_session_before_it_starts() -> None:
    """The person learns why; nothing is left behind."""
    part = Part(room=10)
    with pytest.raises(RecordingError, match="cannot be recorded: No space left on device"):
        Desk(part)
    assert part.removed


def test_output_is_written_a_tenth_of_a_second_after_its_first_byte() -> None:
    """One timer is armed per block, and none while nothing waits."""
    desk = Desk(Part())
    desk.recorder.output(Stream.STDOUT, b"a")
    desk.clock.advance(0.0625)
    desk.recorder.output(Stream.STDERR, b"b")
    assert [timer.delay for timer in desk.timers.pending] == [FLUSH_AFTER_S]
    assert desk.part.frames() == []
    desk.timers.fire()
    assert desk.part.frames() == [
        Frame(0, Output(Stream.STDOUT, b"a")),
        Frame(62_500, Output(Stream.STDERR, b"b")),
    ]
    assert desk.timers.pending == []


def test_a_full_block_is_written_at_once() -> None:
    """A burst does not wait for the timer."""
    desk = Desk(Part())
    desk.recorder.output(Stream.STDOUT, b"x" * BLOCK_SIZE)
    assert b"".join(f.body.data for f in desk.part.frames() if isinstance(f.body, Output)) == b"x" * BLOCK_SIZE


def test_the_callers_buffer_may_be_overwritten() -> None:
    """The bytes are copied before output returns."""
    desk = Desk(Part())
    buffer = bytearray(b"secret")
    desk.recorder.output(Stream.STDOUT, memoryview(buffer)[:3])
    buffer[:] = b"xxxxxx"
    desk.recorder.finish(Exit(status=0))
    assert desk.part.frames()[0].body == Output(Stream.STDOUT, b"sec")


def test_a_large_packet_becomes_several_blocks() -> None:
    """No frame is longer than a block may be."""
    desk = Desk(Part())
    desk.recorder.output(Stream.STDOUT, bytes(range(256)) * 1024)
    desk.recorder.finish(Exit(status=0))
    pieces = [frame.body.data for frame in desk.part.frames() if isinstance(frame.body, Output)]
    assert b"".join(pieces) == bytes(range(256)) * 1024
    assert max(map(len, pieces)) <= BLOCK_SIZE + MAX_FRAME


def test_resizes_and_the_exit_are_recorded() -> None:
    """Both come with their time; the file is closed and no timer is left."""
    desk = Desk(Part())
    desk.clock.advance(1)
    desk.recorder.resize(Window(132, 43))
    desk.clock.advance(1)
    desk.recorder.finish(Exit(signal="TERM"))
    assert desk.part.frames() == [Frame(1_000_000, Window(132, 43)), Frame(2_000_000, Exit(signal="TERM"))]
    assert desk.part.closed
    assert desk.timers.pending == []
    assert not desk.recorder.failed


def test_finish_counts_once_and_ends_everything() -> None:
    """Later calls change nothing."""
    desk = Desk(Part())
    desk.recorder.finish(Exit(status=0))
    desk.recorder.output(Stream.STDOUT, b"late")
    desk.recorder.resize(Window(1, 1))
    desk.recorder.finish(Exit(status=1))
    assert desk.part.frames() == [Frame(0, Exit(status=0))]
    assert desk.timers.pending == []


def test_a_session_with_a_terminal_is_kept_whole() -> None:
    """The byte limit is for commands without a terminal."""
    desk = Desk(Part(), SHELL, limit=10)
    desk.recorder.output(Stream.STDOUT, b"x" * 100)
    desk.recorder.finish(Exit(status=0))
    assert desk.part.frames()[0].body == Output(Stream.STDOUT, b"x" * 100)


def test_what_is_over_the_limit_is_counted() -> None:
    """Output of a command is kept up to the byte; the rest is counted per stream, in a marker."""
    desk = Desk(Part(), EXEC, limit=10)
    desk.recorder.output(Stream.STDOUT, b"123456")
    desk.recorder.output(Stream.STDERR, memoryview(b"abcdef"))
    desk.recorder.output(Stream.STDOUT, b"789")
    desk.recorder.finish(Exit(status=0))
    bodies = [frame.body for frame in desk.part.frames()]
    assert bodies[:2] == [Output(Stream.STDOUT, b"123456"), Output(Stream.STDERR, b"abcd")]
    assert isinstance(bodies[2], Marker)
    assert (bodies[2].what, bodies[2].stdout, bodies[2].stderr) == ("truncated", 3, 2)
    assert bodies[3:] == [Exit(status=0)]


@pytest.mark.parametrize("by_timer", [True, False])
def test_a_disk_that_fails_is_reported_once(by_timer: bool) -> None:
    """The owner is told once, the file is closed, and later output is ignored."""
    desk = Desk(Part(room=400))
    desk.part.room = 20
    desk.recorder.output(Stream.STDOUT, b"x" * (10 if by_timer else BLOCK_SIZE))
    desk.timers.fire()
    desk.recorder.output(Stream.STDOUT, b"more" * BLOCK_SIZE)
    desk.recorder.finish(Exit(status=0))
    assert [error.public for error in desk.failures] == ["the session cannot be recorded: No space left on device"]
    assert desk.part.closed
    assert desk.recorder.failed
    assert desk.timers.pending == []


def test_the_owner_may_end_the_session_from_within_the_failure() -> None:
    """Finishing inside the callback neither recurses nor writes."""
    desk = Desk(Part())
    desk.part.room = 0
    desk.recorder._on_failure = lambda _error: desk.recorder.finish(Exit(status=0))
    desk.recorder.output(Stream.STDOUT, b"x" * BLOCK_SIZE)
    assert desk.part.closed
    assert desk.part.frames() == []


def test_what_is_kept_is_what_is_said_to_be_kept() -> None:
    """In full, up to a limit, or, where a role lets nothing be kept, that it happened (R10)."""
    for header, limit, level in (
        (SHELL, 0, Level.FULL),
        (EXEC, 10, Level.FULL),
        (EXEC, 9, Level.PARTIAL),
        (EXEC, 0, Level.METADATA),
    ):
        desk = Desk(Part(), header, limit=limit)
        desk.recorder.output(Stream.STDOUT, b"0123456789")
        desk.recorder.finish(Exit(status=0))
        assert desk.level()[0] is level
        assert ("the limit for the output of commands" in desk.level()[1]) is (level is not Level.FULL)


@pytest.mark.parametrize("header", [SHELL, EXEC])
@pytest.mark.parametrize("asked", [True, False])
def test_input_is_kept_of_commands_whose_roles_say_so(header: Header, asked: bool) -> None:
    """Never of a terminal, where passwords are typed; the manifest says which it was (R3)."""
    desk = Desk(Part(), header, record_input=asked)
    desk.recorder.output(Stream.STDIN, b"typed")
    desk.recorder.finish(Exit(status=0))
    kept = asked and not header.interactive
    assert desk.kept(Stream.STDIN) == (b"typed" if kept else b"")
    assert desk.level("input")[0] is (Level.FULL if kept else Level.NONE)
    assert ("passwords" in desk.level("input")[1]) is header.interactive


def test_no_amount_of_input_takes_the_output_its_room() -> None:
    """The limits are apart: a client cannot lower what is kept of the output (R2)."""
    desk = Desk(Part(), EXEC, limit=10, record_input=True)
    desk.recorder.output(Stream.STDIN, b"i" * 1000)
    desk.recorder.output(Stream.STDOUT, b"o" * 10)
    desk.recorder.finish(Exit(status=0))
    assert desk.kept(Stream.STDOUT) == b"o" * 10
    assert desk.kept(Stream.STDIN) == b"i" * 10
    assert desk.level()[0] is Level.FULL
    assert desk.level("input") == (
        Level.PARTIAL,
        "990 bytes: the limit for the input of commands without a terminal was reached",
    )
    [marker] = [frame.body for frame in desk.part.frames() if isinstance(frame.body, Marker)]
    assert marker == Marker(
        "truncated", "the limit for the input of commands without a terminal was reached", stdin=990
    )


def test_by_best_effort_the_session_goes_on_and_the_gap_is_marked() -> None:
    """The owner is told of the lapse; the disk is tried every second; what was lost is counted (R10)."""
    desk = Desk(Part(), SHELL, strict=False)
    desk.part.room = 20
    desk.recorder.output(Stream.STDOUT, b"lost")
    desk.timers.fire()
    desk.recorder.output(Stream.STDERR, b"too")
    desk.timers.fire()
    assert [timer.delay for timer in desk.timers.pending] == [RETRY_AFTER_S]
    assert [error.public for error in desk.lapses] == ["the session cannot be recorded: No space left on device"]
    desk.part.room = 1 << 20
    desk.clock.advance(2)
    desk.timers.fire()
    desk.recorder.output(Stream.STDOUT, b"kept")
    desk.recorder.finish(Exit(status=0))
    assert [frame.body for frame in desk.part.frames()] == [
        Marker("gap", "No space left on device", stdout=4, stderr=3),
        Output(Stream.STDOUT, b"kept"),
        Exit(status=0),
    ]
    assert desk.level() == (Level.PARTIAL, "7 bytes: No space left on device")
    assert not desk.failures
    assert not desk.recorder.failed
    assert desk.timers.pending == []


def test_a_disk_that_comes_back_in_time_for_the_end_gets_the_end() -> None:
    """The last attempt is made when the session is over."""
    desk = Desk(Part(), SHELL, strict=False)
    desk.part.room = 0
    desk.recorder.output(Stream.STDOUT, b"lost")
    desk.timers.fire()
    desk.part.room = 1 << 20
    desk.recorder.finish(Exit(status=3))
    assert [frame.body for frame in desk.part.frames()] == [
        Marker("gap", "No space left on device", stdout=4),
        Exit(status=3),
    ]
    assert not desk.recorder.failed


@pytest.mark.parametrize("strict", [True, False])
def test_what_a_failed_recorder_could_not_mark_is_known_to_its_owner(strict: bool) -> None:
    """So that the end is written once the disk takes it."""
    desk = Desk(Part(), SHELL, strict=strict)
    desk.part.room = 0
    desk.recorder.output(Stream.STDOUT, b"lost")
    desk.timers.fire()
    desk.recorder.output(Stream.STDERR, b"more")
    desk.recorder.finish(Exit(status=0))
    assert desk.recorder.failed
    [gap] = desk.recorder.gaps()
    assert (gap.what, gap.stdout, gap.stderr) == ("gap", 4, 4)
    assert desk.level()[0] is Level.PARTIAL
    assert desk.part.closed
    assert desk.timers.pending == []


@pytest.mark.parametrize("strict", [True, False])
def test_a_recording_that_is_not_on_auths_storage_ends_the_session_or_is_noted(strict: bool) -> None:
    """As its roles say; either way the disk here keeps everything until the end."""
    desk = Desk(Part(), SHELL, strict=strict)
    desk.recorder.output(Stream.STDOUT, b"before")
    desk.recorder.not_in_sync(RecordingError("auth is away"))
    desk.recorder.output(Stream.STDOUT, b"after")
    desk.recorder.finish(Exit(status=0))
    told = desk.failures if strict else desk.lapses
    assert [error.public for error in told] == ["auth is away"]
    assert not desk.recorder.failed
    assert desk.kept(Stream.STDOUT) == b"beforeafter"
    assert desk.level() == (Level.FULL, "")
    assert desk.level("sync") == (Level.PARTIAL, "auth is away")


@given(
    st.lists(st.tuples(st.sampled_from(Stream), st.integers(1, 40), st.booleans(), st.booleans()), max_size=20),
    st.integers(0, 200),
)
def test_every_byte_is_kept_or_counted(steps: list[tuple[Stream, int, bool, bool]], limit: int) -> None:
    """Whatever comes, whenever the disk refuses: what is in the file and what its markers say is all there was."""
    desk = Desk(Part(), EXEC, limit=limit, strict=False, record_input=True)
    said: Counter[Stream] = Counter()
    for stream, size, full, fire in steps:
        desk.part.room = 0 if full else 1 << 20
        desk.recorder.output(stream, b"x" * size)
        said[stream] += size
        if fire:
            desk.timers.fire()
    desk.part.room = 1 << 20
    desk.recorder.finish(Exit(status=0))
    markers = [frame.body for frame in desk.part.frames() if isinstance(frame.body, Marker)]
    for stream in Stream:
        counted = sum(getattr(marker, stream.name.lower()) for marker in markers)
        assert len(desk.kept(stream)) + counted == said[stream]


def test_a_silent_recording_says_how_long_it_has_lasted() -> None:
    """For a note beside it, and until it ends; nothing is written to it and no timer is set."""
    desk = Desk(Part())
    size = len(desk.part.data)
    desk.clock.advance(10)
    assert desk.recorder.alive() == 10_000_000
    assert (len(desk.part.data), desk.timers.pending) == (size, [])
    desk.recorder.finish(Exit(status=0))
    assert desk.recorder.alive() is None


def test_silence_is_noted_and_shown_to_nobody() -> None:
    """In what travels, a beat without output leaves an empty frame; one with output needs none."""
    desk = Desk(Part(), travels=True)
    assert desk.recorder.alive() is None
    assert desk.part.frames() == []
    desk.clock.advance(10)
    assert desk.recorder.alive() is None
    desk.recorder.output(Stream.STDOUT, b"a")
    desk.recorder.alive()
    desk.timers.fire()
    assert desk.part.frames() == [
        Frame(10_000_000, Output(Stream.STDOUT, b"")),
        Frame(10_000_000, Output(Stream.STDOUT, b"a")),
    ]
    assert [line for form in FORMATS.values() for line in form(decode([desk.part.data])) if "a" in line]
    assert "".join(FORMATS["text"](decode([desk.part.data]))) == "a"
    assert len(list(FORMATS["asciicast-v2"](decode([desk.part.data])))) == 2

"""A recording from a moment on, written out: the screen's lines, and what followed."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from interlock.domain import casting
from interlock.domain.container import frames_near
from interlock.domain.onwards import LETTERS, MAX_LINE, ONWARDS, events_onwards, text_onwards
from interlock.domain.recording import Body, Frame, Output, Stream
from interlock.domain.session import Exit, Window
from interlock.testing.recordings import HEADER, SECOND, long_recording

AT = 10 * SECOND
SCRIPT = replace(HEADER, interactive=False, cols=0, rows=0)


def out(text: str, stream: Stream = Stream.STDOUT) -> Output:
    """Something that was shown."""
    return Output(stream, text.encode())


def session(*steps: tuple[float, Body], header: Body = HEADER) -> list[Frame]:
    """Frames at seconds."""
    return [Frame(0, header), *(Frame(round(at * SECOND), body) for at, body in steps)]


def text(frames: Sequence[Frame]) -> str:
    """What a person reads from the moment on."""
    return "".join(casting.text(text_onwards(frames, AT)))


def events(frames: Sequence[Frame]) -> list[dict[str, object]]:
    """What a program reads, but for the header."""
    header, *rest = map(json.loads, casting.json_lines(events_onwards(frames, AT)))
    assert header["type"] == "header"
    return rest


def test_text_begins_with_what_was_on_the_screen() -> None:
    """Lines as they stood, not all that was ever written; a command that is being typed goes on in its line."""
    frames = session(
        (1, out("old\r\n\x1b[2J\x1b[Hwelcome\r\n")), (2, out("50%\r100%\r\n$ ")), (11, out("ls\r\na b\r\n"))
    )
    assert text(frames) == "welcome\n100%\n$ ls\na b\n"


def test_text_of_a_full_screen_program_has_its_rows() -> None:
    """Each on a line of its own, wherever the cursor was."""
    frames = session((1, out("\x1b[?1049h\x1b[1;1Htop\x1b[3;2Hbottom\x1b[1;2H")), (12, out("x\r\n")))
    assert text(frames) == "top\n\n bottom\nx\n"


@pytest.mark.parametrize("at", [10, 10.000_001])
def test_what_happens_at_the_moment_follows(at: float) -> None:
    """It is neither lost nor part of the screen."""
    frames = session((1, out("$ ")), (at, out("now")))
    assert text(frames) == "$ now"
    assert [(each["ms"], each["text"]) for each in events(frames)] == [(10_000, "now")]


def test_the_screen_has_the_size_that_it_had_then() -> None:
    """A wider one wraps later."""
    frames = session((1, Window(4, 3)), (2, out("abcdef")), (3, Window(3, 3)), (11, Window(9, 9)))
    assert text(frames) == "abc\nef"
    assert [(each["type"], each.get("cols"), each["ms"]) for each in events(frames)] == [
        ("resize", 3, 10_000), ("resize", 9, 11_000)
    ]  # fmt: skip


def test_a_command_without_a_terminal_has_its_lines_from_the_moment_on() -> None:
    """Whole ones: also the one that was being written; each stream's."""
    frames = session(
        (1, out("one\ntw")), (2, out("err", Stream.STDERR)), (3, out("typed", Stream.STDIN)),
        (11, out("o\nthree\n")), (12, out("or\n", Stream.STDERR)),
        header=SCRIPT,
    )  # fmt: skip
    assert text(frames) == "two\nthree\nerror\n"
    endless = session((1, out("x" * 2 * MAX_LINE)), (11, out("y\n")), header=SCRIPT)
    assert text(endless) == "x" * MAX_LINE + "y\n"


def test_events_are_those_from_the_moment_on() -> None:
    """With the times of the recording, and its end."""
    frames = session((1, out("before")), (11, out("after")), (12, Exit(status=3)))
    assert [(each["type"], each["ms"]) for each in events(frames)] == [("output", 11_000), ("exit", 12_000)]


def test_behind_the_end_there_is_the_last_screen() -> None:
    """And no event."""
    frames = session((1, out("bye\r\n")), (2, Exit(status=0)))
    assert text(frames) == "bye\n"
    assert events(frames) == []


def test_a_recording_without_an_index_costs_bounded_work() -> None:
    """Of what was written long before, only the modes are followed; the screen is right all the same."""
    flood = [(1.0, out("x" * 70_000 + "\r\n"))] * (3 * LETTERS // 70_000)
    frames = session(*flood, (2, out("\x1b[2J\x1b[Hdone\r\n")), (11, out("!")))
    assert text(frames) == "done\n!"


@pytest.mark.parametrize("second", [1, 30, 31, 59])
def test_a_stored_recording_gives_the_screen_of_its_keyframe(second: int) -> None:
    """The same as if all had been followed from the beginning."""
    data = long_recording(60)

    def near(at: int) -> list[Frame]:
        return list(frames_near(lambda offset, size: data[offset : offset + size], len(data), at))

    at = second * SECOND + SECOND // 2
    found, whole = (list(ONWARDS["text"](frames, at)) for frames in (near(at), near(0)))
    assert found == whole
    assert isinstance(found[1].body, Output)
    assert found[1].body.data.startswith(f"second {second}\n".encode())

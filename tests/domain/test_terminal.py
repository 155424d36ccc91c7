"""Output shown to a person draws and does nothing else, in whatever pieces it came (R24)."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.domain.terminal import MAX_LINE, MAX_SEQUENCE, MAX_STRING, TerminalFilter, plain_text, screen
from interlock.testing.escapes import HOSTILE

DRAWING = [
    "\x1b[31m", "\x1b[1;38;5;196m", "\x1b[38:2::255:0:10m", "\x1b[m", "\x1b[H", "\x1b[12;40H", "\x1b[2J", "\x1b[K",
    "\x1b[5A", "\x1b[1;20r", "\x1b[?25l", "\x1b[?1049h", "\x1b7", "\x1b8", "\x1b(0", "\x1b(B", "\x1bM", "\x1b[s",
    "\x1b[u", "\x1b[4P", "\x1b[2L", "\x1b[3@", "\x1b[4h", "\x1b[2 q", "\x1b[!p", "\x1b[?2026h", "\x0e", "\x0f",
    "\r\n", "\t", "\b", "\a", "plain", "Grüße 🦀",
]  # fmt: skip

ALPHABET = st.sampled_from(
    list("\x1b[]P_^X\\k?>=!$ \"'();:0123456789cnmhltqpu\x07\x18\x9b\x9d\x9c\r\n\b\tKDCP@é\u202e")
)
NOISE = st.one_of(st.binary(max_size=60), st.text(ALPHABET, max_size=60).map(lambda text: text.encode()))


def through(terminal: TerminalFilter, *pieces: bytes) -> str:
    """What the filter shows of the pieces."""
    return "".join(terminal.feed(piece) for piece in pieces) + terminal.close()


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_hostile_reaches_a_screen(name: str) -> None:
    """Queries, titles, clipboard, links, printing and input modes vanish; the text around them stays."""
    assert through(screen(), b"before" + HOSTILE[name].encode() + b"after") == "beforeafter"


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_hostile_reaches_plain_text(name: str) -> None:
    """The same holds for text exports."""
    assert through(plain_text(), b"before" + HOSTILE[name].encode() + b"after") == "beforeafter"


@pytest.mark.parametrize("sequence", DRAWING)
def test_drawing_passes_unchanged(sequence: str) -> None:
    """What a full-screen program needs to look right is let through as it is."""
    assert through(screen(), sequence.encode()) == sequence


def test_allowed_modes_survive_among_forbidden_ones() -> None:
    """Of several modes set at once, the harmless ones are set."""
    assert through(screen(), b"\x1b[?1049;1000;25h") == "\x1b[?1049;25h"


def test_a_full_reset_becomes_a_cleared_screen() -> None:
    """ESC c would wipe the person's scrollback, so only the visible screen is reset."""
    assert through(screen(), b"\x1bc") == "\x1b[!p\x1b[2J\x1b[H"


@given(NOISE)
def test_a_screen_never_gets_anything_but_allowed_sequences(noise: bytes) -> None:
    """Whatever the bytes, what comes out consists of text, allowed controls and complete allowed sequences."""
    shown = through(screen(), noise)
    rest = re.sub(r"\x1b(\[\??[0-9;:]*[!\"# ]?[@A-Za-z`]|[78DEHM]|[()][0AB])", "", shown)
    assert not re.search(r"[\x00-\x06\x10-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", rest)
    assert not re.search(r"\x1b\[[?>=<]?[0-9;:]*[cnxtiqy]", shown)
    assert "\x1b]" not in shown


@given(NOISE)
def test_plain_text_has_no_controls(noise: bytes) -> None:
    """Whatever the bytes, a text export has line ends and tabs, and no other control."""
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", through(plain_text(), noise))


@given(NOISE, st.lists(st.integers(0, 60), max_size=6), st.booleans())
def test_the_result_does_not_depend_on_packet_boundaries(noise: bytes, cuts: list[int], plain: bool) -> None:
    """A sequence or character that is cut anywhere is read as if it were whole."""
    make = plain_text if plain else screen
    edges = [0, *sorted(cuts), len(noise)]
    pieces = [noise[a:b] for a, b in pairwise(edges) if b > a]
    assert through(make(), *pieces) == through(make(), noise[: max(edges)])


@pytest.mark.parametrize("opener", ["\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x1bk", "\u009d"])
def test_an_unfinished_string_hides_little(opener: str) -> None:
    """What follows the longest allowed string is shown, so evidence cannot be swallowed."""
    assert through(screen(), opener.encode() + b"x" * MAX_STRING + b"evidence") == "evidence"


def test_an_overlong_sequence_is_dropped_and_ends() -> None:
    """A control sequence that never ends does not hold back what follows."""
    shown = through(screen(), b"\x1b[" + b"1;" * MAX_SEQUENCE + b"mevidence")
    assert shown.endswith("mevidence")
    assert "\x1b" not in shown


def test_an_escape_inside_a_string_begins_a_new_sequence() -> None:
    """Terminals abort a string at an escape, so the filter must not take what follows for its contents."""
    assert through(screen(), b"\x1b]0;title\x1b[31mred") == "\x1b[31mred"
    assert through(screen(), b"\x1b]0;title\x1b]52;c;eA==\x07text") == "text"


@pytest.mark.parametrize(
    ("output", "line"),
    [
        (b"one\r\ntwo\r\n", "one\ntwo\n"),
        (b"$ lss\b \b -l\r\n", "$ ls -l\n"),
        (b"$ abc\b\b\x1b[Kd\r\n", "$ ad\n"),
        (b"$ ac\b\x1b[1@b\r\n", "$ abc\n"),
        (b"$ abc\x1b[2D\x1b[1P\r\n", "$ ac\n"),
        (b"\x1b[1;32mok\x1b[0m\r\n", "ok\n"),
        (b"rm -rf /\rls      \r\n", "rm -rf /\nls      \n"),
        (b"a\r\r\nb", "a\nb"),
        (b"col\tumn\n", "col\tumn\n"),
        (b"\xc3\xbc\xff\n", "ü\N{REPLACEMENT CHARACTER}\n"),
    ],
)
def test_plain_text_reads_like_the_screen(output: bytes, line: str) -> None:
    """Typing corrections are applied; a line overwritten after a return is kept, for it may be evidence."""
    assert through(plain_text(), output) == line


@given(st.integers(1, 3 * MAX_LINE), st.integers(1, 3 * MAX_LINE))
def test_long_lines_are_kept_whole(first: int, cut: int) -> None:
    """A line longer than what is held back loses nothing, wherever it is cut."""
    data = b"x" * first
    assert through(plain_text(), data[:cut], data[cut:]) == "x" * first

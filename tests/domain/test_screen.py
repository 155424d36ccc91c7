"""The screen model shows what a terminal shows, however its output was cut, and paints itself faithfully."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.domain.screen import MAX_COLS, MAX_ROWS, Screen
from interlock.domain.terminal import party_screen

COLS, ROWS = 12, 5

_NUMBER = st.integers(0, 14).map(str)
_SEQUENCE = st.builds(
    lambda params, final: f"\x1b[{';'.join(params)}{final}",
    st.lists(_NUMBER, max_size=3),
    st.sampled_from("@ABCDEFGHIJKLMPSTXZ`abdefgrsu"),
)
_PEN = st.lists(
    st.sampled_from(
        ["0", "", "1", "4", "4:3", "7", "22", "31", "39", "44", "38;5;200", "48;2;1;2;3", "58:5:9", "104"]
    ),
    max_size=3,
).map(lambda params: f"\x1b[{';'.join(params)}m")
_MODE = st.builds(
    lambda number, final: f"\x1b[?{number}{final}",
    st.sampled_from(["1", "5", "6", "7", "25", "47", "1000", "1006", "1047", "1048", "1049", "2004"]),
    st.sampled_from("hl"),
)
_OTHER = st.one_of(
    st.sampled_from("\r\n\b\t\x0e\x0f"),
    st.sampled_from("78DEHMc=>").map(lambda final: f"\x1b{final}"),
    st.sampled_from(["(0", "(B", ")0", "[4h", "[4l", "[20h", "[!p", "[3 q", "]0;t\x07"]).map(
        lambda rest: f"\x1b{rest}"
    ),
)
_TEXT = st.text(st.sampled_from("abcdefgh xyzqlmk中文\u0301\u202eé🙂"), min_size=1, max_size=20)
_PLAIN = st.one_of(_TEXT, _PEN, _SEQUENCE.filter(lambda sequence: not sequence.endswith(("b", "u"))))
OUTPUT = st.lists(st.one_of(_TEXT, _SEQUENCE, _PEN, _MODE, _OTHER), max_size=40).map("".join)


def shown(output: str, cols: int = COLS, rows: int = ROWS) -> Screen:
    """A screen after this output."""
    screen = Screen(cols, rows)
    screen.feed(output.encode())
    return screen


@given(OUTPUT, st.data())
def test_pieces_make_no_difference(output: str, data: st.DataObject) -> None:
    """UTF-8 and sequences that are split across pieces read as if they came at once."""
    raw = output.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    screen = Screen(COLS, ROWS)
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        screen.feed(raw[start:end])
    assert screen.snapshot() == shown(output).snapshot()


@settings(max_examples=4 * settings().max_examples)
@given(OUTPUT)
def test_a_snapshot_shows_the_same(output: str) -> None:
    """A fresh terminal that is sent the snapshot is in the same state, as far as a snapshot can tell."""
    screen = shown(output)
    again = shown(screen.snapshot().decode())
    assert again.lines == screen.lines
    assert again.snapshot() == screen.snapshot()


@given(OUTPUT, st.lists(_PLAIN, max_size=10).map("".join))
def test_what_follows_a_snapshot_shows_the_same(before: str, after: str) -> None:
    """What the program writes next has the same effect behind the snapshot as behind all that came before."""
    screen = shown(before + "\x18")  # CAN: the snapshot is taken between sequences
    joined = shown(screen.snapshot().decode())
    for each in (screen, joined):
        each.feed(after.encode())
    assert joined.lines == screen.lines


@given(OUTPUT, OUTPUT)
def test_a_snapshot_needs_no_fresh_terminal(before: str, output: str) -> None:
    """Whatever state the person's terminal is in, it shows the snapshot."""
    screen = shown(output)
    assert shown(before + "\x18" + screen.snapshot().decode()).lines == screen.lines


@given(OUTPUT)
def test_a_snapshot_passes_the_filter_for_parties(output: str) -> None:
    """Nothing in it is held back from a joined person's terminal, so nothing in it can make one answer (R24)."""
    painted = shown(output).snapshot()
    assert party_screen().feed(painted).encode() == painted


@given(OUTPUT, st.integers(1, 30), st.integers(1, 12))
def test_any_size_can_follow(output: str, cols: int, rows: int) -> None:
    """Resizing keeps what is within both sizes, and the snapshot stays faithful."""
    screen = shown(output)
    screen.resize(cols, rows)
    assert screen.size == (cols, rows)
    assert len(screen.lines) == rows
    assert shown(screen.snapshot().decode(), cols, rows).snapshot() == screen.snapshot()


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        ("one\r\ntwo", ["one", "two"]),
        ("123456789012X", ["123456789012", "X"]),
        ("\x1b[?7l123456789012X", ["12345678901X"]),
        ("a\tb\x1b[1;1H\x1b[2@", ["  a       b"]),
        ("abcdef\x1b[3G\x1b[2P", ["abef"]),
        ("abcdef\x1b[3G\x1b[2X", ["ab  ef"]),
        ("abc\x1b[2b", ["abccc"]),
        ("1\r\n2\r\n3\r\n4\r\n5\r\n6", ["2", "3", "4", "5", "6"]),
        ("1\r\n2\r\n3\r\n4\r\n5\x1b[2;4r\x1b[4;1H\n", ["1", "3", "4", "", "5"]),
        ("1\r\n2\r\n3\x1b[1;1H\x1bM", ["", "1", "2", "3"]),
        ("1\r\n2\r\n3\x1b[2;1H\x1b[L", ["1", "", "2", "3"]),
        ("1\r\n2\r\n3\x1b[2;1H\x1b[M", ["1", "3"]),
        ("\x1b[2;4r\x1b[?6h\x1b[1;1Hx", ["", "x"]),
        ("shell\x1b[?1049hvi", ["     vi"]),
        ("shell\x1b[?1049hvi\x1b[?1049l$", ["shell$"]),
        ("\x1b(0lqk\x1b(B", ["┌─┐"]),
        ("\x0e\x1b)0x\x0fx", ["│x"]),
        ("e\u0301", ["e\u0301"]),
        ("中文", ["中文"]),
        ("中文\x1b[2Gx", [" x文"]),
        ("中文\x1b[3Gx", ["中x"]),
        ("1234567890a中", ["1234567890a", "中"]),
        ("\x1b[4hbc\x1b[1Ga", ["abc"]),
        ("one\x1b7\r\ntwo\x1b8!", ["one!", "two"]),
        ("x\x1b]0;title\x07y\x1bPdcs\x1b\\z", ["xyz"]),
        ("wide🙂!", ["wide🙂!"]),
        ("\x1b[99;99Hx", ["", "", "", "", "           x"]),
        ("\x1b[20hab\ncd", ["ab", "cd"]),
        ("gone\x1bcnew", ["new"]),
    ],
)
def test_what_is_on_the_screen(output: str, lines: list[str]) -> None:
    """The operations that programs use, one by one."""
    wanted = lines + [""] * (ROWS - len(lines))
    assert shown(output).lines == wanted


def test_colours_and_modes_are_in_the_snapshot() -> None:
    """Also those of the blank cells that an erase with a background leaves (back-colour erase)."""
    painted = (
        shown("\x1b[1;38;5;9mred\x1b[0;44m\x1b[K\x1b[?2004h\x1b[?1h\x1b[?25l\x1b[5 q\x1b=").snapshot().decode()
    )
    assert "\x1b[0;1;38;5;9mred\x1b[0;44m         \x1b[0m" in painted
    for mode in ("\x1b[?2004h", "\x1b[?1h", "\x1b[5 q", "\x1b="):
        assert mode in painted
    assert "\x1b[?25h" not in painted


def test_the_main_page_is_painted_behind_the_alternate_one() -> None:
    """Whoever joins while an editor runs still has the shell's screen when it ends."""
    joined = shown(shown("$ vi\r\n\x1b[?1049h\x1b[2Jtext").snapshot().decode())
    assert joined.lines[0] == ""
    joined.feed(b"\x1b[?1049l$")
    assert joined.lines[:2] == ["$ vi", "$"]


def test_memory_is_bounded() -> None:
    """Neither a size that the client makes up nor endless combining characters or counts are followed."""
    assert Screen(1 << 31, 0).size == (MAX_COLS, 1)
    assert Screen(0, 1 << 31).size == (1, MAX_ROWS)
    screen = shown("a" + "\u0301" * 1000 + "\x1b[99999b\x1b[99999999999999999S")
    assert len(screen.lines[0]) <= 10 * COLS

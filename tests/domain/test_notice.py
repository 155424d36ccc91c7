"""What the gateway says on a terminal says nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from interlock.domain.notice import MAX_NOTICE, notice
from interlock.domain.screen import Screen
from interlock.domain.terminal import party_screen


def test_between_lines() -> None:
    """A line of its own, and the prompt goes on below."""
    screen = Screen(40, 4)
    screen.feed(b"$ ls" + notice("bob joined") + b"x")
    assert screen.lines == ["$ ls", " bob joined", "x", ""]


def test_over_a_full_screen_program() -> None:
    """The last line, and the cursor is where it was."""
    screen = Screen(40, 4)
    screen.feed(b"\x1b[?1049h\x1b[2;3Hedit" + notice("bob joined", full_screen=40) + b"ed")
    assert screen.lines == ["", "  edited", "", " bob joined"]
    screen.feed(notice("long " * 20, full_screen=40))
    assert screen.lines[1] == "  edited"
    assert screen.lines[3] == " " + ("long " * 8)[:37].rstrip()


@given(st.text(), st.sampled_from([0, 2, 80]))
def test_other_peoples_words_do_nothing(text: str, full_screen: int) -> None:
    """A name or a reason may hold anything: it is shown, shortened, and acts on no terminal (R24)."""
    said = notice(text, full_screen=full_screen)
    assert party_screen().feed(said).encode() == said
    assert len(said.decode()) < MAX_NOTICE + 50

"""What a file contains is learned without playing it, and without trusting it."""

from hypothesis import given
from hypothesis import strategies as st

from interlock.domain.container import BlockBuilder, preamble
from interlock.domain.recording import FrameKind, Header, resize_payload, to_payload
from interlock.domain.session import Exit, Window
from interlock.domain.survey import Survey, describe, survey

SALT = b"saltsalt"
HEADER = Header("s", "jeff", "root", "web1", "t", "interlock", "n", "node", "shell", "", "2026", "demo")


def block(*frames: tuple[int, int, bytes]) -> bytes:
    """One block."""
    builder = BlockBuilder(SALT)
    for kind, at, payload in frames:
        builder.add(kind, at, payload)
    return builder.take()


OPEN = (
    preamble(SALT)
    + block((FrameKind.HEADER, 0, to_payload(HEADER)))
    + block((FrameKind.STDOUT, 5, b"a"), (FrameKind.RESIZE, 9, resize_payload(Window(1, 2))))
)
CLOSED = OPEN + block((FrameKind.EXIT, 1_234_567, to_payload(Exit(status=3))))


def test_a_closed_file() -> None:
    """Its exit, its length and its resizes are known."""
    assert survey([CLOSED]) == Survey(HEADER, SALT, len(CLOSED), 0, 1_234_567, 1, Exit(status=3))


def test_a_file_that_was_cut_off() -> None:
    """What is whole ends before the torn block."""
    assert survey([CLOSED[:-1]]) == Survey(HEADER, SALT, len(OPEN), len(CLOSED) - len(OPEN) - 1, 9, 1, None)


@given(st.binary(max_size=60))
def test_anything_else_has_no_header(junk: bytes) -> None:
    """No contents make a survey fail."""
    assert survey([junk]).header is None
    assert describe([junk], junk) == {}


def test_a_listing_needs_the_file_s_ends_only() -> None:
    """Header and duration come from the first and the last bytes, wherever these are cut."""
    for tail in range(len(CLOSED) - len(OPEN), len(CLOSED)):
        meta = describe([CLOSED[:300], CLOSED[300:]], CLOSED[-tail:])
        assert (meta["user"], meta["duration_ms"]) == ("jeff", 1234)


def test_an_open_recording_has_no_duration() -> None:
    """Only a recording that was closed says how long it is."""
    assert "duration_ms" not in describe([OPEN], OPEN)

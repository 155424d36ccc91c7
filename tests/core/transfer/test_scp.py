"""The scp observer: what its programs say comes to one fact per file."""

import hashlib
from collections.abc import Callable
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.core import limits
from interlock.core.sides import Side
from interlock.core.transfer.command import ScpCommand
from interlock.core.transfer.operations import Direction, Moved, Operation, Stopped
from interlock.core.transfer.scp import ScpObserver
from interlock.testing.transfers import Step, pieces, play

UP, DOWN = Direction.UPLOAD, Direction.DOWNLOAD
OK = b"\0"


class Talk:
    """A conversation; ``send`` is the sender's, ``answer`` the receiver's."""

    def __init__(self, direction: Direction, path: str = "/tmp/x", *, directory: bool = False) -> None:
        self.command = ScpCommand(direction, path, directory)
        self.sender = Side.CLIENT if direction is UP else Side.TARGET
        self.steps: list[Step] = []
        self.answer()

    def send(self, data: bytes) -> "Talk":
        self.steps.append((self.sender, data))
        return self

    def answer(self, data: bytes = OK) -> "Talk":
        self.steps.append((self.sender.other, data))
        return self

    def file(self, name: bytes, data: bytes, *, end: bytes = OK, answer: bytes = OK) -> "Talk":
        self.send(b"C0644 %d %s\n" % (len(data), name)).answer()
        if data:
            self.send(data)
        return self.send(end).answer(answer)

    def told(self) -> list[Operation]:
        return play(ScpObserver(self.command), self.steps)


def moved(direction: Direction, name: str, data: bytes, path: str = "/tmp/x", error: str = "") -> Moved:
    """What a file comes to."""
    size, sha = len(data), "" if error else hashlib.sha256(data).hexdigest()
    if direction is UP:
        return Moved(path, direction, written=size, sha256=sha, error=error, name=name)
    return Moved(path, direction, read=size, sha256=sha, error=error, name=name)


DATA = bytes(range(256)) * 500


@pytest.mark.parametrize("data", [DATA, b"", b"\n", OK])
@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_file(direction: Direction, data: bytes) -> None:
    """Path, name, bytes and SHA-256, in both roles."""
    assert Talk(direction).file(b"a b", data).told() == [moved(direction, "a b", data)]


def test_times_and_directories() -> None:
    """-p sends times, -r directories; names are those on the way from the top."""
    talk = Talk(UP, "/srv", directory=True).send(b"T1 0 2 0\n").answer().send(b"D0755 0 top\n").answer()
    talk.send(b"T1 0 2 0\n").answer().file(b"one", b"1")
    talk.send(b"D0755 0 sub\n").answer().file(b"two", b"2").send(b"E\n").answer()
    talk.file(b"three", b"3").send(b"E\n").answer().file(b"four", b"4")
    names = {"top/one": b"1", "top/sub/two": b"2", "top/three": b"3", "four": b"4"}
    assert talk.told() == [moved(UP, name, data, f"/srv/{name}") for name, data in names.items()]


def test_a_directory_that_cannot_be_made() -> None:
    """The sender leaves it out and goes on."""
    talk = Talk(UP).send(b"D0755 0 no\n").answer(b"\x01scp: no\n").file(b"a", b"1")
    assert talk.told() == [moved(UP, "a", b"1")]


def test_the_receiver_cannot_open_the_file() -> None:
    """The contents are not sent then."""
    talk = Talk(UP).send(b"C0644 3 a\n").answer(b"\x01scp: /tmp/x: Permission denied\n").file(b"b", b"22")
    failed = moved(UP, "a", b"", error="scp: /tmp/x: Permission denied")
    assert talk.told() == [failed, moved(UP, "b", b"22")]


def test_the_receiver_cannot_keep_the_contents() -> None:
    """Bytes passed, but nothing is claimed of them."""
    talk = Talk(UP).file(b"a", b"123", answer=b"\x01scp: disk full\n").file(b"b", b"22")
    assert talk.told() == [moved(UP, "a", b"123", error="scp: disk full"), moved(UP, "b", b"22")]


def test_the_sender_could_not_read_it_all() -> None:
    """It fills up with zeros, and says so behind them."""
    talk = Talk(DOWN).file(b"a", b"123", end=b"\x01scp: a: Input/output error\n").file(b"b", b"22")
    assert talk.told() == [moved(DOWN, "a", b"123", error="scp: a: Input/output error"), moved(DOWN, "b", b"22")]


@pytest.mark.parametrize("kind", [b"\x01", b"\x02"])
def test_the_sender_has_no_such_file(kind: bytes) -> None:
    """It says so in place of a file; nobody answers that."""
    talk = Talk(DOWN).send(kind + b"scp: /tmp/x: No such file or directory\n").file(b"b", b"22")
    assert talk.told() == [
        Moved("/tmp/x", DOWN, error="scp: /tmp/x: No such file or directory"),
        moved(DOWN, "b", b"22"),
    ]


def test_the_receiver_has_no_such_directory() -> None:
    """It says so in place of its first answer."""
    talk = Talk(UP)
    talk.steps.clear()
    talk.answer(b"\x01scp: /tmp/x: No such file or directory\n")
    assert talk.told() == [Moved("/tmp/x", UP, error="scp: /tmp/x: No such file or directory")]


def test_a_session_that_ends_within_a_file() -> None:
    """It is told with what passed, and without a hash."""
    talk = Talk(UP).send(b"C0644 10 a\n").answer().send(b"12345")
    assert talk.told() == [moved(UP, "a", b"12345", error="the session ended before the file was complete")]


def test_answers_that_nobody_waits_for() -> None:
    """Some receivers complain at any time; it is of no file."""
    talk = Talk(UP).file(b"a", b"1").answer(b"\x01scp: set times: no\n").file(b"b", b"2")
    assert talk.told() == [moved(UP, "a", b"1"), moved(UP, "b", b"2")]


STOPS: dict[str, tuple[Callable[[], Talk], str]] = {
    "words before the protocol": (lambda: Talk(UP).answer(b"Welcome\n"), "not an answer"),
    "not a line of scp": (lambda: Talk(UP).send(b"hello\n"), "not a line"),
    "an empty line": (lambda: Talk(UP).send(b"\n"), "not a line"),
    "no size": (lambda: Talk(UP).send(b"C0644 x a\n"), "not a line"),
    "a negative size": (lambda: Talk(UP).send(b"C0644 -1 a\n"), "not a line"),
    "a size beyond all": (lambda: Talk(UP).send(b"C0644 %s a\n" % (b"9" * 20)), "not a line"),
    "no name": (lambda: Talk(UP).send(b"C0644 1\n"), "not a line"),
    "a long line": (lambda: Talk(UP).send(b"C" * (limits.MAX_SCP_LINE + 1)), "a line of more than"),
    "a long answer": (lambda: Talk(UP).answer(b"\x01" * (limits.MAX_SCP_LINE + 1)), "a line of more than"),
    "no waiting": (lambda: Talk(UP).send(b"C0644 1 a\nx"), "does not wait"),
    "many steps": (lambda: Talk(UP).send(b"T1 0 1 0\n" * 20), "does not wait"),
    "more than the size": (lambda: Talk(UP).send(b"C0644 1 a\n").answer().send(b"12\n"), "do not end"),
    "deep directories": (
        lambda: deep(Talk(UP), limits.MAX_SCP_PATH // 200 + 1),
        "directories with names",
    ),
}


def deep(talk: Talk, depth: int) -> Talk:
    """Directories in directories."""
    for _ in range(depth):
        talk.send(b"D0755 0 %s\n" % (b"d" * 200)).answer()
    return talk


@pytest.mark.parametrize("name", STOPS)
def test_what_is_not_scp_is_not_followed(name: str) -> None:
    """The reason is told once, and nothing afterwards."""
    talk, reason = STOPS[name][0](), STOPS[name][1]
    result = talk.file(b"afterwards", b"1").told()
    stopped = result.pop()
    assert isinstance(stopped, Stopped)
    assert reason in stopped.reason
    assert all(isinstance(op, Moved) and op.error == "no longer observed" for op in result)


def test_stopping_from_outside() -> None:
    """Once, with the reason."""
    observer = ScpObserver(ScpCommand(UP, "x"))
    assert observer.stop("because") == [Stopped("because")]
    assert observer.stop("again") == ()
    assert observer.finish() == ()


@settings(deadline=None)
@given(direction=st.sampled_from([UP, DOWN]), sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=20))
def test_the_result_does_not_depend_on_the_pieces(direction: Direction, sizes: list[int]) -> None:
    """However the bytes are cut on their way."""
    talk = Talk(direction).send(b"D0755 0 top\n").answer().file(b"a", DATA[:4000]).file(b"e", b"")
    talk.file(b"b", b"1", answer=b"\x01no\n").send(b"E\n").answer().send(b"\x01gone\n").file(b"c", DATA[:99])
    assert play(ScpObserver(talk.command), pieces(talk.steps, cycle(sizes))) == talk.told()


@settings(deadline=None)
@given(
    direction=st.sampled_from([UP, DOWN]),
    garbage=st.lists(st.tuples(st.sampled_from(Side), st.binary(max_size=100)), max_size=20),
)
def test_garbage_never_raises(direction: Direction, garbage: list[Step]) -> None:
    """Whatever passes."""
    talk = Talk(direction).send(b"C0644 3 a\n").answer()
    result = play(ScpObserver(talk.command), [*talk.steps, *garbage])
    assert sum(isinstance(op, Stopped) for op in result) <= 1

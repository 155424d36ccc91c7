"""The SFTP observer: what conversations in each version come to, whatever the packets, bounds and lies."""

import hashlib
from collections.abc import Callable, Iterator
from itertools import cycle, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.core import limits
from interlock.core.sides import Side
from interlock.core.transfer import messages as m
from interlock.core.transfer.operations import Action, Changed, Direction, Moved, Operation, Stopped
from interlock.core.transfer.sftp import SftpObserver
from interlock.core.wire import string, uint32
from interlock.testing.transfers import SftpTalk, packet, pieces, play, uint64

VERSIONS = [3, 4, 5, 6]
CONTENTS = bytes(range(256)) * 300


def sha(data: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def told(talk: SftpTalk) -> list[Operation]:
    """What a whole conversation comes to."""
    return play(SftpObserver(), talk.steps)


def upload(talk: SftpTalk, data: bytes = CONTENTS, block: int = 32768) -> SftpTalk:
    """As OpenSSH writes."""
    talk.open(b"/tmp/up", write=True)
    for at in range(0, len(data), block):
        talk.write(at, data[at : at + block])
    return talk.close()


def download(talk: SftpTalk, data: bytes = CONTENTS, block: int = 32768) -> SftpTalk:
    """As OpenSSH reads: many requests at once, the last ones beyond the end."""
    talk.open(b"/tmp/down", write=False)
    numbers = [(talk.read(at, block), at) for at in range(0, len(data) + block, block)]
    for number, at in numbers:
        if at < len(data):
            talk.data(number, data[at : at + block])
        else:
            talk.status(number, m.EOF)
    return talk.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_an_upload_is_one_file_with_its_hash(version: int) -> None:
    """Path, direction, bytes and SHA-256 of what was written, in every version's layout."""
    expected = Moved("/tmp/up", Direction.UPLOAD, written=len(CONTENTS), sha256=sha(CONTENTS))
    assert told(upload(SftpTalk(version))) == [expected]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_download_with_reads_in_flight_is_one_file_with_its_hash(version: int) -> None:
    """The end of the file is no error."""
    expected = Moved("/tmp/down", Direction.DOWNLOAD, read=len(CONTENTS), sha256=sha(CONTENTS))
    assert told(download(SftpTalk(version))) == [expected]


@pytest.mark.parametrize(("write", "direction"), [(True, Direction.UPLOAD), (False, Direction.DOWNLOAD)])
def test_an_empty_file(write: bool, direction: Direction) -> None:
    """Nothing passes, and the hash is that of nothing."""
    assert told(SftpTalk().open(b"e", write=write).close()) == [Moved("e", direction, sha256=sha(b""))]


def test_writes_that_wait_for_no_answer() -> None:
    """Answers may come after the close was asked for, and in any order: the file is told once all are there."""
    talk = SftpTalk().open(b"f", write=True)
    writes = [talk.ask(m.WRITE, string(b"h"), uint64(at), string(b"ab")) for at in (0, 2, 4)]
    closing = talk.ask(m.CLOSE, string(b"h"))
    observer = SftpObserver()
    for side, data in talk.steps:
        assert observer.feed(side, memoryview(data)) == ()
    talk.steps.clear()
    talk.status(writes[2]).status(closing).status(writes[0]).status(writes[1])
    results = [list(observer.feed(side, memoryview(data))) for side, data in talk.steps]
    assert results == [[], [], [], [Moved("f", Direction.UPLOAD, written=6, sha256=sha(b"ababab"))]]


def test_contents_that_come_after_the_closes_answer_count() -> None:
    """A target may answer in any order; the last bytes belong to the file all the same."""
    talk = SftpTalk().open(b"f", write=False)
    reading = talk.read(0, 6)
    talk.status(talk.ask(m.CLOSE, string(b"h"))).data(reading, b"abcdef")
    assert told(talk) == [Moved("f", Direction.DOWNLOAD, read=6, sha256=sha(b"abcdef"))]


def unordered_reads(talk: SftpTalk) -> SftpTalk:
    """The second answer comes first."""
    first, second = talk.read(0, 2), talk.read(2, 2)
    return talk.data(second, b"cd").data(first, b"ab")


PARTIAL: dict[str, tuple[bool, Callable[[SftpTalk], SftpTalk], Moved]] = {
    "answers out of order": (False, unordered_reads, Moved("f", Direction.DOWNLOAD, read=4)),
    "from the middle": (True, lambda t: t.write(7, b"xyz"), Moved("f", Direction.UPLOAD, written=3)),
    "with a gap": (True, lambda t: t.write(0, b"ab").write(3, b"c"), Moved("f", Direction.UPLOAD, written=3)),
    "twice": (True, lambda t: t.write(0, b"ab").write(0, b"ab"), Moved("f", Direction.UPLOAD, written=4)),
    "both ways": (
        True,
        lambda t: t.write(0, b"ab").data(t.read(0, 2), b"ab"),
        Moved("f", Direction.BOTH, read=2, written=2),
    ),
    "refused": (
        True,
        lambda t: t.write(0, b"ab", code=14).write(2, b"c"),
        Moved("f", Direction.UPLOAD, written=3, error="no space on the file system"),
    ),
    "read error": (
        False,
        lambda t: t.data(t.read(0, 2), b"ab").status(t.read(2, 2), 4),
        Moved("f", Direction.DOWNLOAD, read=2, error="failure"),
    ),
}


@pytest.mark.parametrize("name", PARTIAL)
def test_no_hash_is_claimed_for(name: str) -> None:
    """Only contents that passed once and in order from the beginning have one; bytes are counted always."""
    write, between, expected = PARTIAL[name]
    talk = between(SftpTalk().open(b"f", write=write)).close()
    assert told(talk) == [expected]


def test_appending_claims_no_hash() -> None:
    """What was there before is unknown, and the offsets mean nothing."""
    talk = SftpTalk()
    talk.handle(talk.ask(m.OPEN, string(b"f"), uint32(0x6), uint32(0)), b"h").write(0, b"ab").close()
    assert told(talk) == [Moved("f", Direction.UPLOAD, written=2)]


def test_a_close_that_fails() -> None:
    """Some servers tell only then that the disk is full."""
    talk = SftpTalk().open(b"f", write=True).write(0, b"ab").close(code=4)
    assert told(talk) == [Moved("f", Direction.UPLOAD, written=2, error="failure")]


@pytest.mark.parametrize("write", [True, False])
def test_an_open_that_is_refused(write: bool) -> None:
    """One event with the reason."""
    talk = SftpTalk()
    talk.status(talk.ask(m.OPEN, string(b"/no"), talk.flags(write=write)), 2)
    direction = Direction.UPLOAD if write else Direction.DOWNLOAD
    assert told(talk) == [Moved("/no", direction, error="no such file")]


def test_a_session_that_ends_with_open_files() -> None:
    """They are told, as cut off and without a hash; one that is complete but for the telling is complete."""
    talk = SftpTalk().open(b"a", write=True, handle=b"1").write(0, b"xy", handle=b"1")
    talk.open(b"b", write=False, handle=b"2")
    assert told(talk) == [
        Moved("a", Direction.UPLOAD, written=2, error="the session ended before the file was closed"),
        Moved("b", Direction.DOWNLOAD, error="the session ended before the file was closed"),
    ]


def test_a_handle_is_used_again() -> None:
    """Servers number them and begin anew."""
    talk = SftpTalk()
    for name in (b"one", b"two"):
        talk.open(name, write=True).write(0, name).close()
    assert told(talk) == [Moved(n, Direction.UPLOAD, written=3, sha256=sha(n.encode())) for n in ("one", "two")]


def test_files_side_by_side() -> None:
    """Two files in turns, and a directory between them, which is no file."""
    talk = SftpTalk().open(b"a", write=True, handle=b"1").open(b"b", write=True, handle=b"2")
    talk.handle(talk.ask(m.OPENDIR, string(b"/tmp")), b"3")
    talk.write(0, b"aa", handle=b"1").write(0, b"bb", handle=b"2").write(2, b"AA", handle=b"1")
    talk.status(talk.ask(m.READDIR, string(b"3")), m.EOF)
    talk.close(handle=b"3").close(handle=b"2").close(handle=b"1")
    assert told(talk) == [
        Moved("b", Direction.UPLOAD, written=2, sha256=sha(b"bb")),
        Moved("a", Direction.UPLOAD, written=4, sha256=sha(b"aaAA")),
    ]


A, B = string(b"/a"), string(b"/b")
CHANGES: dict[str, tuple[int, bytes, Changed]] = {
    "setstat": (m.SETSTAT, A + uint32(0), Changed(Action.SETSTAT, "/a")),
    "remove": (m.REMOVE, A, Changed(Action.REMOVE, "/a")),
    "mkdir": (m.MKDIR, A + uint32(0), Changed(Action.MKDIR, "/a")),
    "rmdir": (m.RMDIR, A, Changed(Action.RMDIR, "/a")),
    "rename": (m.RENAME, A + B, Changed(Action.RENAME, "/a", "/b")),
    "rename with flags": (m.RENAME, A + B + uint32(1), Changed(Action.RENAME, "/a", "/b")),
    "symlink": (m.SYMLINK, A + B, Changed(Action.SYMLINK, "/a", "/b")),
    "link by name": (m.LINK, B + A + b"\x01", Changed(Action.SYMLINK, "/a", "/b")),
    "hard link": (m.LINK, B + A + b"\x00", Changed(Action.LINK, "/a", "/b")),
    "posix-rename": (m.EXTENDED, string("posix-rename@openssh.com") + A + B, Changed(Action.RENAME, "/a", "/b")),
    "hardlink": (m.EXTENDED, string("hardlink@openssh.com") + A + B, Changed(Action.LINK, "/a", "/b")),
    "lsetstat": (m.EXTENDED, string("lsetstat@openssh.com") + A + uint32(0), Changed(Action.SETSTAT, "/a")),
}


@pytest.mark.parametrize(("code", "error"), [(0, ""), (3, "permission denied"), (18, "directory not empty")])
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", CHANGES)
def test_changes(name: str, version: int, code: int, error: str) -> None:
    """Each request by which something other than contents changes, and how it ended."""
    kind, fields, expected = CHANGES[name]
    talk = SftpTalk(version)
    talk.status(talk.ask(kind, fields), code)
    changed = Changed(expected.action, expected.path, expected.target_path, error)
    assert told(talk) == [changed]


def test_fsetstat_names_the_file_of_its_handle() -> None:
    """`put -p` sets times by handle."""
    talk = SftpTalk().open(b"/f", write=True)
    talk.status(talk.ask(m.FSETSTAT, string(b"h"), uint32(0))).close()
    assert told(talk) == [Changed(Action.SETSTAT, "/f"), Moved("/f", Direction.UPLOAD, sha256=sha(b""))]


def test_looking_changes_nothing() -> None:
    """No event for what only looks, known or not, answered or not."""
    talk = SftpTalk()
    for kind in (m.LSTAT, m.STAT, m.REALPATH, m.READLINK, m.OPENDIR):
        talk.status(talk.ask(kind, string(b"/a")), 2)
    talk.status(talk.ask(m.EXTENDED, string(b"statvfs@openssh.com"), string(b"/")), 8)
    talk.ask(m.READLINK, string(b"/never answered"))
    talk.status(999)
    assert told(talk) == []


def test_copying_within_the_target() -> None:
    """The contents do not pass, so nothing is claimed of them; where they went is told."""
    talk = SftpTalk().open(b"from", write=False, handle=b"1").open(b"to", write=True, handle=b"2")
    fields = string(b"copy-data") + string(b"1") + uint64(0) + uint64(0) + string(b"2") + uint64(0)
    talk.status(talk.ask(m.EXTENDED, fields)).close(handle=b"2").close(handle=b"1")
    assert told(talk) == [Moved("to", Direction.COPY), Moved("from", Direction.COPY, target_path="to")]


def test_a_version_that_is_selected() -> None:
    """version-select takes effect when it is granted, and not if it is refused."""
    for code, version in ((0, 6), (8, 3)):
        talk = SftpTalk(3)
        talk.status(talk.ask(m.EXTENDED, string(b"version-select"), string(b"6")), code)
        talk.version = version
        assert told(upload(talk, b"abc")) == [Moved("/tmp/up", Direction.UPLOAD, written=3, sha256=sha(b"abc"))]


def test_names_that_are_not_utf8() -> None:
    """They become visible escapes."""
    talk = SftpTalk()
    talk.status(talk.ask(m.REMOVE, string(b"/\xff\xc3\xa4")))
    assert told(talk) == [Changed(Action.REMOVE, "/\\xffä")]


# --- packets ------------------------------------------------------------------------------------------


def everything(version: int) -> SftpTalk:
    """Files both ways, every change, and one file that is not in order."""
    talk = upload(download(SftpTalk(version), CONTENTS[:5000], 999), CONTENTS[:4000], 1024)
    for kind, fields, _ in CHANGES.values():
        talk.status(talk.ask(kind, fields))
    return unordered_reads(talk.open(b"last", write=False)).close()


@settings(deadline=None)
@given(version=st.sampled_from(VERSIONS), sizes=st.lists(st.integers(1, 3000), min_size=1, max_size=30))
def test_the_result_does_not_depend_on_the_pieces(version: int, sizes: list[int]) -> None:
    """However the bytes are cut on their way."""
    talk = everything(version)
    assert play(SftpObserver(), pieces(talk.steps, cycle(sizes))) == told(talk)


@pytest.mark.parametrize("version", VERSIONS)
def test_byte_by_byte(version: int) -> None:
    """The smallest pieces there are."""
    talk = everything(version)
    assert play(SftpObserver(), pieces(talk.steps, repeat(1))) == told(talk)


def test_contents_are_never_kept() -> None:
    """After a megabyte each way in one packet, the observer holds no more than before."""
    observer = SftpObserver()
    talk = SftpTalk().open(b"f", write=True)
    talk.ask(m.WRITE, string(b"h"), uint64(0), string(bytes(1_000_000)))
    play_without_end(observer, talk)
    held = sum(len(framer._head) for framer in observer._framers.values())
    assert held == 0
    assert [file.told() for file in observer._files.values()] == [
        Moved("f", Direction.UPLOAD, written=1_000_000, sha256=sha(bytes(1_000_000)))
    ]


def play_without_end(observer: SftpObserver, talk: SftpTalk) -> list[Operation]:
    """The conversation goes on."""
    return [op for side, data in talk.steps for op in observer.feed(side, memoryview(bytearray(data)))]


# --- bounds and lies ----------------------------------------------------------------------------------


def many_requests() -> SftpTalk:
    """One more than may be unanswered."""
    talk = SftpTalk()
    for _ in range(limits.MAX_SFTP_REQUESTS + 1):
        talk.ask(m.STAT, string(b"/"))
    return talk


def many_files() -> SftpTalk:
    """One more than may be open."""
    talk = SftpTalk()
    for number in range(limits.MAX_SFTP_FILES + 1):
        talk.open(b"f", write=True, handle=uint32(number))
    return talk


def many_names() -> SftpTalk:
    """More names than may be held."""
    talk = SftpTalk()
    for _ in range(limits.MAX_SFTP_NAMES // 8000 + 1):
        talk.ask(m.REMOVE, string(b"x" * 8000))
    return talk


def asked(*fields: bytes, kind: int = m.OPEN) -> SftpTalk:
    """One request."""
    talk = SftpTalk()
    talk.ask(kind, *fields)
    return talk


def nothing_agreed() -> SftpTalk:
    """Not even a greeting."""
    talk = SftpTalk()
    talk.steps.clear()
    return talk


STOPS: dict[str, tuple[Callable[[], SftpTalk], str]] = {
    "requests": (many_requests, "requests without an answer"),
    "files": (many_files, "open files"),
    "names": (many_names, "bytes of names"),
    "a long path": (
        lambda: asked(string(b"x" * limits.MAX_SFTP_HEAD), uint32(1), uint32(0)),
        "malformed, or longer",
    ),
    "a path beyond its packet": (lambda: asked(uint32(99), b"xyz"), "malformed"),
    "no flags": (lambda: asked(string(b"/a")), "malformed"),
    "an impossible packet": (
        lambda: SftpTalk().client(uint32(limits.MAX_SFTP_PACKET + 1) + b"\x03abcd"),
        "a packet of",
    ),
    "an empty packet": (lambda: SftpTalk().client(uint32(0) + b"\x03abcd"), "a packet of 0 bytes"),
    "a long handle": (
        lambda: asked(string(b"h" * 257), uint64(0), string(b""), kind=m.WRITE),
        "a handle of 257 bytes",
    ),
    "a write without data": (lambda: asked(string(b"h"), uint64(0), kind=m.WRITE), "a write without data"),
    "more data than the packet": (
        lambda: asked(string(b"h"), uint64(0), uint32(9), b"abc", kind=m.WRITE),
        "more data than the packet has",
    ),
    "an ID twice": (lambda: SftpTalk().client(packet(m.STAT, uint32(7), A) * 2), "the ID of one"),
    "no INIT": (lambda: nothing_agreed().client(packet(m.STAT, uint32(7), A)), "begin with an INIT"),
    "INIT twice": (lambda: SftpTalk().client(packet(m.INIT, uint32(3))), "begin with an INIT"),
    "words before VERSION": (
        lambda: nothing_agreed().client(packet(m.INIT, uint32(3))).target(b"Welcome to this host\n"),
        "a packet of",
    ),
    "VERSION unasked": (lambda: nothing_agreed().target(packet(m.VERSION, uint32(3))), "begin with a VERSION"),
    "VERSION twice": (lambda: SftpTalk().target(packet(m.VERSION, uint32(3))), "begin with a VERSION"),
    "version 2": (lambda: SftpTalk(2), "SFTP version 2"),
    "version 7": (lambda: SftpTalk(7), "SFTP version 7"),
    "a request too early": (
        lambda: nothing_agreed().client(packet(m.INIT, uint32(3)) + packet(m.STAT, uint32(7), A)),
        "before the version is agreed",
    ),
    "a request while a version is selected": (
        lambda: asked(string(b"version-select"), string(b"6"), kind=m.EXTENDED).client(
            packet(m.STAT, uint32(7), A)
        ),
        "before the version is agreed",
    ),
    "a version that is none": (
        lambda: asked(string(b"version-select"), string(b"six"), kind=m.EXTENDED).status(1),
        "SFTP version 0",
    ),
    "a handle twice": (
        lambda: SftpTalk().open(b"a", write=True).open(b"b", write=True),
        "a handle twice",
    ),
    "a handle without its end": (
        lambda: asked(string(b"/a"), uint32(1), uint32(0)).target(packet(m.HANDLE, uint32(1), uint32(50))),
        "malformed",
    ),
}


@pytest.mark.parametrize("name", STOPS)
def test_beyond_a_bound_it_says_so_and_stops(name: str) -> None:
    """The reason is told once, files that were open are told before it, and nothing afterwards."""
    talk, reason = STOPS[name][0](), STOPS[name][1]
    observer = SftpObserver()
    result = play(observer, upload(talk, b"afterwards").steps)
    stopped = result.pop()
    assert isinstance(stopped, Stopped)
    assert reason in stopped.reason
    assert not stopped.cut
    assert observer.stopped == stopped.reason
    assert all(isinstance(op, Moved) and op.error == "no longer observed" for op in result)


def test_stopping_from_outside() -> None:
    """Once, with the reason."""
    observer = SftpObserver()
    assert observer.stop("because") == [Stopped("because")]
    assert observer.stop("again") == []
    assert observer.finish() == []


@settings(deadline=None)
@given(
    garbage=st.lists(st.tuples(st.sampled_from(Side), st.binary(max_size=200)), max_size=20),
    begun=st.booleans(),
)
def test_garbage_never_raises(garbage: list[tuple[Side, bytes]], begun: bool) -> None:
    """Whatever passes, before or after a proper beginning."""
    talk = SftpTalk().open(b"f", write=True) if begun else nothing_agreed()
    result = play(SftpObserver(), [*talk.steps, *garbage])
    assert sum(isinstance(op, Stopped) for op in result) <= 1


def mutations(data: bytes) -> Iterator[bytes]:
    """Each byte in turn replaced."""
    for at in range(len(data)):
        for value in (0, 0xFF):
            yield data[:at] + bytes([value]) + data[at + 1 :]


def test_a_conversation_with_one_byte_changed_never_raises() -> None:
    """Each byte of the requests and replies in turn."""
    steps = everything(3).steps
    for at, (side, data) in enumerate(steps):
        for changed in mutations(data[:64]):
            context = [*steps[max(at - 2, 2) : at], (side, changed + data[64:]), *steps[at + 1 : at + 4]]
            result = play(SftpObserver(), [*steps[:2], *context])
            assert sum(isinstance(op, Stopped) for op in result) <= 1

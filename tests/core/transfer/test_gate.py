"""What a role forbids never reaches the target, and its answer says why; all else passes as it is."""

from collections.abc import Callable, Iterator
from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.core.errors import RemoteProtocolError
from interlock.core.sides import Side
from interlock.core.transfer import messages as m
from interlock.core.transfer.operations import Action, Allowed, Direction, Forbidden, Moved, Operation, Stopped
from interlock.core.transfer.sftp import SftpObserver
from interlock.core.wire import Reader, boolean, string, uint32
from interlock.testing.transfers import SftpTalk, packet, pieces, uint64

ONLY_DOWN = Allowed(upload=False)
ONLY_UP = Allowed(download=False)
A, B = string(b"/a"), string(b"/b")


class Passage:
    """An observer with a role, and what passed it in each direction."""

    def __init__(self, allowed: Allowed) -> None:
        self.observer = SftpObserver(allowed)
        self.passed = {Side.CLIENT: b"", Side.TARGET: b""}
        self.told: list[Operation] = []

    def play(self, talk: SftpTalk) -> "Passage":
        for side, data in talk.steps:
            self.piece(side, data)
        talk.steps.clear()
        return self

    def piece(self, side: Side, data: bytes) -> None:
        buffer = bytearray(data)
        self.told += self.observer.feed(side, memoryview(buffer))
        self.passed[side] += buffer

    def last_request(self, talk: SftpTalk, kind: int, *fields: bytes) -> bytes:
        """What becomes of a request."""
        self.play(talk)
        talk.ask(kind, *fields)
        sent = talk.steps[-1][1]
        self.play(talk)
        seen = self.passed[Side.CLIENT][-len(sent) :]
        return seen if seen != sent else b""


CHANGES: dict[str, tuple[int, bytes, Action]] = {
    "setstat": (m.SETSTAT, A + uint32(0), Action.SETSTAT),
    "fsetstat": (m.FSETSTAT, string(b"h") + uint32(0), Action.SETSTAT),
    "remove": (m.REMOVE, A, Action.REMOVE),
    "mkdir": (m.MKDIR, A + uint32(0), Action.MKDIR),
    "rmdir": (m.RMDIR, A, Action.RMDIR),
    "rename": (m.RENAME, A + B, Action.RENAME),
    "symlink": (m.SYMLINK, A + B, Action.SYMLINK),
    "link": (m.LINK, B + A + boolean(False), Action.LINK),
    "posix-rename": (m.EXTENDED, string("posix-rename@openssh.com") + A + B, Action.RENAME),
    "hardlink": (m.EXTENDED, string("hardlink@openssh.com") + A + B, Action.LINK),
    "lsetstat": (m.EXTENDED, string("lsetstat@openssh.com") + A + uint32(0), Action.SETSTAT),
    "copy-file": (m.EXTENDED, string("copy-file") + A + B + b"\x00", Action.EXTENSION),
}


def check_disguise(before: bytes, after: bytes) -> None:
    """Same length and ID; an extended request by a name that is none."""
    assert len(after) == len(before)
    assert (after[4], after[5:9]) == (m.EXTENDED, before[5:9])
    name = Reader(after[9:]).string()
    assert name == b"x" * len(name)
    assert name not in m.HARMLESS_EXTENSIONS


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_uploads(name: str) -> None:
    """Without uploads, nothing on the target changes."""
    kind, fields, action = CHANGES[name]
    talk, passage = SftpTalk(), Passage(ONLY_DOWN)
    seen = passage.last_request(talk, kind, fields)
    check_disguise(packet(kind, uint32(1), fields), seen)
    [forbidden] = passage.told
    assert isinstance(forbidden, Forbidden)
    assert forbidden.action is action


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "copy-file"])
def test_changes_without_downloads(name: str) -> None:
    """They are allowed, and told."""
    kind, fields, _ = CHANGES[name]
    talk, passage = SftpTalk(), Passage(ONLY_UP)
    assert passage.last_request(talk, kind, fields) == b""
    passage.play(talk.status(1))
    assert len(passage.told) == 1
    assert not isinstance(passage.told[0], Forbidden)


@pytest.mark.parametrize("version", [3, 4, 5, 6])
@pytest.mark.parametrize("write", [True, False])
def test_files_of_the_forbidden_direction_are_not_opened(version: int, write: bool) -> None:
    """The other direction's are, with their contents untouched."""
    talk = SftpTalk(version)
    for allowed in (ONLY_UP, ONLY_DOWN):
        talk, passage = SftpTalk(version), Passage(allowed)
        seen = passage.last_request(talk, m.OPEN, A, talk.flags(write=write))
        if allowed.upload is write:
            assert seen == b""
            assert passage.told == []
        else:
            check_disguise(packet(m.OPEN, uint32(1), A, talk.flags(write=write)), seen)
            direction = Direction.UPLOAD if write else Direction.DOWNLOAD
            assert passage.told == [Forbidden(Action.OPEN, "/a", direction=direction)]


@pytest.mark.parametrize("allowed", [ONLY_UP, ONLY_DOWN])
def test_both_directions_at_once_are_forbidden(allowed: Allowed) -> None:
    """And so is what makes a file only to read it."""
    for flags in (0x3, 0x8):
        passage = Passage(allowed)
        assert passage.last_request(SftpTalk(), m.OPEN, A, uint32(flags), uint32(0))


def test_an_empty_name_and_one_that_is_an_extensions() -> None:
    """What the client writes into the name can do no harm."""
    for path in (b"", b"posix-rename@openssh.com", b"copy-data"):
        passage = Passage(ONLY_DOWN)
        seen = passage.last_request(SftpTalk(), m.OPEN, string(path), uint32(0x1A), uint32(0))
        check_disguise(packet(m.OPEN, uint32(1), string(path), uint32(0x1A), uint32(0)), seen)


def test_the_answer_says_why() -> None:
    """The target says "not supported"; the client reads that permission is denied. Lengths stay."""
    talk, passage = SftpTalk(), Passage(ONLY_DOWN)
    passage.last_request(talk, m.REMOVE, A)
    before = passage.passed[Side.TARGET]
    answer = packet(m.STATUS, uint32(1), uint32(8), string("Operation unsupported, by this server"), string("en"))
    passage.play(talk.target(answer))
    after = passage.passed[Side.TARGET].removeprefix(before)
    reader = Reader(after)
    reader.take(9)
    assert len(after) == len(answer)
    assert reader.uint32() == m.PERMISSION_DENIED
    assert reader.string() == b"your role does not allow this".ljust(37)
    assert reader.string() == b"en"
    assert passage.told == [Forbidden(Action.REMOVE, "/a")]


def test_an_unknown_extension_is_not_supported() -> None:
    """Clients ask for such and do without it, unless they are told that it exists and is denied."""
    talk, passage = SftpTalk(), Passage(ONLY_DOWN)
    assert passage.last_request(talk, m.EXTENDED, string("copy-file"), A, B)
    before = passage.passed[Side.TARGET]
    answer = packet(m.STATUS, uint32(1), uint32(8), string("Operation unsupported"), string("en"))
    passage.play(talk.target(answer))
    assert passage.passed[Side.TARGET].removeprefix(before) == answer


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_an_answer_in_pieces_keeps_its_length_and_id(sizes: list[int]) -> None:
    """What has passed already cannot be changed any more, and nothing else is."""
    talk, passage = SftpTalk(), Passage(ONLY_DOWN)
    passage.last_request(talk, m.REMOVE, A)
    before = passage.passed[Side.TARGET]
    answer = packet(m.STATUS, uint32(1), uint32(8), string("Operation unsupported"), string("en"))
    for side, data in pieces([(Side.TARGET, answer)], cycle(sizes)):
        passage.piece(side, data)
    after = passage.passed[Side.TARGET].removeprefix(before)
    assert len(after) == len(answer)
    assert after[:9] == answer[:9]
    assert after[9:13] in {uint32(3), uint32(8)}
    assert after[-6:] == answer[-6:]


def test_answers_that_a_target_may_not_give() -> None:
    """A target that opens all the same, or says OK, is not believed."""
    talk, passage = SftpTalk(), Passage(ONLY_DOWN)
    passage.last_request(talk, m.OPEN, A, talk.flags(write=True))
    passage.play(talk.handle(1, b"h").write(0, b"x"))
    assert passage.observer.finish() == []


def test_contents_of_the_allowed_direction_pass_untouched() -> None:
    """A download beside forbidden requests."""
    talk, passage = SftpTalk(), Passage(ONLY_DOWN)
    talk.open(b"/a", write=False)
    talk.data(talk.read(0, 5), b"abcde").status(talk.read(5, 5), 1)
    passage.play(talk.close())
    [moved] = passage.told
    assert isinstance(moved, Moved)
    assert (moved.direction, moved.octets, len(moved.sha256)) == (Direction.DOWNLOAD, 5, 64)
    assert b"abcde" in passage.passed[Side.TARGET]


HALVES: dict[str, bytes] = {
    "an open": packet(m.OPEN, uint32(1), A, uint32(0x1A), uint32(0)),
    "a removal": packet(m.REMOVE, uint32(1), A),
    "an extension": packet(m.EXTENDED, uint32(1), string("posix-rename@openssh.com"), A, B),
    "a type that nobody knows": packet(99, uint32(1), A),
}


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("cut", range(1, 24))
def test_a_request_in_two_pieces(name: str, cut: int) -> None:
    """Once its type has passed it cannot be refused any more: so nothing of it may pass, and the session ends."""
    request = HALVES[name]
    talk, passage = SftpTalk(), Passage(ONLY_DOWN)
    passage.play(talk)
    before = passage.passed[Side.CLIENT]
    for piece in (request[:cut], request[cut:], packet(m.REMOVE, uint32(2), A)):
        passage.piece(Side.CLIENT, piece)
    passed = passage.passed[Side.CLIENT].removeprefix(before)
    if name != "a type that nobody knows" and not 4 < cut < len(request):
        check_disguise(request, passed[: len(request)])
        assert all(isinstance(op, Forbidden) for op in passage.told)
    else:
        [stopped] = passage.told
        assert isinstance(stopped, Stopped)
        assert stopped.cut
        assert passed[4] == 255
        assert not any(passed[5:])


def test_requests_before_one_that_is_not_complete() -> None:
    """They were judged, and pass as they are."""
    passage = Passage(ONLY_DOWN)
    passage.play(SftpTalk())
    before = passage.passed[Side.CLIENT]
    looking = packet(m.STAT, uint32(1), A)
    passage.piece(Side.CLIENT, looking + packet(m.REMOVE, uint32(2), A)[:12])
    assert passage.passed[Side.CLIENT].removeprefix(before) == looking + uint32(11) + b"\xff" + bytes(7)


def test_a_write_in_pieces_passes() -> None:
    """Contents are in many packets; what they are written to was opened, and so judged."""
    talk, passage = SftpTalk(), Passage(ONLY_UP)
    passage.play(talk.open(b"/a", write=True))
    request = packet(m.WRITE, uint32(9), string(b"h"), uint64(0), string(b"abc" * 100))
    before = passage.passed[Side.CLIENT]
    for side, data in pieces([(Side.CLIENT, request)], cycle([5, 1, 7])):
        passage.piece(side, data)
    assert passage.passed[Side.CLIENT].removeprefix(before) == request
    assert passage.told == []


STOPS: dict[str, Callable[[Passage], None]] = {
    "malformed": lambda p: p.piece(Side.CLIENT, packet(m.OPEN, uint32(1), uint32(99))),
    "not SFTP": lambda p: p.piece(Side.TARGET, b"\xff" * 20),
    "from outside": lambda p: p.told.extend(p.observer.stop("because")),
}


@pytest.mark.parametrize("name", STOPS)
def test_what_cannot_be_judged_does_not_pass(name: str) -> None:
    """After it stopped, for whatever reason, the target gets zeros until the session has ended."""
    talk, passage = SftpTalk(), Passage(ONLY_DOWN)
    passage.play(talk)
    STOPS[name](passage)
    [stopped] = passage.told
    assert isinstance(stopped, Stopped)
    assert stopped.cut
    before = passage.passed[Side.CLIENT]
    passage.piece(Side.CLIENT, packet(m.REMOVE, uint32(2), A))
    assert not any(passage.passed[Side.CLIENT].removeprefix(before))


def test_a_role_that_allows_both_changes_nothing() -> None:
    """Not even what is no SFTP."""
    talk, passage = SftpTalk(), Passage(Allowed())
    passage.play(talk)
    sent = b"\xff" * 30 + packet(m.REMOVE, uint32(2), A)
    before = passage.passed[Side.CLIENT]
    passage.piece(Side.CLIENT, sent[:31])
    passage.piece(Side.CLIENT, sent[31:])
    assert passage.passed[Side.CLIENT].removeprefix(before) == sent
    assert [type(op) for op in passage.told] == [Stopped]


def packets_of(stream: bytes) -> Iterator[bytes]:
    """What a target would make of it: complete packets, up to the first that is none."""
    at = 0
    while at + 4 <= len(stream):
        size = int.from_bytes(stream[at : at + 4], "big")
        if size < 5 or at + 4 + size > len(stream):
            return
        yield stream[at + 4 : at + 4 + size]
        at += 4 + size


def changes_something(request: bytes, version: int) -> bool:
    """Whether a target that takes this would change anything."""
    kind, reader = request[0], Reader(request[5:])
    try:
        match kind:
            case m.OPEN:
                return m.read_open(reader, version).writes
            case m.EXTENDED:
                return m.read_extension(reader.string(), reader) is not None
            case _:
                return m.read_change(kind, reader) is not None
    except RemoteProtocolError:
        return False


names = st.sampled_from([b"", b"/a", b"posix-rename@openssh.com", b"hardlink@openssh.com", bytes(8), b"/b" * 40])
rests = st.one_of(st.sampled_from([b"", string(b""), string(b"/c")]), st.binary(max_size=12))
pairs = st.builds(lambda one, two, rest: string(one) + string(two) + rest, names, names, rests)
flags = st.sampled_from([uint32(value) for value in (0, 1, 2, 4, 8, 0x1A, 0x20)])
opens = st.builds(lambda name, one, two: string(name) + one + two, names, flags, flags)
kinds = st.sampled_from([*range(3, 24), 200, 201])
requests = st.one_of(
    st.builds(lambda kind, number, fields: packet(kind, uint32(number), fields), kinds, st.integers(0, 99), pairs),
    st.builds(lambda number, fields: packet(m.OPEN, uint32(number), fields), st.integers(0, 99), opens),
    st.binary(max_size=30),
)


@settings(deadline=None, max_examples=3 * settings().max_examples)
@given(
    version=st.sampled_from([3, 4, 5, 6]),
    said=st.lists(requests, max_size=12),
    sizes=st.just([1000]) | st.lists(st.integers(1, 60), min_size=1, max_size=6),
)
def test_nothing_that_changes_the_target_passes(version: int, said: list[bytes], sizes: list[int]) -> None:
    """Whatever a client says, in whatever pieces: what the target gets is never what the role forbids."""
    passage = Passage(ONLY_DOWN).play(SftpTalk(version))
    before = passage.passed[Side.CLIENT]
    for side, data in pieces([(Side.CLIENT, each) for each in said], cycle(sizes)):
        passage.piece(side, data)
    passed = passage.passed[Side.CLIENT].removeprefix(before)
    assert len(passed) == sum(map(len, said))
    assert not any(changes_something(each, version) for each in packets_of(passed))

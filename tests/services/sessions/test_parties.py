"""Taking part, with fakes for the channels: who sees what, who types where, and when a session may go on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace

import pytest

from interlock.core.errors import Denied
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId, SessionId
from interlock.core.limits import MAX_PARTIES
from interlock.domain.access import Access, OnLeave
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.duties import FORWARDER_DUTIES, NONE, RecordingMode
from interlock.domain.identity import Identity
from interlock.domain.party import Participant, Stage
from interlock.domain.recording import Output, Stream
from interlock.domain.session import SessionContext, SessionKind, Start, Window
from interlock.domain.target import SubKind, Target
from interlock.services.sessions import parties as module
from interlock.services.sessions.parties import FLOOD, Parties
from interlock.services.sessions.screens import Remembered, Screens, Source
from interlock.services.sessions.seats import Party
from interlock.testing.stores import FakeTimers

PEER, OBSERVER, MODERATOR = JoinMode.PEER, JoinMode.OBSERVER, JoinMode.MODERATOR
CONTEXT = SessionContext(
    sid=SessionId("d46d710b-24b9-4f86-af68-d7755636b94b"),
    identity=Identity("alice", ("access",), "demo"),
    login="root",
    target=Target(DaemonId("t"), "web1", "10.0.0.5", 22, SubKind.AGENTLESS),
    mode=RecordingMode.PROXY,
    duties=FORWARDER_DUTIES[RecordingMode.PROXY, SubKind.AGENTLESS],
    daemon_id=DaemonId("p"),
    client_addr="192.0.2.7:50022",
)
SHELL = Start(SessionKind.SHELL, window=Window(80, 24), term="xterm")


class FakeHost:
    """The session's server."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.told = b""
        self.typed = b""
        self.takes = 1_000_000

    def hold(self) -> None:
        self.did.append("hold")

    def begin(self) -> None:
        self.did.append("begin")

    def type(self, data: bytes) -> int:
        taken = data[: self.takes]
        self.typed += taken
        self.takes -= len(taken)
        return len(taken)

    def tell(self, data: bytes) -> None:
        self.told += data

    def pause(self) -> None:
        self.did.append("pause")

    def resume(self) -> None:
        self.did.append("resume")

    def terminate(self, text: str) -> None:
        self.did.append(text)


class FakeSeat:
    """A party's channel; ``free`` is cleared while its terminal takes nothing."""

    def __init__(self) -> None:
        self.shown = b""
        self.listening = True
        self.closed: int | None = None
        self.free = asyncio.Event()
        self.free.set()

    @property
    def full(self) -> bool:
        return not self.free.is_set()

    async def taken(self) -> None:
        await self.free.wait()

    def show(self, data: bytes) -> None:
        self.shown += data

    def listen(self, wanted: bool) -> None:
        self.listening = wanted

    def close(self, data: bytes, status: int) -> None:
        if self.closed is None:
            self.shown += data
            self.closed = status


class World:
    """One session and what it tells."""

    def __init__(self, access: Access | None = None, *, duties_here: bool = True) -> None:
        self.events: list[tuple[Kind, Mapping[str, JsonValue]]] = []
        self.people: list[tuple[str, ...]] = []
        self.timers = FakeTimers()
        self.host = FakeHost()
        self.past = Remembered(Window(80, 24))
        self.source: Source = self.past
        self.running = 0
        ctx = replace(CONTEXT, access=access or Access())
        self.parties = Parties(
            ctx if duties_here else replace(ctx, duties=NONE),
            journal=self,
            people=self.people.append,
            running=self._runs,
            screens=Screens(lambda: self.source, lambda: None),
            call_later=self.timers.call_later,
        )
        self.parties.host = self.host

    def add(self, kind: Kind, fields: Mapping[str, JsonValue], *, repeatable: bool = False) -> None:
        del repeatable
        self.events.append((kind, fields))

    def _runs(self) -> None:
        self.running += 1

    def writes(self, data: bytes) -> None:
        """The session writes, and the time to show it comes."""
        self.past.note(Output(Stream.STDOUT, data))
        self.parties.output(data)

    def told(self) -> list[tuple[str, str]]:
        """Events by name and user."""
        return [(kind.event, str(fields["user"])) for kind, fields in self.events]


def somebody(user: str, mode: JoinMode) -> Participant:
    """A participant."""
    return Participant(Identity(user, ("ops",), "demo"), mode, "192.0.2.9:1")


@contextlib.asynccontextmanager
async def attending(
    world: World, user: str, mode: JoinMode, window: Window | None = None
) -> AsyncIterator[tuple[Party, FakeSeat]]:
    """Somebody takes part, and has seen the screen."""
    seat = FakeSeat()
    party = world.parties.enter(somebody(user, mode), seat, window)
    task = asyncio.get_running_loop().create_task(world.parties.attend(party))
    await until(lambda: not party.stale.is_set() and (seat.shown != b"" or seat.full))
    try:
        yield party, seat
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until it holds; the test's time limit ends it."""
    while not condition():  # noqa: ASYNC110 - what is awaited is no event of ours
        await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A party may be shown the screen anew at once."""
    monkeypatch.setattr(module, "RESYNC_S", 0.0)


async def test_a_late_joiner_sees_the_screen_then_what_follows() -> None:
    """And what was written in between once, in one of the two."""
    world = World()
    world.parties.begin(SHELL)
    world.writes(b"before")
    async with attending(world, "bob", OBSERVER) as (_, seat):
        assert b"before" in seat.shown
        assert b"you observe alice's session on web1" in seat.shown
        world.writes(b" after")
        assert b"after" not in seat.shown
        world.timers.fire()
        assert seat.shown.endswith(b" after")
        assert b"bob joined as observer" in world.host.told
    assert world.people == [("alice", "bob")]


async def test_the_middle_of_a_sequence_is_no_place_to_lose_it() -> None:
    """Whoever joins between two packets of one escape sequence or character sees neither half."""
    world = World()
    world.parties.begin(SHELL)
    world.writes(b"\x1b[3")
    async with attending(world, "bob", OBSERVER) as (_, seat):
        so_far = len(seat.shown)
        world.writes(b"1mred\xc3")
        world.timers.fire()
        assert seat.shown[so_far:] == b"\x1b[31mred"
        async with attending(world, "carol", OBSERVER) as (_, second):
            so_far = len(second.shown)
            world.writes(b"\xa9")
            world.timers.fire()
            assert second.shown[so_far:] == "é".encode()
            assert seat.shown.endswith("é".encode())


async def test_what_people_type_goes_where_their_mode_says() -> None:
    """Only a peer's keys reach the session; Ctrl-C takes the others out; t is the moderator's."""
    world = World()
    world.parties.begin(SHELL)
    async with (
        attending(world, "bob", PEER) as (peer, peers),
        attending(world, "carol", OBSERVER) as (observer, observers),
        attending(world, "dora", MODERATOR) as (moderator, _),
    ):
        world.parties.typed(peer, b"ls\r\x03t")
        world.parties.typed(observer, b"rm -rf /\rt")
        world.parties.typed(observer, b"t")
        world.parties.typed(moderator, b"test")
        assert (world.host.typed, world.host.did) == (b"ls\r\x03t", [])
        world.parties.force_terminate(peer)
        world.parties.force_terminate(observer)
        assert world.host.did == []
        world.parties.typed(observer, b"\x03")
        assert (observers.closed, peers.closed) == (0, None)
        assert b"you have left the session" in observers.shown
        world.parties.typed(observer, b"\x03")
        world.parties.typed(moderator, b"t")
        assert world.host.did == ["dora, a moderator, has ended the session."]
        assert b"carol left" in peers.shown
    assert world.told()[:4] == [
        ("session.join", "bob"),
        ("session.join", "carol"),
        ("session.join", "dora"),
        ("session.leave", "carol"),
    ]


async def test_a_peer_waits_for_a_session_that_takes_nothing() -> None:
    """What was not taken is kept, and no more is read until the session is hungry again."""
    world = World()
    world.parties.begin(SHELL)
    world.host.takes = 3
    async with attending(world, "bob", PEER) as (peer, seat):
        world.parties.typed(peer, b"12345")
        assert (world.host.typed, seat.listening) == (b"123", False)
        world.host.takes = 1
        world.parties.hungry()
        assert (world.host.typed, seat.listening) == (b"1234", False)
        world.host.takes = 9
        world.parties.hungry()
        assert (world.host.typed, seat.listening) == (b"12345", True)


async def test_a_slow_terminal_misses_output_and_then_sees_the_screen() -> None:
    """It is not sent what it could not take, and nobody else waits."""
    world = World()
    world.parties.begin(SHELL)
    async with attending(world, "bob", OBSERVER) as (_, slow), attending(world, "carol", OBSERVER) as (_, quick):
        slow.free.clear()
        so_far = len(slow.shown)
        world.writes(b"\x1b[2J\x1b[Hfirst")
        world.timers.fire()
        world.writes(b"\x1b[2J\x1b[Hsecond")
        world.timers.fire()
        assert len(slow.shown) == so_far
        assert quick.shown.endswith(b"second")
        slow.free.set()
        await until(lambda: b"second" in slow.shown)
        assert b"first" not in slow.shown[so_far:]


async def test_a_flood_is_not_shown_byte_by_byte() -> None:
    """More than anybody reads in a moment: the screen, when it is over."""
    world = World()
    world.parties.begin(SHELL)
    async with attending(world, "bob", OBSERVER) as (_, seat):
        so_far = len(seat.shown)
        for _ in range(20):
            world.writes(b"y\r\n" * (FLOOD // 50))
        world.writes(b"\x1b[2J\x1b[Hquiet")
        world.timers.fire()
        await until(lambda: b"quiet" in seat.shown[so_far:])
        assert len(seat.shown) - so_far < FLOOD // 10


async def test_a_terminal_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, with a word."""
    monkeypatch.setattr(module, "PATIENCE_S", 0.0)
    world = World()
    world.parties.begin(SHELL)
    seat = FakeSeat()
    seat.free.clear()
    party = world.parties.enter(somebody("bob", OBSERVER), seat, None)
    await world.parties.attend(party)
    assert seat.closed == 0
    assert b"does not keep up" in seat.shown
    assert world.told() == [("session.join", "bob"), ("session.leave", "bob")]


async def test_sizes() -> None:
    """Whose terminal is too small is told; the session keeps its owner's size."""
    world = World()
    world.parties.begin(SHELL)
    async with attending(world, "bob", OBSERVER, Window(70, 30)) as (party, seat):
        assert b"this session has 80x24, your terminal 70x30" in seat.shown
        world.parties.resized(party, Window(100, 30))
        so_far = len(seat.shown)
        world.parties.resize(Window(120, 24))
        assert b"this session has 120x24, your terminal 100x30" in seat.shown[so_far:]
        assert not world.host.did


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (None, "this session has not begun yet"),
        (Start(SessionKind.EXEC, "rsync"), "this session has no terminal that could be shared"),
    ],
)
def test_what_cannot_be_joined(start: Start | None, text: str) -> None:
    """Nothing to see, or nothing yet."""
    world = World()
    if start is not None:
        world.parties.begin(start)
    with pytest.raises(Denied, match=text):
        world.parties.enter(somebody("bob", OBSERVER), FakeSeat(), None)
    assert not world.events


async def test_the_end() -> None:
    """Everybody is told, once, and nobody comes in any more."""
    world = World()
    world.parties.begin(SHELL)
    async with attending(world, "bob", PEER) as (party, seat):
        world.writes(b"last words")
        world.parties.ended()
        world.parties.ended()
        assert b"last words" in seat.shown
        assert b"the session has ended" in seat.shown
        assert seat.closed == 0
        world.parties.typed(party, b"x")
        world.parties.leave(party)
        world.parties.output(b"late")
    assert not world.timers.pending
    assert world.told() == [("session.join", "bob"), ("session.leave", "bob")]
    assert world.parties.participants == ("alice", "bob")
    with pytest.raises(Denied, match="has ended"):
        world.parties.enter(somebody("carol", PEER), FakeSeat(), None)


def test_people_are_bounded() -> None:
    """Each costs a filter's work and a queue."""
    world = World()
    world.parties.begin(SHELL)
    for number in range(MAX_PARTIES):
        world.parties.enter(somebody(f"u{number}", OBSERVER), FakeSeat(), None)
    with pytest.raises(Denied, match="people in this session already"):
        world.parties.enter(somebody("one-more", OBSERVER), FakeSeat(), None)


# --- moderation ------------------------------------------------------------------------------------


async def test_a_moderated_session_from_waiting_to_its_end() -> None:
    """Held, begun, paused within the very call that reports the moderator gone (R30), resumed."""
    world = World(Access(require_moderators=1))
    world.parties.begin(SHELL)
    assert (world.parties.stage, world.host.did, world.parties.waiting) == (Stage.WAITING, ["hold"], True)
    assert b"waiting for 1 moderator before the session begins; Ctrl-C gives up" in world.host.told
    async with attending(world, "carol", PEER) as (peer, seat):
        assert b"the session is waiting: it needs 1 moderator more" in seat.shown
        world.parties.typed(peer, b"early")
        async with attending(world, "bob", MODERATOR) as (moderator, _):
            assert (world.host.did, world.running) == (["hold", "begin"], 1)
            world.parties.typed(peer, b"ls")
            assert world.host.typed == b"ls"
            world.parties.leave(moderator)
            assert world.host.did[-1] == "pause"
            assert world.parties.stage is Stage.PAUSED
        world.parties.typed(peer, b"rm")
        world.writes(b"secret")
        assert not world.timers.pending
        assert b"the session is paused: it needs 1 moderator more" in seat.shown
        assert b"the session is paused" in world.host.told
        async with attending(world, "bob", MODERATOR):
            assert world.host.did == ["hold", "begin", "pause", "resume"]
            assert world.host.typed == b"ls"
            await until(lambda: b"secret" in seat.shown)
            world.parties.ended()
    assert world.running == 1


def test_the_owner_gives_up_waiting() -> None:
    """Ctrl-C, and nothing else, and only then."""
    world = World(Access(require_moderators=1))
    world.parties.begin(SHELL)
    world.parties.typed_while_held(b"ls\r")
    assert world.host.did == ["hold"]
    world.parties.typed_while_held(b"x\x03")
    assert world.host.did == ["hold", "You gave up waiting for a moderator."]


def test_a_session_ends_with_its_moderator_if_the_role_says_so() -> None:
    """``on_leave=terminate``."""
    world = World(Access(require_moderators=1, on_leave=OnLeave.TERMINATE))
    world.parties.begin(SHELL)
    party = world.parties.enter(somebody("bob", MODERATOR), FakeSeat(), None)
    world.parties.leave(party)
    assert world.host.did == ["hold", "begin", "A moderator has left, so the session ends."]


def test_the_owner_does_not_moderate() -> None:
    """Neither does one moderator count twice."""
    world = World(Access(require_moderators=2))
    world.parties.begin(SHELL)
    for user in ("bob", "bob", "alice"):
        world.parties.enter(somebody(user, MODERATOR), FakeSeat(), None)
    assert world.host.did == ["hold"]
    world.parties.enter(somebody("carol", MODERATOR), FakeSeat(), None)
    assert world.host.did == ["hold", "begin"]


def test_nothing_runs_that_cannot_be_watched() -> None:
    """A moderated person needs a terminal; others do not."""
    command = Start(SessionKind.EXEC, "rsync")
    World().parties.check(command)
    moderated = World(Access(require_moderators=1))
    moderated.parties.check(SHELL)
    with pytest.raises(Denied, match="use ssh -t"):
        moderated.parties.check(command)


def test_what_is_only_forwarded_waits_for_nobody() -> None:
    """A connection without a session has nothing to watch; the role says elsewhere what may be forwarded."""
    moderated = World(Access(require_moderators=1))
    moderated.parties.check(Start(SessionKind.CONNECTION))
    moderated.parties.begin(Start(SessionKind.CONNECTION))
    assert not moderated.parties.waiting


def test_only_one_server_of_a_session_moderates_it() -> None:
    """Who tells of a session; the other one would wait for people who come to the first."""
    world = World(Access(require_moderators=1), duties_here=False)
    world.parties.check(Start(SessionKind.EXEC, "rsync"))
    world.parties.begin(SHELL)
    assert not world.parties.waiting

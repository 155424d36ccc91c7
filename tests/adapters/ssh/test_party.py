"""Joining and moderating sessions that the proxy records: asyncssh peers, real sockets, an agentless target."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncssh
import pytest

from interlock.core.extensions import JoinMode, SessionParams
from interlock.core.ids import SessionId
from interlock.domain.access import OnLeave, RoleOptions
from interlock.domain.audit import JsonValue
from interlock.domain.lock import Lock, LockKind, LockList
from interlock.domain.screen import Screen
from interlock.testing.clock import START
from interlock.testing.plain_target import plain_target
from interlock.testing.ssh_pair import Gateway

pytestmark = pytest.mark.slow

ALL = tuple(JoinMode)
PROHIBITED, FAILED = asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, asyncssh.OPEN_CONNECT_FAILED


class Person:
    """Somebody with a terminal: what they see is what a terminal would show."""

    def __init__(self, process: asyncssh.SSHClientProcess[bytes], cols: int, rows: int) -> None:
        self.process = process
        self.screen = Screen(cols, rows)
        self.raw = b""
        self.told = ""  # on standard error, which has the gateway's last words

    def type(self, text: str) -> None:
        """Press keys."""
        self.process.stdin.write(text.encode())

    @property
    def shown(self) -> str:
        """What is on the screen."""
        return "\n".join(self.screen.lines)

    async def sees(self, text: str, within: float = 10.0) -> None:
        """Wait until it is on the screen; AssertionError with what is there instead."""
        try:
            async with asyncio.timeout(within):
                while text not in self.shown:
                    data = await self.process.stdout.read(65536)
                    assert data, f"ended without {text!r}:\n{self.shown}"
                    self.raw += data
                    self.screen.feed(data)
        except TimeoutError:
            raise AssertionError(f"no {text!r} on the screen:\n{self.shown}") from None

    async def ended(self) -> int | None:
        """Wait for the channel's end; the exit status."""
        async with asyncio.timeout(10):
            self.raw += await self.process.stdout.read()
            self.told += (await self.process.stderr.read()).decode()
            return (await self.process.wait()).exit_status


@contextlib.asynccontextmanager
async def person(
    world: Gateway,
    name: str,
    *,
    user: str = "",
    target: str = "plain1",
    size: tuple[int, int] = (80, 24),
    **more: Any,
) -> AsyncIterator[Person]:
    """A person with a shell on a terminal: on the target, or where ``user`` leads."""
    async with (
        await world.client(target, user=user, as_user=name) as connection,
        connection.create_process(term_type="xterm", term_size=size, encoding=None, **more) as process,
    ):
        yield Person(process, *size)


@pytest.fixture
async def shared(world: Gateway) -> AsyncIterator[Gateway]:
    """A gateway with a target that echoes, and bob, who may join in any mode."""
    world.add_person("bob", RoleOptions(join_sessions=ALL))
    async with plain_target(world):
        yield world


def sid_of(world: Gateway) -> str:
    """The one session."""
    return next(session.sid for session in world.sessions.live if session.ctx.duties.records)


async def told(world: Gateway, event: str) -> list[dict[str, JsonValue]]:
    """The events of this name."""
    return await world.events(event)


async def refusal(world: Gateway, user: str, *, as_user: str = "bob") -> asyncssh.ChannelOpenError:
    """How the channel of somebody who wants to join is refused."""
    async with await world.client("plain1", user=user, as_user=as_user) as connection:
        try:
            await connection.create_process(term_type="xterm", encoding=None)
        except asyncssh.ChannelOpenError as refused:
            return refused
    raise AssertionError("nobody refused")


async def test_an_observer_sees_the_screen_and_what_follows(shared: Gateway) -> None:
    """Not the history: what was erased is not seen. What the observer types does nothing."""
    async with person(shared, "alice") as alice:
        alice.type("old news\x1b[2J\x1b[3;5Hin the middle")
        await alice.sees("in the middle")
        async with person(shared, "bob", user=f"join%{sid_of(shared)}") as bob:
            await bob.sees("you observe alice's session on plain1")
            assert bob.screen.lines[2].startswith("    in the middle")
            assert "old news" not in bob.raw.decode()
            await alice.sees("bob joined as observer")
            bob.type("hello from bob\r")
            alice.type("\x1b[10;1Hstill alice")
            await bob.sees("still alice")
            bob.type("\x03")
            assert await bob.ended() == 0
        await alice.sees("bob left")
        assert "hello from bob" not in alice.shown
        alice.process.stdin.write_eof()
    joined, left = await told(shared, "session.join"), await told(shared, "session.leave")
    assert [(each["code"], each["user"], each["participant_mode"]) for each in joined] == [
        ("T2001I", "bob", "observer")
    ]
    assert [(each["code"], each["user"]) for each in left] == [("T2003I", "bob"), ("T2003I", "alice")]
    (end,) = await told(shared, "session.end")
    assert end["participants"] == ["alice", "bob"]
    order = [each["event"] for each in await told(shared, "") if each.get("sid") == end["sid"]]
    assert order[:5] == ["session.start", "session.join", "session.leave", "session.end", "session.leave"]


async def test_a_peer_types(shared: Gateway) -> None:
    """Both see both; the owner's own typing goes on to arrive."""
    async with person(shared, "alice") as alice:
        alice.type("one ")
        await alice.sees("one")
        async with person(shared, "bob", user=f"join-peer%{sid_of(shared)}") as bob:
            await bob.sees("you take part")
            bob.type("\x1b[5;1Hfrom bob ")
            await alice.sees("from bob")
            await bob.sees("from bob")
            alice.type("and alice")
            await bob.sees("from bob and alice")
        alice.process.stdin.write_eof()


async def test_only_the_owners_terminal_answers(shared: Gateway) -> None:
    """A query reaches the owner's terminal and no other: an answer would count as typed (R24)."""
    async with person(shared, "alice") as alice:
        alice.type("ready")
        await alice.sees("ready")
        async with person(shared, "bob", user=f"join-peer%{sid_of(shared)}") as bob:
            await bob.sees("you take part")
            alice.type("\x1b[6n\x1b]52;c;?\x07\x1b[c\x1b]0;title\x07\x1b[?1h done")
            await bob.sees("done")
            await alice.sees("done")
        for query in (b"\x1b[6n", b"\x1b]52", b"\x1b[c", b"\x1b]0;"):
            assert query in alice.raw
            assert query not in bob.raw
        assert b"\x1b[?1h" in bob.raw
        alice.process.stdin.write_eof()


async def test_a_moderator_ends_the_session(shared: Gateway) -> None:
    """With one key; everybody reads who did it."""
    async with person(shared, "alice") as alice:
        alice.type("busy")
        await alice.sees("busy")
        async with (
            person(shared, "bob", user=f"join-moderator%{sid_of(shared)}") as bob,
            person(shared, "alice", user=f"join%{sid_of(shared)}") as second,
        ):
            await bob.sees("you moderate")
            await second.sees("you observe")
            second.type("t")
            bob.type("t")
            assert await bob.ended() == 0
            assert await second.ended() == 0
            await alice.ended()
    assert "bob, a moderator, has ended the session" in alice.told
    assert "the session has ended" in second.raw.decode()
    (end,) = await told(shared, "session.end")
    assert end["participants"] == ["alice", "bob"]


async def test_a_moderators_client_ends_the_session_by_request(shared: Gateway) -> None:
    """``x-teleport-force-terminate``, as the field's clients do."""
    async with person(shared, "alice") as alice:
        alice.type("busy")
        await alice.sees("busy")
        async with person(shared, "bob", user=f"join-moderator%{sid_of(shared)}") as bob:
            await bob.sees("you moderate")
            bob.process.channel._send_request(b"x-teleport-force-terminate")
            assert await bob.ended() == 0
            await alice.ended()


async def test_the_mode_may_come_by_the_environment(shared: Gateway) -> None:
    """Of clients that can say no other user name."""
    async with person(shared, "alice") as alice:
        alice.type("busy")
        await alice.sees("busy")
        user = f"join%{sid_of(shared)}"
        async with person(shared, "bob", user=user, env={"TELEPORT_SSH_JOIN_MODE": "peer"}) as bob:
            await bob.sees("you take part")
        async with person(shared, "bob", user=user, env={"TELEPORT_SSH_JOIN_MODE": "boss"}) as bob:
            assert await bob.ended() == 254
            assert "there is no mode 'boss'" in bob.raw.decode()
        alice.process.stdin.write_eof()


async def test_sizes(shared: Gateway) -> None:
    """The session has its owner's size; everybody whose terminal is smaller is told, at every change."""
    async with person(shared, "alice", size=(100, 30)) as alice:
        alice.type("wide")
        await alice.sees("wide")
        async with person(shared, "bob", user=f"join%{sid_of(shared)}") as bob:
            await bob.sees("this session has 100x30, your terminal 80x24")
            bob.process.change_terminal_size(120, 40)
            bob.screen.resize(120, 40)
            alice.process.change_terminal_size(130, 30)
            await bob.sees("this session has 130x30, your terminal 120x40")
        alice.process.stdin.write_eof()
    assert [each["size"] for each in await told(shared, "resize")] == ["130:30"]


@pytest.mark.parametrize(
    ("user", "code", "text"),
    [
        ("join%00000000-0000-4000-8000-000000000000", FAILED, "there is no session"),
        ("join-moderator%{ended}", FAILED, "this session has ended"),
        ("join%{command}", PROHIBITED, "no terminal that could be shared"),
        ("join%{foreign}", PROHIBITED, "belongs to the cluster elsewhere"),
    ],
)
async def test_an_impossible_session_is_refused_when_the_channel_opens(
    shared: Gateway, user: str, code: int, text: str
) -> None:
    """With the reason, and an event."""
    async with person(shared, "alice") as alice:
        alice.type("x")
        await alice.sees("x")
        ended = sid_of(shared)
        alice.process.stdin.write_eof()
        await alice.ended()
    async with (
        await shared.client("plain1") as connection,
        connection.create_process("cat", encoding=None) as process,
    ):
        process.stdin.write(b"x")
        assert await process.stdout.read(1) == b"x"
        command = sid_of(shared)
        foreign = await _foreign(shared, command)
        refused = await refusal(shared, user.format(ended=ended, command=command, foreign=foreign))
        del shared.trackers.stored[foreign]
        process.stdin.write_eof()
    assert (refused.code, text in refused.reason) == (code, True), refused.reason
    (event,) = [each for each in await told(shared, "session.rejected") if each["user"] == "bob"]
    assert text in str(event["message"])


async def _foreign(world: Gateway, like: str) -> Any:
    """A live session of another cluster."""
    foreign = SessionId("11111111-0000-4000-8000-000000000000")
    tracker = world.trackers.stored[SessionId(like)]
    world.trackers.stored[foreign] = replace(tracker, sid=foreign, cluster="elsewhere")
    return foreign


@pytest.mark.parametrize(
    ("options", "user", "text"),
    [
        (RoleOptions(), "join", "no role of yours lets you join"),
        (
            RoleOptions(join_sessions=(JoinMode.OBSERVER,)),
            "join-peer",
            "you may join this session as observer only",
        ),
    ],
)
async def test_who_may_not_join_is_refused(shared: Gateway, options: RoleOptions, user: str, text: str) -> None:
    """Deny by default, mode by mode."""
    shared.add_person("carol", options)
    async with person(shared, "alice") as alice:
        alice.type("secret")
        await alice.sees("secret")
        refused = await refusal(shared, f"{user}%{sid_of(shared)}", as_user="carol")
        assert (refused.code, text in refused.reason) == (PROHIBITED, True)
        refused = await refusal(shared, f"join-moderator%{sid_of(shared)}", as_user="alice")
        assert "nobody moderates their own session" in refused.reason
        alice.process.stdin.write_eof()
    assert not await told(shared, "session.join")


async def test_the_end_of_a_session_is_the_end_of_a_connection_to_it(shared: Gateway) -> None:
    """Another channel is refused, since it is asked anew."""
    async with person(shared, "alice") as alice:
        alice.type("x")
        await alice.sees("x")
        async with await shared.client("plain1", user=f"join%{sid_of(shared)}", as_user="bob") as connection:
            process = await connection.create_process(term_type="xterm", encoding=None)
            assert await process.stdout.read(1)
            alice.process.stdin.write_eof()
            await alice.ended()
            with pytest.raises(asyncssh.ChannelOpenError, match="this session has ended"):
                await connection.create_process(term_type="xterm", encoding=None)


async def test_a_lock_ends_taking_part(shared: Gateway) -> None:
    """Whoever is locked out sees nothing more, and the session they were in goes on."""
    lock = Lock("l1", LockKind.USER, "bob", START, "call 4711")
    async with person(shared, "alice") as alice:
        alice.type("x")
        await alice.sees("x")
        async with await shared.client("plain1", user=f"join%{sid_of(shared)}", as_user="bob") as connection:
            process = await connection.create_process(term_type="xterm", encoding=None)
            assert await process.stdout.read(1)
            shared.locks.stored = [lock]
            shared.locks.tell(LockList((lock,)))
            await connection.wait_closed()
        await alice.sees("bob left")
        alice.process.stdin.write_eof()


async def test_a_joined_connection_is_good_for_nothing_else(shared: Gateway) -> None:
    """No command, no forwarding; parameters that ask to join are refused where they do not belong."""
    async with person(shared, "alice") as alice:
        alice.type("x")
        await alice.sees("x")
        async with await shared.client("plain1", user=f"join%{sid_of(shared)}", as_user="bob") as connection:
            with pytest.raises(asyncssh.ChannelOpenError, match="can forward nothing"):
                await connection.open_connection("127.0.0.1", 22)
            process = await connection.create_process(term_type="xterm", encoding=None)
            assert await process.stdout.read(1)
            process.close()
        alice.process.stdin.write_eof()
    assert SessionParams(join_mode=JoinMode.PEER).encode()


async def test_r30_a_moderated_session_waits_and_pauses(shared: Gateway) -> None:
    """Nothing runs before a moderator is there; it pauses at once when the last one leaves (R30), and goes on."""
    shared.add_person("mallory", RoleOptions(require_moderators=1))
    async with person(shared, "mallory") as mallory:
        await mallory.sees("waiting for 1 moderator")
        mallory.type("too early")
        sid = sid_of(shared)
        async with person(shared, "bob", user=f"join-moderator%{sid}") as bob:
            await bob.sees("you moderate")
            await mallory.sees("the session begins")
            mallory.type("\x1b[2J\x1b[2;1Hwatched")
            await bob.sees("watched")
            assert "too early" not in mallory.shown
            bob.type("\x03")
            assert await bob.ended() == 0
        await mallory.sees("the session is paused: it needs 1 moderator more")
        mallory.type("\x1b[3;1Hunwatched")
        async with person(shared, "bob", user=f"join%{sid}") as watching:
            await watching.sees("the session is paused")
        async with person(shared, "bob", user=f"join-moderator%{sid}") as bob:
            await mallory.sees("the session goes on")
            mallory.type("\x1b[4;1Hwatched again")
            await bob.sees("watched again")
            assert "unwatched" not in mallory.shown
            mallory.process.stdin.write_eof()
            await mallory.ended()


async def test_people_give_up_waiting(shared: Gateway) -> None:
    """Ctrl-C, before anybody has come."""
    shared.add_person("mallory", RoleOptions(require_moderators=2))
    async with person(shared, "mallory") as mallory:
        await mallory.sees("waiting for 2 moderators")
        mallory.type("\x03")
        await mallory.ended()
    assert "gave up waiting" in mallory.told


async def test_a_session_may_end_when_its_moderator_leaves(shared: Gateway) -> None:
    """If the role says so."""
    shared.add_person("mallory", RoleOptions(require_moderators=1, on_leave=OnLeave.TERMINATE))
    async with person(shared, "mallory") as mallory:
        await mallory.sees("waiting for 1 moderator")
        async with person(shared, "bob", user=f"join-moderator%{sid_of(shared)}") as bob:
            await mallory.sees("the session begins")
            del bob
        await mallory.ended()
    assert "a moderator has left" in mallory.told.lower()


async def test_one_moderator_with_two_terminals_counts_once(shared: Gateway) -> None:
    """People moderate, not terminals."""
    shared.add_person("mallory", RoleOptions(require_moderators=2))
    shared.add_person("carol", RoleOptions(join_sessions=ALL))
    async with person(shared, "mallory") as mallory:
        await mallory.sees("waiting for 2 moderators")
        user = f"join-moderator%{sid_of(shared)}"
        async with person(shared, "bob", user=user) as one, person(shared, "bob", user=user) as two:
            await one.sees("it needs 1 moderator more")
            await two.sees("it needs 1 moderator more")
            async with person(shared, "carol", user=user):
                await mallory.sees("the session begins")
                mallory.process.stdin.write_eof()
                await mallory.ended()


@pytest.mark.parametrize("command", ["cat", None])
async def test_a_moderated_person_runs_nothing_without_a_terminal(shared: Gateway, command: str | None) -> None:
    """Nobody could watch it."""
    shared.add_person("mallory", RoleOptions(require_moderators=1))
    async with (
        await shared.client("plain1", as_user="mallory") as connection,
        connection.create_process(command, encoding=None) as process,
    ):
        assert "must be moderated, which needs a terminal" in (await process.stderr.read()).decode()
        assert (await process.wait()).exit_status == 254
    assert not await told(shared, "session.start")


async def test_a_flood_is_not_slowed_by_who_watches(shared: Gateway) -> None:
    """Whoever cannot keep up is shown the screen as it is then, not the megabytes in between."""
    size = 8_000_000
    async with (
        await shared.client("plain1") as connection,
        connection.create_process(f"send {size}", term_type="xterm", encoding=None) as alice,
    ):
        got = len(await alice.stdout.read(1000))
        async with person(shared, "bob", user=f"join%{sid_of(shared)}") as bob:
            await bob.sees("you observe")
            while data := await alice.stdout.read(65536):
                got += len(data)
            assert await bob.ended() == 0
        assert len(bob.raw) < size
    assert size <= got < size + 1000  # with notices, if the owner's window had room for them

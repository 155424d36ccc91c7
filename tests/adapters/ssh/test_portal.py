"""The portal over a real SSH connection: sign-in, requests, recordings, and what it refuses."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from typing import Any

import asyncssh
import pytest

from interlock.adapters.ssh.portal import (
    CODE_ASKED,
    HINT,
    MAX_ATTEMPTS,
    Challenge,
    KeyboardInteractive,
    PortalSession,
)
from interlock.adapters.ssh.portal_client import Gateway, HostIdentity, PortalClient, connect
from interlock.core import portal as wire
from interlock.core.errors import Denied, InterlockError, NotFound, RecordingError, SignInFailed, StoreError
from interlock.services.access.caller import Caller
from interlock.services.portal.playback import Download
from interlock.services.signin.signin import Confirmation, Judgement, SignInResult
from interlock.testing.clock import START


@dataclass
class Passwords:
    """alice has a password, olga a one-time password."""

    known: dict[str, str] = field(default_factory=lambda: {"alice": "right", "olga": "one-time"})
    broken: bool = False
    careful: tuple[str, ...] = ()  # who has a second factor

    async def check(self, user: str, password: str, *, source: str, code: str = "") -> Judgement:
        if self.broken:
            raise StoreError("disk", reason=source)
        if self.known.get(user) != password or code not in ("", "123456"):
            raise SignInFailed("sign-in failed", reason=f"{user} from {source}")
        if password == "one-time":
            return Judgement(SignInResult.MUST_CHANGE)
        return self._second(user, code)

    async def change(self, user: str, old: str, new: str, *, source: str, code: str = "") -> Judgement:
        if self.known.get(user) != old or code not in ("", "123456"):
            raise SignInFailed("sign-in failed", reason=f"{user} from {source}")
        if len(new) < 3:
            raise Denied("the new password is too short")
        judged = self._second(user, code)
        if judged.result is SignInResult.OK:
            self.known[user] = new
        return judged

    async def confirm(
        self, user: str, code: str, *, source: str, certificate: bytes = b"", session: bytes = b""
    ) -> Confirmation:
        raise AssertionError(user, code, source, certificate, session)

    def _second(self, user: str, code: str) -> Judgement:
        if user not in self.careful:
            return Judgement(SignInResult.OK)
        return Judgement(SignInResult.OK, "phone") if code else Judgement(SignInResult.NEEDS_CODE)


class Portal:
    """Answers from a script."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, wire.AnyRequest]] = []
        self.pieces: list[bytes | Exception] = []
        self.sent = 0  # pieces that were asked for
        self.closed = asyncio.Event()  # the recording's reader was closed

    async def answer(self, caller: Caller, request: wire.AnyRequest) -> wire.AnyReply | Download:
        self.asked.append((caller.user, request))
        match request:
            case wire.WhoAmI():
                return wire.Myself(caller.user, "test", [], [], list(caller.methods), None)
            case wire.Nodes():
                raise RuntimeError("a bug")
            case wire.Sessions():
                return wire.Refused("denied", "not for you")
            case wire.Recording(sid):
                return Download(wire.Stream(sid), self.read())
            case _:
                return wire.Refused("not-found", "no such thing")

    async def read(self) -> AsyncGenerator[bytes, None]:
        try:
            for piece in self.pieces:
                self.sent += 1
                if isinstance(piece, Exception):
                    raise piece
                yield piece
        finally:
            self.closed.set()


class Server(asyncssh.SSHServer):
    """Plain users, as the proxy will do it."""

    def __init__(self, portal: Portal, passwords: Passwords) -> None:
        self._portal = portal
        self._passwords = passwords
        self._questions: KeyboardInteractive | None = None

    def begin_auth(self, username: str) -> bool:
        self._questions = KeyboardInteractive(self._passwords, username, "192.0.2.1:1")
        self._user = username
        return True

    def kbdint_auth_supported(self) -> bool:
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> Challenge:  # noqa: ARG002
        assert self._questions is not None
        return self._questions.challenge(username)

    def validate_kbdint_response(self, username: str, responses: Any) -> Awaitable[Challenge]:
        assert self._questions is not None
        return self._questions.respond(username, responses)

    def session_requested(self) -> PortalSession:
        return PortalSession(self._portal, Caller(self._user, None, ("keyboard-interactive",), START))


@dataclass
class TrustAll:
    """Trusts whatever it is shown."""

    host_ca: tuple[str, ...] = ()

    def judge(self, shown: HostIdentity) -> bool:
        return bool(shown.fingerprint)


@dataclass
class Answers:
    """Answers in order; what was asked is kept."""

    texts: list[str]
    asked: list[tuple[str, str]] = field(default_factory=list)
    attempts: int = 1

    def attempt(self) -> bool:
        self.attempts -= 1
        return self.attempts >= 0

    def answer(self, instruction: str, prompt: str, *, echo: bool) -> str:
        assert not echo
        self.asked.append((instruction, prompt))
        return self.texts.pop(0)


class World:
    """A server on loopback and connections to it."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.portal = Portal()
        self.passwords = Passwords()
        self.port = 0
        self._stack = stack

    async def start(self) -> None:
        acceptor = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=lambda: Server(self.portal, self.passwords),
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            encoding=None,
            line_editor=False,
        )
        self.port = acceptor.get_port()

        async def stop() -> None:
            acceptor.close()
            await acceptor.wait_closed()

        self._stack.push_async_callback(stop)

    async def client(self, user: str, *texts: str) -> PortalClient:
        gateway = Gateway("127.0.0.1", self.port, user)
        return await self._stack.enter_async_context(connect(gateway, TrustAll(), answers=Answers(list(texts))))

    async def raw(self) -> asyncssh.SSHClientConnection:
        conn = await asyncssh.connect(
            "127.0.0.1",
            self.port,
            username="alice",
            password="right",
            known_hosts=None,
            config=None,
            client_keys=None,
        )
        return await self._stack.enter_async_context(conn)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A gateway's portal on loopback."""
    async with AsyncExitStack() as stack:
        made = World(stack)
        await made.start()
        yield made


async def test_a_user_signs_in_and_asks_several_things(world: World) -> None:
    """One connection carries any number of requests, in order, as the user who signed in."""
    client = await world.client("alice", "right")
    myself = await client.ask(wire.WhoAmI(), wire.Myself)
    assert (myself.user, myself.methods) == ("alice", ["keyboard-interactive"])
    with pytest.raises(NotFound, match="no such thing"):
        await client.ask(wire.Cluster(), wire.ClusterInfo)
    with pytest.raises(Denied, match="not for you"):
        await client.ask(wire.Sessions(), wire.SessionList)
    assert [user for user, _ in world.portal.asked] == ["alice"] * 3


async def test_a_wrong_password_and_an_unknown_user_look_the_same(world: World) -> None:
    """Neither text nor kind of the failure says which it was."""
    texts = set()
    for user in ("alice", "nobody"):
        with pytest.raises(SignInFailed) as caught:
            await world.client(user, "wrong")
        texts.add(caught.value.public)
    assert len(texts) == 1


async def test_a_one_time_password_is_changed_in_the_same_sign_in(world: World) -> None:
    """Too short and unequal ones are asked for again, with the reason; the person ends signed in."""
    answers = Answers(["one-time", "ab", "ab", "first", "second", "longer", "longer"])
    gateway = Gateway("127.0.0.1", world.port, "olga")
    async with connect(gateway, TrustAll(), answers=answers) as client:
        assert (await client.ask(wire.WhoAmI(), wire.Myself)).user == "olga"
    assert world.passwords.known["olga"] == "longer"
    assert [asked for asked in answers.asked if "Repeat" not in asked[1]] == [
        ("", "Password: "),
        ("Your password is a one-time password: choose a new one.", "New password: "),
        ("the new password is too short", "New password: "),
        ("The two new passwords differ.", "New password: "),
    ]


async def test_a_broken_store_is_a_failed_sign_in(world: World) -> None:
    """Nobody gets in because the database is away, and nobody reads that his password is wrong."""
    world.passwords.broken = True
    with pytest.raises(SignInFailed, match=r"^sign-in failed: disk$"):
        await world.client("alice", "right")


async def test_questions_are_for_one_user_and_end() -> None:
    """Another name, answers to no question, and endless rounds all fail."""
    questions = KeyboardInteractive(Passwords(), "alice", "192.0.2.1:1")
    assert questions.challenge("bob") is False
    assert await questions.respond("alice", ["right"]) is False
    assert questions.challenge("alice") == ("", "", "", [("Password: ", False)])
    assert await questions.respond("bob", ["right"]) is False
    assert await questions.respond("alice", ["right"]) is False
    questions.challenge("alice")
    assert await questions.respond("alice", ["right", "more"]) is False
    for _ in range(2, MAX_ATTEMPTS):
        assert questions.challenge("alice")
    assert questions.challenge("alice") is False


@pytest.mark.parametrize(("user", "password"), [("alice", "right"), ("olga", "one-time")])
async def test_who_has_a_second_factor_is_asked_for_it_last(user: str, password: str) -> None:
    """A wrong code fails like a wrong password, from the beginning; nothing was changed by it."""
    passwords = Passwords(careful=("alice", "olga"))
    asked = ("", CODE_ASKED, "", [("Code: ", True)])
    for code, verdict in (("999999", False), ("123456", True)):
        questions = KeyboardInteractive(passwords, user, "192.0.2.1:1")
        assert questions.challenge(user)
        said = await questions.respond(user, [password])
        if password == "one-time":
            assert said == questions._ask_new("Your password is a one-time password: choose a new one.")
            said = await questions.respond(user, ["new password", "new password"])
        assert said == asked
        assert await questions.respond(user, [code]) is verdict
        assert questions.device == ("phone" if verdict else "")
        assert (passwords.known[user] == "new password") == (verdict and password == "one-time")


async def test_a_recording_is_streamed_whole(world: World) -> None:
    """All pieces arrive in order, and the connection serves on."""
    world.portal.pieces = [b"one", b"", b"x" * 700_000, b"end"]
    client = await world.client("alice", "right")
    received = b"".join([piece async for piece in client.download("sid")])
    assert received == b"one" + b"x" * 700_000 + b"end"
    assert (await client.ask(wire.WhoAmI(), wire.Myself)).user == "alice"


@pytest.mark.parametrize("failure", [RecordingError("a block is damaged"), OSError("I/O error")])
async def test_a_recording_that_breaks_off_is_not_taken_for_a_whole_one(world: World, failure: Exception) -> None:
    """What was read arrives, and then an error."""
    world.portal.pieces = [b"one", failure]
    client = await world.client("alice", "right")
    async with aclosing(client.download("sid")) as pieces:
        assert await anext(pieces) == b"one"
        with pytest.raises(InterlockError, match=r"damaged|could not be read"):
            await anext(pieces)
    assert world.portal.closed.is_set()


async def test_a_recording_waits_for_a_slow_reader_and_is_closed_when_the_reader_goes(world: World) -> None:
    """Back-pressure: the gateway reads ahead by windows, not by gigabytes; a client that leaves frees the file."""
    world.portal.pieces = [b"x" * 256 * 1024] * 400
    client = await world.client("alice", "right")
    async with aclosing(client.download("sid")) as pieces:
        await anext(pieces)
        for _ in range(3):
            assert (await (await world.client("alice", "right")).ask(wire.WhoAmI(), wire.Myself)).user == "alice"
        assert world.portal.sent < 100
    conn_gone = world._stack.pop_all()
    await conn_gone.aclose()
    await asyncio.wait_for(world.portal.closed.wait(), 5)


async def test_a_bug_is_one_refused_request_and_no_lost_connection(world: World) -> None:
    """The person reads one sentence; the next request is answered."""
    client = await world.client("alice", "right")
    with pytest.raises(InterlockError, match="see its log"):
        await client.ask(wire.Nodes(), wire.NodeList)
    assert (await client.ask(wire.WhoAmI(), wire.Myself)).user == "alice"


async def test_pipelined_requests_are_answered_in_order_and_the_channel_ends_with_the_last(world: World) -> None:
    """EOF after the requests loses none of them; the exit status is 0."""
    conn = await world.raw()
    process = await conn.create_process(subsystem=wire.SUBSYSTEM, encoding=None)
    process.stdin.write(wire.encode(wire.WhoAmI()) * 3 + b'{"type":"reboot"}\n' + wire.encode(wire.WhoAmI()))
    process.stdin.write_eof()
    replies = [wire.parse_reply(line) async for line in process.stdout if line]
    assert [type(reply).__name__ for reply in replies] == ["Myself"] * 3 + ["Refused", "Myself"]
    assert isinstance(replies[3], wire.Refused)
    assert replies[3].why == "malformed"
    assert (await process.wait()).exit_status == 0


async def test_a_line_without_end_is_cut_off(world: World) -> None:
    """More than the limit without a line feed ends the channel with a word about it."""
    conn = await world.raw()
    process = await conn.create_process(subsystem=wire.SUBSYSTEM, encoding=None)
    process.stdin.write(b"x" * (wire.MAX_REQUEST + 1))
    done = await process.wait()
    assert done.exit_status == 1
    assert isinstance(done.stdout, bytes)
    assert b"longer than allowed" in done.stdout


Ask = Callable[[asyncssh.SSHClientConnection], Awaitable[asyncssh.SSHCompletedProcess]]


@pytest.mark.parametrize(
    "ask",
    [lambda conn: conn.run(), lambda conn: conn.run("id"), lambda conn: conn.run(term_type="xterm")],
    ids=["shell", "exec", "pty"],
)
async def test_the_gateway_gives_no_shell_but_says_how_to_get_one(world: World, ask: Ask) -> None:
    """Exit status 1 and one sentence on stderr."""
    done = await asyncio.wait_for(ask(await world.raw()), 5)
    assert done.exit_status == 1
    assert isinstance(done.stderr, str)
    assert done.stderr.strip() == HINT


async def test_other_subsystems_are_refused(world: World) -> None:
    """sftp on the gateway itself would be a way around the node's rules."""
    conn = await world.raw()
    with pytest.raises(asyncssh.ChannelOpenError):
        await conn.create_process(subsystem="sftp")

"""R6 and R8: what policy says holds on every way to a target, and what cannot be read in full permits nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import asyncssh
import pytest

from interlock.core import wire
from interlock.core.messages import channel_request
from interlock.core.wire import Reader, string, uint32
from interlock.domain.access import Deny, FileTransfer, RoleOptions, load_options
from interlock.domain.lock import Lock, LockKind, LockList
from interlock.domain.rbac import Role, unreadable
from interlock.testing import plain_target as plain_target_module
from interlock.testing.clock import START
from interlock.testing.hostile import Gone, RawSsh, connect_raw
from interlock.testing.offences import open_session
from interlock.testing.plain_target import Chatter, plain_target
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import LOGIN, USER, Gateway

SIZE = string("xterm") + uint32(80) + uint32(24) + uint32(0) * 2 + string("")
TO = string(LOOPBACK) + uint32(9) + string(LOOPBACK) + uint32(1)


@dataclass(frozen=True)
class Way:
    """How somebody uses a target: the channel, and what is asked on it."""

    open: bytes
    asks: tuple[bytes, ...] = ()


def session(*asks: bytes) -> Way:
    """A session channel, on which the last request starts something."""
    return Way(open_session(), asks)


def ask(kind: bytes, data: bytes = b"") -> bytes:
    """A request on channel 0 of an asyncssh server."""
    return channel_request(0, kind, want_reply=True, data=data)


WAYS = {
    "shell": session(ask(b"pty-req", SIZE), ask(b"shell")),
    "shell without a terminal": session(ask(b"shell")),
    "exec": session(ask(b"exec", string("cat"))),
    "exec at a terminal": session(ask(b"pty-req", SIZE), ask(b"exec", string("cat"))),
    "sftp": session(ask(b"subsystem", string("sftp"))),
    "scp -O": session(ask(b"exec", string("scp -t /tmp/x"))),
    "scp -O from there": session(ask(b"exec", string("scp -f /tmp/x"))),
    "rsync": session(ask(b"exec", string("rsync --server -logDtpre.iLsfxC . /tmp/x"))),
    "port": Way(open_session(0, b"direct-tcpip") + TO),
    "socket": Way(open_session(0, b"direct-streamlocal@openssh.com") + string("/run/x") + string("") + uint32(0)),
}
SESSIONS = {name: way for name, way in WAYS.items() if way.asks}


class Watched(Chatter):
    """A target that notes what reaches it, and lets everything be."""

    reached: ClassVar[list[str]] = []

    def connection_requested(self, *_where: object) -> bool:
        self.reached.append("port")
        return True

    def unix_connection_requested(self, *_where: object) -> bool:
        self.reached.append("socket")
        return True


@contextlib.asynccontextmanager
async def target(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """The target, and what has reached it."""
    reached: list[str] = []
    original = plain_target_module.do

    async def noted(process: asyncssh.SSHServerProcess[bytes]) -> None:
        reached.append("session")
        await original(process)

    def sftp(channel: asyncssh.SSHServerChannel[bytes]) -> asyncssh.SFTPServer:
        reached.append("session")
        return asyncssh.SFTPServer(channel)

    monkeypatch.setattr(Watched, "reached", reached)
    monkeypatch.setattr(plain_target_module, "do", noted)
    async with plain_target(world, server_factory=Watched, sftp_factory=sftp):
        yield reached


async def use(world: Gateway, way: Way, *, user: str = USER, ttl: timedelta = timedelta(hours=1)) -> bool:
    """Whether the way is open: a session that starts, or a forward that is accepted."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.log_in(f"{LOGIN}%plain1", await world.credential(user, ttl=ttl))
        return await go(client, way)


async def go(client: RawSsh, way: Way) -> bool:
    """The same on a connection that is there."""
    client.send(way.open)
    answer = await client.expect(91, 92)
    for request in way.asks if answer[0] == 91 else ():
        client.send(request)
        answer = await client.expect(wire.CHANNEL_SUCCESS, wire.CHANNEL_FAILURE)
    if len(way.asks) == 1 and answer[0] == wire.CHANNEL_SUCCESS:
        client.send(channel_data_eof())
        return not await said(client)
    return answer[0] in (91, wire.CHANNEL_SUCCESS)


def channel_data_eof() -> bytes:
    """Nothing more to say."""
    return bytes([wire.CHANNEL_EOF]) + uint32(0)


async def said(client: RawSsh) -> str:
    """Our words on standard error with exit status 254, which is a refusal that ssh shows; else nothing."""
    words, status = "", 0
    try:
        async with asyncio.timeout(5):
            while (payload := await client.receive())[0] != wire.CHANNEL_CLOSE:
                if payload[0] == wire.CHANNEL_EXTENDED_DATA:
                    words += Reader(payload[9:]).string().decode()
                if payload[0] == wire.CHANNEL_REQUEST and b"exit-status" in payload:
                    status = int.from_bytes(payload[-4:], "big")
    except (Gone, TimeoutError):
        return words
    return words if status == 254 else ""


def role(world: Gateway, **more: Any) -> None:
    """What everybody's role is from now on."""
    options = RoleOptions(**{"local_forwarding": True, **more.pop("options", {})})
    settings = {"logins": (LOGIN,), "node_labels": {"*": "*"}} | more
    world.users.known_roles["access"] = Role("access", **settings, options=options)


async def lock(world: Gateway, kind: LockKind, name: str) -> None:
    """It is in force everywhere."""
    world.locks.tell(LockList((Lock("l1", kind, name, START, "call 4711"),)))
    while not world.parts.gate.locks._list.locks:  # noqa: ASYNC110
        await asyncio.sleep(0)


POLICIES: dict[str, Callable[[Gateway], None]] = {
    "no such role": lambda world: world.users.known_roles.clear(),
    "another login": lambda world: role(world, logins=("nobody",)),
    "other nodes": lambda world: role(world, node_labels={"env": "prod"}),
    "denied": lambda world: role(world, options={"deny": Deny(logins=(LOGIN,))}),
    "a role that cannot be read": lambda world: world.users.known_roles.update(access=unreadable("access")),
}


@pytest.mark.parametrize("way", WAYS)
async def test_r08_every_way_is_open_to_whom_policy_lets(
    world: Gateway, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the refusals below are policy's."""
    async with target(world, monkeypatch) as reached:
        role(world)
        await use(world, WAYS[way])
        assert reached


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("policy", POLICIES)
async def test_r08_a_refusal_holds_on_every_way(
    world: Gateway, policy: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing reaches the target, whatever it is called."""
    async with target(world, monkeypatch) as reached:
        own = await world.credential()
        POLICIES[policy](world)
        async with await connect_raw(LOOPBACK, world.port) as client:
            await client.log_in(f"{LOGIN}%plain1", own)
            assert not await go(client, WAYS[way])
    assert not reached


@pytest.mark.parametrize("way", SESSIONS)
async def test_r08_moderated_people_move_nothing_unwatched(world: Gateway, way: str) -> None:
    """Without a terminal nobody could watch; with one nothing runs before somebody does."""
    async with plain_target(world, server_factory=Chatter):
        role(world, options={"require_moderators": 1})
        async with await connect_raw(LOOPBACK, world.port) as client:
            await client.log_in(f"{LOGIN}%plain1", await world.credential())
            await go_some(client, WAYS[way])
        assert not await world.events("session.start") or "pty-req" in str(WAYS[way].asks)


async def go_some(client: RawSsh, way: Way) -> None:
    """Ask for all of it, whatever comes."""
    for message in (way.open, *way.asks, channel_data_eof()):
        client.send(message)
    try:
        async with asyncio.timeout(0.3):
            await client.wait_gone()
    except TimeoutError:
        return


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [LockKind.USER, LockKind.ROLE, LockKind.LOGIN, LockKind.NODE])
async def test_r08_a_lock_holds_on_every_way(
    world: Gateway, kind: LockKind, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a connection that is older than the lock, it ends; nothing new reaches the target."""
    names = {LockKind.USER: USER, LockKind.ROLE: "access", LockKind.LOGIN: LOGIN, LockKind.NODE: "plain1"}
    async with target(world, monkeypatch) as reached:
        role(world)
        async with await connect_raw(LOOPBACK, world.port) as client:
            await client.log_in(f"{LOGIN}%plain1", await world.credential())
            await client.flush()
            await lock(world, kind, names[kind])
            with contextlib.suppress(Gone):
                async with asyncio.timeout(5):
                    assert not await go(client, WAYS[way])
    assert not reached


@pytest.mark.parametrize("direction", ["none", "download", "upload"])
@pytest.mark.parametrize("way", ["sftp", "scp -O", "scp -O from there"])
async def test_r08_files_are_policys_on_each_way(
    world: Gateway, way: str, direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role that lets files go one way or none."""
    allowed = {"sftp": {"download", "upload"}, "scp -O": {"upload"}, "scp -O from there": {"download"}}
    async with target(world, monkeypatch):
        role(world, options={"file_transfer": FileTransfer(direction)})
        assert await use(world, WAYS[way]) is (direction in allowed[way])


VOID = [
    '{"max_session":3}',
    '{"max_sessions":"3"}',
    '{"max_sessions":-1}',
    '{"file_transfer":"some"}',
    '{"deny":{"users":["bob"]}}',
    '{"source_networks":["10.0.0.0/99"]}',
    '{"local_forwarding":"yes"}',
    "[]",
    "null",
    "",
    '{"local_forwarding":true',
]


@pytest.mark.parametrize("text", VOID)
def test_r06_options_that_cannot_be_read_in_full_are_an_error(text: str) -> None:
    """Never the same as none: what got lost may have been a restriction."""
    with pytest.raises(ValueError):  # noqa: PT011
        load_options(text)


@pytest.mark.slow
@pytest.mark.parametrize("way", SESSIONS)
async def test_r06_what_cannot_be_recorded_does_not_begin(
    world: Gateway, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strict, which is how roles are: the recorder is away, and so is everything that it would see."""
    async with target(world, monkeypatch) as reached:
        role(world)
        live = world.directory / "recordings" / "live"
        live.rmdir()
        with contextlib.suppress(Gone):
            assert not await use(world, WAYS[way]) or "pty-req" in str(WAYS[way].asks)
        assert not reached
        live.mkdir()

"""Whom the node counts, times and locks out: who came by himself in all, who was forwarded for locks only."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncssh
import pytest

from interlock.adapters.ssh.node import judgement, stay
from interlock.adapters.system import SystemClock
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.access import Access, RoleOptions
from interlock.domain.identity import Claims, Identity
from interlock.domain.lock import Lock, LockKind, LockList
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.testing.clock import START
from interlock.testing.node import World

pytestmark = pytest.mark.slow

LOCK = Lock("l1", LockKind.USER, "alice", START, "call 4711")
LOCKED = "access is locked: call 4711"
FAILURE = 82
PROXY_ID = DaemonId("99999999-2222-4333-8444-555555555555")
QUERY = b"session-id-query-v2@goteleport.com"


@pytest.fixture(autouse=True)
async def _view(world: World) -> AsyncIterator[None]:
    """Locks and places as a daemon runs them."""
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(world.tenures.run())
        async with contextlib.aclosing(world.tenures.locks.follow_locks()) as told:
            await anext(told)
        yield
        running.cancel()


@contextlib.asynccontextmanager
async def visit(
    world: World, *, ttl: timedelta = timedelta(hours=1)
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection as alice, without a forwarder."""
    key = await world.key(ttl=ttl)
    shown = asyncssh.import_certificate(key.certificate.read_text())
    private = asyncssh.read_private_key(str(key.path))
    async with connect(world, private, shown) as connection:
        yield connection


@contextlib.asynccontextmanager
async def forwarded(world: World, **options: Any) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection as a forwarding node makes it for alice, whose roles have these options."""
    now = SystemClock().now()
    claims = Claims(Identity("alice", ("access",), "test"), (world.login,), now, now + timedelta(hours=1), 1)
    role = Role("access", (world.login,), {"*": "*"}, RoleOptions(**options))
    permit = Permit.decide(claims, [role], world.login, world.target, now=now)
    key = asyncssh.generate_private_key("ssh-ed25519")
    credential = world.authority.sign_for_target(
        permit, key.export_public_key().decode(), by=PROXY_ID, records=False
    )
    async with connect(world, key, asyncssh.import_certificate(credential.certificate)) as connection:
        yield connection


@contextlib.asynccontextmanager
async def connect(
    world: World, key: asyncssh.SSHKey, certificate: asyncssh.SSHCertificate
) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """Log in with this certificate."""
    async with asyncssh.connect(
        "127.0.0.1",
        world.port,
        username=world.login,
        client_keys=[(key, certificate)],
        known_hosts=None,
        config=None,
    ) as connection:
        yield connection


def rejected(world: World) -> list[tuple[object, object]]:
    """Reason and limit of each ``session.rejected``."""
    fields = [who for who in world.sessions.refused_to if isinstance(who, dict)]
    return [(reason, each["max"]) for each, (_, reason) in zip(fields, world.sessions.refused, strict=True)]


async def ended(process: asyncssh.SSHClientProcess[str]) -> str:
    """What a session shows on its standard error before it ends."""
    return str(await process.stderr.read())


async def test_a_second_connection_is_refused(world: World) -> None:
    """Its first session, with the field's words; the first connection goes on, and its end makes room."""
    world.admission.access = Access(max_connections=1)
    words = r'too many concurrent ssh connections for user "alice" \(max=1\)'
    async with visit(world) as first:
        assert (await first.run("echo 1")).stdout == "1\n"
        async with visit(world) as second:
            with pytest.raises(asyncssh.ChannelOpenError, match=words) as caught:
                await second.run("true")
            assert caught.value.code == asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED
        assert (await first.run("echo 2")).stdout == "2\n"
    async with visit(world) as third:
        assert (await third.run("echo 3")).stdout == "3\n"
    assert rejected(world) == [("max_connections limit reached", 1)]


async def test_whoever_asks_first_is_told_in_the_answer(world: World) -> None:
    """A forwarder of another make opens no channel before it has asked."""
    world.admission.access = Access(max_connections=1)
    async with visit(world), visit(world) as second:
        kind, packet = await second._make_global_request(QUERY)
        assert kind == FAILURE
        assert packet.get_remaining_payload() == b'too many concurrent ssh connections for user "alice" (max=1)'
        kind, packet = await second._make_global_request(b"nonsense@example.com")
        assert (kind, packet.get_remaining_payload()) == (FAILURE, b"")
    assert rejected(world) == [("max_connections limit reached", 1)]


async def test_a_refused_connection_does_not_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that asks for nothing, such as -N, is told when it is disconnected."""
    monkeypatch.setattr(stay, "LINGER_S", 0.05)
    world.admission.access = Access(max_connections=1)
    async with visit(world), visit(world) as second:
        await second.wait_closed()


async def test_nor_does_one_that_policy_refuses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same."""
    monkeypatch.setattr(stay, "LINGER_S", 0.05)
    world.admission.refusal = Denied("access denied: not here", reason="no role")
    async with visit(world) as connection:
        await connection.wait_closed()


async def test_who_was_refused_at_first_takes_a_place_when_let_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody would count what is opened then, and no lock would end it."""
    monkeypatch.setattr(judgement, "JUDGEMENT_S", 0.0)
    monkeypatch.setattr(stay, "LINGER_S", 3600.0)
    world.admission.refusal = Denied("not now")
    async with visit(world) as connection:
        with pytest.raises(asyncssh.ChannelOpenError, match="not now"):
            await connection.run("true")
        world.admission.refusal = None
        process = await connection.create_process("echo ready; sleep 600")
        assert await process.stdout.readline() == "ready\n"
        world.locks.tell(LockList((LOCK,)))
        assert LOCKED in await ended(process)


async def test_a_third_session_is_refused(world: World) -> None:
    """The first two go on; one that ends makes room."""
    world.admission.access = Access(max_sessions=2)
    async with visit(world) as connection:
        first, second = await connection.create_process("cat"), await connection.create_process("cat")
        with pytest.raises(
            asyncssh.ChannelOpenError, match=r'too many session channels for user "alice" \(max=2\)'
        ):
            await connection.run("true")
        first.stdin.write_eof()
        await first.wait_closed()
        assert (await connection.run("echo 1")).stdout == "1\n"
        second.stdin.write_eof()
    assert rejected(world) == [("max_sessions limit reached", 2)]


async def test_the_forwarder_counts_and_times_its_own(world: World) -> None:
    """Twice would be wrong: a place is taken once, and one reason tells."""
    async with (
        forwarded(world, max_connections=1, max_sessions=1, max_session_ttl=1) as first,
        forwarded(world, max_connections=1, max_sessions=1) as second,
    ):
        for connection in (first, second):
            one, two = await connection.create_process("cat"), await connection.create_process("cat")
            one.stdin.write_eof()
            two.stdin.write_eof()
            await one.wait()
    assert world.leases.stored == {}


@pytest.mark.parametrize(
    ("access", "words"),
    [
        (Access(client_idle_timeout=1), "nothing was sent for 1 seconds"),
        (Access(max_session_ttl=1), "this connection has lasted 1 seconds"),
    ],
)
async def test_a_deadline_ends_a_live_session(world: World, access: Access, words: str) -> None:
    """In words, and with the reason in its record."""
    world.admission.access = access
    async with visit(world) as connection:
        assert words in await ended(await connection.create_process("cat"))
        await connection.wait_closed()
    ((_, _, reason),) = world.sessions.all[0].ends
    assert words in reason


async def test_an_expired_certificate_ends_a_live_session(world: World) -> None:
    """If the roles say so."""
    world.admission.access = Access(disconnect_expired_cert=True)
    async with visit(world, ttl=timedelta(seconds=2)) as connection:
        assert "your certificate has expired" in await ended(await connection.create_process("cat"))


async def test_a_deadline_ends_an_idle_connection(world: World) -> None:
    """Which gets a record of its own, though it had no session."""
    world.admission.access = Access(max_session_ttl=1)
    async with visit(world) as connection:
        await connection.wait_closed()
    (record,) = world.sessions.all
    ((_, _, reason),) = record.ends
    assert reason.startswith("max_session_ttl: ")


@pytest.mark.parametrize("way", [visit, forwarded])
async def test_a_lock_ends_what_is_live_and_refuses_what_is_new(world: World, way: Any) -> None:
    """Whichever way somebody came."""
    async with way(world) as connection:
        process = await connection.create_process("cat")
        world.locks.tell(LockList((LOCK,)))
        assert LOCKED in await ended(process)
        await connection.wait_closed()
    async with way(world) as connection:
        with pytest.raises(asyncssh.ChannelOpenError, match=LOCKED):
            await connection.run("true")
    ((_, _, reason),) = world.sessions.all[0].ends
    assert reason == "lock l1 on the user alice is in force: call 4711"
    assert (LOCKED, reason) in world.sessions.refused


async def test_a_lock_on_another_node_ends_nothing_here(world: World) -> None:
    """By name and by ID."""
    async with visit(world) as connection:
        process = await connection.create_process("cat")
        elsewhere = replace(LOCK, kind=LockKind.NODE, name="web2")
        world.locks.tell(LockList((elsewhere, replace(elsewhere, kind=LockKind.USER, name="bob"))))
        process.stdin.write("still here\n")
        assert await process.stdout.readline() == "still here\n"
        world.locks.tell(LockList((replace(elsewhere, name=world.target.id),)))
        assert "access is locked" in await ended(process)


async def test_the_forwarders_last_words_are_the_reason(world: World) -> None:
    """Of the node's record; what a client says when it leaves is not."""
    async with forwarded(world) as connection:
        await connection.create_process("cat")
        connection.disconnect(asyncssh.DISC_BY_APPLICATION, "access is locked: call 4711")
        await connection.wait_closed()
        await world.sessions.all[0].ended.wait()
    async with visit(world) as connection:
        await connection.create_process("cat")
        connection.disconnect(asyncssh.DISC_BY_APPLICATION, "access is locked: a lie")
        await connection.wait_closed()
        await world.sessions.all[1].ended.wait()
    reasons = [live.ends[0][2] for live in world.sessions.all]
    assert reasons == ["access is locked: call 4711", "the client closed the channel"]


async def test_a_session_that_was_locked_ends_alone(world: World) -> None:
    """Told by the registry; the other one goes on."""
    async with visit(world) as connection:
        first, second = await connection.create_process("cat"), await connection.create_process("cat")
        told = world.sessions.all[0].on_lock
        assert told is not None
        told(replace(LOCK, kind=LockKind.SESSION, name="s1").refusal())
        assert "this session was ended: call 4711" in await ended(first)
        second.stdin.write("still here\n")
        assert await second.stdout.readline() == "still here\n"
        second.stdin.write_eof()

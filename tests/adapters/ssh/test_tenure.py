"""Limits, deadlines and locks on relayed connections, over sockets: refused and ended in words, nothing left."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncssh
import pytest

from interlock.core import extensions, wire
from interlock.core.messages import REQUEST_FAILURE, global_request
from interlock.domain.access import RoleOptions
from interlock.domain.duties import RecordingMode
from interlock.domain.lock import Lock, LockKind, LockList
from interlock.domain.rbac import Role
from interlock.testing.clock import START
from interlock.testing.plain_target import plain_target
from interlock.testing.ssh_pair import LOGIN, USER, Gateway

pytestmark = pytest.mark.slow

PROHIBITED = wire.OPEN_ADMINISTRATIVELY_PROHIBITED
LOCK = Lock("l1", LockKind.USER, USER, START, "call 4711")
LOCKED = "access is locked: call 4711"


def allow(world: Gateway, **options: Any) -> None:
    """The role of everybody says this from now on."""
    world.users.known_roles["access"] = Role("access", (LOGIN,), {"*": "*"}, RoleOptions(**options))


def lock(world: Gateway, *locks: Lock) -> None:
    """These locks are in force from now on."""
    world.locks.stored = list(locks)
    world.locks.tell(LockList(locks))


async def ended(client: asyncssh.SSHClientConnection, process: asyncssh.SSHClientProcess[str]) -> str:
    """What a session shows on its standard error until it ends, with its connection."""
    text = await process.stderr.read()
    await client.wait_closed()
    return str(text)


async def test_a_second_connection_is_refused(world: Gateway) -> None:
    """Also to an agentless target; the first goes on, and its end makes room."""
    allow(world, max_connections=1)
    async with plain_target(world):
        async with await world.client("plain1") as first, await world.client("plain1") as second:
            with pytest.raises(asyncssh.ChannelOpenError) as caught:
                await second.run("true")
            assert (caught.value.code, caught.value.reason) == (
                PROHIBITED,
                f'too many concurrent ssh connections for user "{USER}" (max=1)',
            )
            assert (await first.run("exit 0")).exit_status == 0
        async with await world.client("plain1") as third:
            assert (await third.run("exit 0")).exit_status == 0
    await world.wait_clean()
    assert world.leases.stored == {}
    (event,) = await world.events("session.rejected")
    assert (event["code"], event["reason"], event["max"]) == ("T1006W", "max_connections limit reached", 1)
    assert (event["user"], event["server_hostname"]) == (USER, "plain1")


async def test_a_third_session_is_refused(world: Gateway) -> None:
    """On one connection; one that ends makes room."""
    allow(world, max_sessions=2)
    async with plain_target(world), await world.client("plain1") as client:
        first = await client.create_process("take")
        second = await client.create_process("take")
        with pytest.raises(asyncssh.ChannelOpenError) as caught:
            await client.run("true")
        assert (caught.value.code, caught.value.reason) == (
            PROHIBITED,
            f'too many session channels for user "{USER}" (max=2)',
        )
        first.stdin.write_eof()
        await first.wait_closed()
        assert (await client.run("exit 0")).exit_status == 0
        second.stdin.write_eof()
        await second.wait()
    await world.wait_clean()
    (event,) = await world.events("session.rejected")
    assert (event["code"], event["reason"], event["max"]) == ("T1006W", "max_sessions limit reached", 2)


async def test_a_client_that_asks_first_is_told_in_the_answer(world: Gateway) -> None:
    """As a forwarder of another make does."""
    allow(world, max_connections=1)
    async with plain_target(world), await world.client("plain1"):
        raw = await world.raw_client("plain1")
        raw.send(global_request(extensions.SESSION_ID_QUERY_V2, want_reply=True))
        await raw.flush()
        reply = await raw.expect(wire.REQUEST_FAILURE)
        assert reply == REQUEST_FAILURE + f'too many concurrent ssh connections for user "{USER}" (max=1)'.encode()
        await raw.close()
    await world.wait_clean()


@pytest.mark.parametrize(
    ("options", "words", "reason"),
    [
        ({"client_idle_timeout": 1}, "nothing was sent for 1 seconds", "client_idle_timeout: "),
        ({"max_session_ttl": 1}, "this connection has lasted 1 seconds", "max_session_ttl: "),
    ],
)
async def test_a_deadline_ends_a_live_session(
    world: Gateway, options: dict[str, int], words: str, reason: str
) -> None:
    """With a message on the channel, the reason in the log, and a complete record."""
    allow(world, **options)
    async with plain_target(world):
        client = await world.client("plain1")
        process = await client.create_process("take")
        assert words in await ended(client, process)
    await world.wait_clean()
    (event,) = await world.events("client.disconnect")
    assert event["code"] == "T3006I"
    assert str(event["reason"]).startswith(reason)
    for name in ("session.start", "session.end", "session.leave", "session.data", "session.upload"):
        assert [each["sid"] for each in await world.events(name)] == [event["sid"]]


async def test_an_expired_certificate_ends_a_live_session(world: Gateway) -> None:
    """If the roles say so."""
    allow(world, disconnect_expired_cert=True)
    async with plain_target(world):
        client = await world.client("plain1", ttl=timedelta(seconds=2))
        process = await client.create_process("take")
        assert "your certificate has expired: run ilsh login" in await ended(client, process)
    await world.wait_clean()
    (event,) = await world.events("client.disconnect")
    assert str(event["reason"]).startswith("disconnect_expired_cert: ")


@pytest.mark.parametrize("mode", RecordingMode)
async def test_a_lock_ends_what_is_live_and_refuses_what_is_new(world: Gateway, mode: RecordingMode) -> None:
    """Sessions in words, and in every mode."""
    world.record_in(mode)
    async with plain_target(world):
        client = await world.client("plain1")
        process = await client.create_process("take")
        other = await world.client("plain1", as_user="bob")
        lock(world, LOCK)
        assert LOCKED in await ended(client, process)
        with pytest.raises(asyncssh.PermissionDenied):
            await world.client("plain1")
        assert (await other.run("exit 0")).exit_status == 0
        lock(world)
        async with await world.client("plain1") as again:
            assert (await again.run("exit 0")).exit_status == 0
        other.close()
        await other.wait_closed()
    await world.wait_clean()
    assert any("call 4711" in str(event["reason"]) for event in await world.events("client.disconnect"))


@pytest.mark.parametrize(
    ("kind", "name"), [(LockKind.LOGIN, LOGIN), (LockKind.NODE, "plain1"), (LockKind.ROLE, "access")]
)
async def test_what_else_a_lock_may_be_about(world: Gateway, kind: LockKind, name: str) -> None:
    """A login or a node is met on the way, so its refusal is the channel's."""
    async with plain_target(world):
        client = await world.client("plain1")
        process = await client.create_process("take")
        lock(world, Lock("l2", kind, name, START))
        assert f"access is locked for the {kind.value} {name}" in await ended(client, process)
        if kind is not LockKind.ROLE:
            async with await world.client("plain1") as again:
                with pytest.raises(asyncssh.ChannelOpenError, match="access is locked for"):
                    await again.run("true")
    await world.wait_clean()


async def test_a_lock_ends_an_idle_connection(world: Gateway) -> None:
    """Nothing runs on it; the log tells of it all the same."""
    async with plain_target(world):
        client = await world.client("plain1")
        lock(world, LOCK)
        await client.wait_closed()
    await world.wait_clean()
    (event,) = await world.events("client.disconnect")
    assert "call 4711" in str(event["reason"])
    assert event["user"] == USER


async def test_a_lock_on_a_session_ends_it_alone(world: Gateway) -> None:
    """The other one on the same connection goes on."""
    async with plain_target(world), await world.client("plain1") as client:
        first = await client.create_process("take")
        (sid,) = [session.sid for session in world.sessions.live]
        second = await client.create_process("take")
        lock(world, Lock("l1", LockKind.SESSION, sid, START, "work begins"))
        assert "this session was ended: work begins" in await first.stderr.read()
        second.stdin.write_eof()
        assert (await second.wait()).exit_status == 0
    await world.wait_clean()
    (event,) = await world.events("client.disconnect")
    assert event["sid"] == sid


async def test_a_lock_while_the_target_is_dialled_is_not_forgotten(
    world: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither is the place that was taken."""
    allow(world, max_connections=1)
    async with plain_target(world):
        original = world.parts.dialler.dial

        async def dial(_self: object, *arguments: Any, **more: Any) -> Any:
            lock(world, LOCK)
            return await original(*arguments, **more)

        monkeypatch.setattr(type(world.parts.dialler), "dial", dial)
        client = await world.client("plain1")
        await client.wait_closed()
    await world.wait_clean()
    assert world.leases.stored == {}


async def test_many_refused_connections_leave_nothing(world: Gateway) -> None:
    """Forty at once for two places: two are served, and no lease, task or session is left."""
    allow(world, max_connections=2)
    served: list[int | None] = []
    refused: list[str] = []

    async def visit() -> None:
        async with await world.client("plain1") as client:
            try:
                served.append((await client.run("exit 0")).exit_status)
            except asyncssh.ChannelOpenError as error:
                refused.append(error.reason)

    def count() -> int:
        return len(served) + len(refused)

    async with plain_target(world):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(40):
                tasks.create_task(visit())
        assert count() == 40
        assert len(served) >= 2
        assert all("(max=2)" in reason for reason in refused)
    await world.wait_clean()
    assert world.leases.stored == {}

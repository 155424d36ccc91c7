"""The door: who gets in, what a refused client and the audit log learn, and that nobody stays half-way."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock.adapters.ssh import door
from interlock.adapters.system import SystemClock
from interlock.core import wire
from interlock.core.wire import string, uint32
from interlock.domain.lock import Lock, LockKind, LockList
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind
from interlock.services.keys.certificates import CertificateReader
from interlock.testing.clock import START
from interlock.testing.hostile import USERAUTH_FAILURE, USERAUTH_SUCCESS, Credential, RawSsh, connect_raw
from interlock.testing.offences import open_session
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import LOGIN, USER, Gateway, public_blob

ROUTE = f"{LOGIN}%plain1"
BANNER = 53


async def try_login(world: Gateway, user: str, credential: Credential) -> tuple[bool, str]:
    """Whether it worked, and the banner."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.handshake()
        await client.request_service()
        client.sign(user, credential)
        return await verdict(client)


async def verdict(client: RawSsh) -> tuple[bool, str]:
    """The answer to an attempt, and what was said before it."""
    shown = ""
    while True:
        message = await client.receive_any()
        if message[0] == BANNER:
            shown += wire.Reader(message[1:]).text()
        elif message[0] in {USERAUTH_FAILURE, USERAUTH_SUCCESS}:
            return message[0] == USERAUTH_SUCCESS, shown


async def reasons(world: Gateway) -> str:
    """What the audit log says of refused clients, once they are gone."""
    await world.wait_clean()
    return "; ".join(str(each["error"]) for each in await world.events("auth"))


async def forwarders_credential(world: Gateway) -> Credential:
    """What auth makes for a forwarder that is about to visit a node."""
    own = await world.credential()
    now = SystemClock().now()
    claims = CertificateReader([world.authority.export("user")]).read(own.blob, now=now)
    target = world.add_target("node1", 22, sub_kind=SubKind.NODE)
    permit = Permit.decide(claims, [Role("access", (LOGIN,), {"*": "*"})], LOGIN, target, now=now)
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    line = (await world.authority.issue_for_target(permit, public, records=True)).certificate
    return Credential(own.algorithm, public_blob(line), key)


@pytest.mark.parametrize("user", [ROUTE, USER])
async def test_forwarders_certificate(world: Gateway, user: str) -> None:
    """What was made for one forwarder and one node opens no door."""
    admitted, shown = await try_login(world, user, await forwarders_credential(world))
    assert not admitted
    assert "run ilsh login" in shown
    assert "made for a forwarding node" in await reasons(world)


async def test_portal_of_somebody_else(world: Gateway) -> None:
    """A plain user name must be the certificate's."""
    admitted, shown = await try_login(world, "bob", await world.credential())
    assert not admitted
    assert shown == "your certificate belongs to alice, not to bob\r\n"
    assert "belongs to alice, not to bob" in await reasons(world)


@pytest.mark.parametrize("user", ["%web1", "root%", "a%b%c", "root%we/b1", "root%-oProxyCommand=x", "%" * 300])
async def test_malformed_route(world: Gateway, user: str) -> None:
    """The person reads the right form; the connection ends."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.handshake()
        await client.request_service()
        client.sign(user, await world.credential())
        await client.wait_gone()
        assert "< USERAUTH_BANNER" in client.log.lines
    assert "malformed route" in await reasons(world)


async def test_too_many_attempts(world: Gateway) -> None:
    """Guessing ends after a while, and is one event."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.handshake()
        await client.request_service()
        foreign = Credential(
            "ssh-ed25519", b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32), Ed25519PrivateKey.generate()
        )
        for _ in range(30):
            client.offer(ROUTE, foreign)
        await client.wait_gone()
        assert 0 < client.log.lines.count("< USERAUTH_FAILURE") <= 21
    await world.wait_clean()
    assert len(await world.events("auth")) == 1


async def test_two_attempts_at_once(world: Gateway) -> None:
    """R13: of two requests sent together, each is judged by itself, and the first success counts."""
    alice, mallory = await world.credential(), await world.credential("mallory")
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.handshake()
        await client.request_service()
        client.sign(ROUTE, alice, by=mallory.key)
        client.sign(ROUTE, mallory)
        client.sign(ROUTE, alice)
        assert await verdict(client) == (False, "")
        assert (await verdict(client))[0]
        client.send(open_session())
        await client.expect(wire.CHANNEL_OPEN_FAILURE)
    await world.wait_clean()
    assert {each["user"] for each in await world.events("session.rejected")} == {"mallory"}


@pytest.mark.parametrize("service", ["ssh-connection", "nosuch"])
async def test_service_that_is_not_authentication(world: Gateway, service: str) -> None:
    """R11: the connection protocol cannot be asked for before authentication."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.handshake()
        client.send(bytes([5]) + string(service))
        assert await client.wait_gone()


async def test_broken_kexinit(world: Gateway) -> None:
    """A first message that cannot be read ends the connection at once."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.exchange_versions()
        client.follows = False
        client.send(bytes([wire.KEXINIT]) + bytes(20))
        async with asyncio.timeout(5):
            await client.wait_gone()


@pytest.mark.parametrize("stage", range(5))
async def test_client_that_leaves_half_way(world: Gateway, stage: int) -> None:
    """Wherever it stops, nothing of it is left, and who had not tried to get in is no event."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        if stage == 1:
            await client.exchange_versions()
        if stage == 2:
            await client.exchange_versions()
            client.begin_exchange()
        if stage >= 3:
            await client.handshake()
        if stage == 4:
            await client.request_service()
    await world.wait_clean()
    assert not await world.events()


async def test_portal_session_takes_no_terminal_and_no_second_request(world: Gateway) -> None:
    """The portal answers its own subsystem; a flood of opens ends the connection, not the gateway."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.log_in(USER, await world.credential())
        for n in range(100):
            client.send(open_session(n))
        assert "too many channels" in await client.wait_gone()
    await world.wait_clean()


async def test_global_requests_of_a_portal(world: Gateway) -> None:
    """Remote forwarding is refused; a flood that does not wait for the answers ends in words."""
    forward = bytes([wire.GLOBAL_REQUEST]) + string("tcpip-forward") + b"\1" + string("0.0.0.0") + uint32(0)
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.log_in(USER, await world.credential())
        client.send(forward)
        assert (await client.expect(wire.REQUEST_FAILURE, wire.REQUEST_SUCCESS))[0] == wire.REQUEST_FAILURE
        client.write(b"".join(client.packet(forward) for _ in range(1000)))
        assert await client.wait_gone() == "more requests outstanding than allowed"
    await world.wait_clean()


LOCK = Lock("l1", LockKind.USER, USER, START, "call 4711")


async def lock_out(world: Gateway, *locks: Lock) -> None:
    """Return when the gateway has heard of the locks."""
    async with aclosing(world.parts.gate.locks.follow_locks()) as told:
        await anext(told)
        world.locks.tell(LockList(locks))
        await anext(told)


@pytest.mark.parametrize("user", [ROUTE, USER])
@pytest.mark.parametrize(("kind", "name"), [(LockKind.USER, USER), (LockKind.ROLE, "access")])
async def test_whoever_is_locked_out_is_told_at_the_door(
    world: Gateway, user: str, kind: LockKind, name: str
) -> None:
    """Before the authentication fails, on both roads; and it is an event."""
    world.add_target("plain1", 22)
    lock = replace(LOCK, kind=kind, name=name)
    await lock_out(world, lock)
    admitted, banner = await try_login(world, user, await world.credential())
    assert not admitted
    assert "access is locked: call 4711" in banner
    assert "lock l1" in await reasons(world)


async def test_a_lock_ends_a_portal(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no session and no tenure, and could sign in elsewhere or jump."""
    monkeypatch.setattr(door, "LOCK_GRACE_S", 0.01)
    portal = await world.client("", user=USER)
    other = await world.client("", user="bob", as_user="bob")
    world.locks.tell(LockList((LOCK,)))
    await portal.wait_closed()
    other.close()
    await other.wait_closed()
    await world.wait_clean()


async def test_a_portal_that_leaves_is_not_ended_later(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the lock and its effect; nothing is left of it."""
    monkeypatch.setattr(door, "LOCK_GRACE_S", 3600.0)
    portal = await world.client("", user=USER)
    await lock_out(world, LOCK)
    portal.close()
    await portal.wait_closed()
    await world.wait_clean()
    assert world.parts.gate.locks._watches == {}

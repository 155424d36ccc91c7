"""Plain keys at the doors: enrolled ones get in as their user, security keys only if touched, all others not."""

from base64 import b64encode
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core.certificate import TOUCHED, VERIFIED
from interlock.core.wire import boolean, string
from interlock.domain.access import RoleOptions, SecondFactor
from interlock.services.signin.enrolment import Enrolment
from interlock.testing.agent import SecurityKey
from interlock.testing.clock import FakeClock
from interlock.testing.hostile import (
    USERAUTH_FAILURE,
    USERAUTH_REQUEST,
    USERAUTH_SUCCESS,
    Credential,
    RawSsh,
    connect_raw,
)
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import LOGIN, Gateway, public_blob

ROUTE = f"{LOGIN}%plain1"
PK_OK = 60


async def enrol(world: Gateway, blob: bytes, options: str = "") -> None:
    """Let a key be carol's."""
    name = blob[4 : 4 + int.from_bytes(blob[:4], "big")].decode()
    line = f"{options} {name} {b64encode(blob).decode()}".strip()
    await Enrolment(world.enrolled, FakeClock()).add("carol", line, name=f"key {len(world.enrolled.keys)}")


@pytest.fixture
async def own(world: Gateway) -> Credential:
    """A plain key of carol's, who has an account."""
    world.add_person("carol", RoleOptions())
    world.add_target("plain1", 1)
    key = Ed25519PrivateKey.generate()
    blob = string("ssh-ed25519") + string(key.public_key().public_bytes_raw())
    return Credential("ssh-ed25519", blob, key)


async def arrive(world: Gateway) -> RawSsh:
    """A client that may authenticate."""
    client = await connect_raw(LOOPBACK, world.port)
    await client.handshake()
    await client.request_service()
    return client


async def admitted(client: RawSsh) -> bool:
    """The answer to a signed request."""
    return (await client.expect(USERAUTH_SUCCESS, USERAUTH_FAILURE))[0] == USERAUTH_SUCCESS


async def touch(client: RawSsh, name: str, key: SecurityKey) -> bool:
    """Log in with a security key."""
    fixed = string(name) + string("ssh-connection") + string("publickey") + boolean(True)
    head = bytes([USERAUTH_REQUEST]) + fixed + string(key.algorithm) + string(key.blob)
    client.send(head + string(key.sign(string(client.session_id) + head)))
    return await admitted(client)


@pytest.mark.parametrize(("name", "right"), [(ROUTE, True), ("carol", True), ("alice", False)])
async def test_an_enrolled_key_is_its_users(world: Gateway, own: Credential, name: str, right: bool) -> None:
    """Where the key leads roles decide; the portal is its own user's."""
    await enrol(world, own.blob)
    async with await arrive(world) as client:
        client.sign(name, own)
        assert await admitted(client) is right


async def test_a_strange_key_is_not_asked_to_sign(world: Gateway, own: Credential) -> None:
    """And once it was removed it is one again."""
    async with await arrive(world) as client:
        client.offer(ROUTE, own)
        await client.expect(USERAUTH_FAILURE)
        client.sign(ROUTE, own)
        assert not await admitted(client)
        await enrol(world, own.blob)
        client.offer(ROUTE, own)
        await client.expect(PK_OK)
        await world.enrolled.remove_key("carol", own.blob)
        client.sign(ROUTE, own)
        assert not await admitted(client)


async def test_to_show_a_key_proves_nothing(world: Gateway, own: Credential) -> None:
    """R12: carol's key unsigned, carol's key with another's signature, and then one's own: one's own identity."""
    await enrol(world, own.blob)
    async with await arrive(world) as client:
        client.offer(ROUTE, own)
        await client.expect(PK_OK)
        client.sign(ROUTE, own, by=Ed25519PrivateKey.generate())
        assert not await admitted(client)
        client.offer("alice", own)
        await client.expect(USERAUTH_FAILURE)
        client.sign("alice", await world.credential())
        assert await admitted(client)


async def test_restrictions_are_kept(world: Gateway, own: Credential) -> None:
    """R13: from elsewhere than the key's networks nobody gets in."""
    await enrol(world, own.blob, 'from="192.0.2.0/24"')
    async with await arrive(world) as client:
        client.sign(ROUTE, own)
        assert not await admitted(client)


async def test_a_second_factor_is_asked_of_whoever_comes_by_a_key(world: Gateway, own: Credential) -> None:
    """As of anybody else."""
    world.add_person("carol", RoleOptions(second_factor=SecondFactor.SESSION))
    await enrol(world, own.blob)
    async with await arrive(world) as client:
        client.sign(ROUTE, own)
        assert not await admitted(client)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("ecdsa", [False, True])
@pytest.mark.parametrize(
    ("options", "flags", "right"),
    [
        ("", TOUCHED, True),
        ("", TOUCHED | VERIFIED, True),
        ("", 0, False),
        ("", VERIFIED, False),
        ("verify-required", TOUCHED, False),
        ("verify-required", TOUCHED | VERIFIED, True),
    ],
)
async def test_a_security_key_has_to_be_touched(
    world: Gateway, options: str, flags: int, right: bool, ecdsa: bool
) -> None:
    """R16: the signature says so; for a key that has to verify its person, that, too."""
    key = SecurityKey(ecdsa=ecdsa, flags=flags)
    await enrol(world, key.blob, options)
    async with await arrive(world) as client:
        assert await touch(client, ROUTE, key) is right


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(("options", "wanted"), [("", TOUCHED), ("verify-required", TOUCHED | VERIFIED)])
@pytest.mark.parametrize("flags", [0, TOUCHED, VERIFIED, TOUCHED | VERIFIED])
async def test_so_does_one_that_signs_as_for_a_browser(
    world: Gateway, options: str, wanted: int, flags: int
) -> None:
    """R16: its signatures have another name (PROTOCOL.u2f, webauthn signatures), and the same flags count."""
    key = SecurityKey(ecdsa=True, webauthn=True, flags=flags)
    await enrol(world, key.blob, options)
    async with await arrive(world) as client:
        assert await touch(client, ROUTE, key) is (flags & wanted == wanted)


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("ecdsa", [False, True])
@pytest.mark.parametrize(("flags", "right"), [(TOUCHED, True), (0, False), (VERIFIED, False)])
async def test_so_does_one_with_a_certificate(world: Gateway, flags: int, right: bool, ecdsa: bool) -> None:
    """R16."""
    key = SecurityKey(ecdsa=ecdsa, flags=flags)
    person = world.users.people["carol"]
    line = await world.authority.issue_user("carol", person.roles, [LOGIN], key.line, timedelta(hours=1))
    blob = public_blob(line)
    algorithm = line.split()[0]
    async with await arrive(world) as client:
        fixed = string(ROUTE) + string("ssh-connection") + string("publickey") + boolean(True)
        head = bytes([USERAUTH_REQUEST]) + fixed + string(algorithm) + string(blob)
        client.send(head + string(key.sign(string(client.session_id) + head)))
        assert await admitted(client) is right

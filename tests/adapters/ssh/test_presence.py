"""What a connection proves of its person, by every key exchange and every type of key that we take."""

import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.seams.presence import AttestedConnection
from interlock.adapters.system import SystemClock
from interlock.core.certificate import PublicKey, SignedCertificate
from interlock.core.presence import BEACON, NO_PRESENCE, Presence, Proof, SignedRequest
from interlock.core.wire import CHANNEL_OPEN_CONFIRMATION, string, uint32
from interlock.domain.access import RoleOptions, SecondFactor
from interlock.domain.permit import Permit
from interlock.ports import MemberProxy, TargetCredential
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.authority import Authority
from interlock.services.keys.presence import Attendance, Beacons, Seen
from interlock.testing.clock import START
from interlock.testing.entropy import FakeEntropy
from interlock.testing.hostile import USERAUTH_FAILURE, USERAUTH_REQUEST, USERAUTH_SUCCESS, connect_raw
from interlock.testing.node import FakeSink
from interlock.testing.offences import open_session
from interlock.testing.plain_target import plain_target
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import DAEMON_ID, LOGIN, USER, Gateway, gateway
from interlock.testing.stores import MemoryProofs

INFO_REQUEST, INFO_RESPONSE = 60, 61
BEACONS = Beacons(lambda: [b"secret"])
KEYS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")


@dataclass
class Scene:
    """A gateway whose connections carry a beacon, and the proofs that auth was shown."""

    world: Gateway
    shown: list[Proof | None] = field(default_factory=list)

    async def person(self, kind: str = "ssh-ed25519") -> dict[str, Any]:
        """A client's options: a key of this type and a certificate for it."""
        await self.world.credential()  # so that there is such a user
        key = asyncssh.generate_private_key(kind)
        public = key.export_public_key().decode()
        line = await self.world.authority.issue_user(USER, ["access"], [LOGIN], public, timedelta(hours=1))
        return {"client_keys": [(key, asyncssh.import_certificate(line))]}

    def seen(self) -> Seen:
        """How auth sees who came last."""
        proof = self.shown[-1]
        assert proof is not None
        clock, said = SystemClock(), SignedRequest.read(proof)
        shown = SignedCertificate.parse(said.host_key).certificate if b"cert" in said.host_key[:40] else None
        host_key = shown.key if shown else PublicKey.from_blob(said.host_key)
        attendance = Attendance(
            BEACONS,
            MemoryProofs(),
            required=True,
            events=FakeSink(),
            factory=EventFactory(cluster="test", clock=clock, entropy=FakeEntropy()),
            clock=clock,
        )
        proxy = MemberProxy(DAEMON_ID, ("gate",), START, host_key=host_key.line())
        claims = self.world.door.read(said.key, now=clock.now())
        seen = attendance.see(proxy, claims, said.key, proof)
        assert seen is not None
        return seen


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """As a proxy apart from auth is, but for the distance."""
    beacon = BEACONS.give(DAEMON_ID, SystemClock().now())
    async with gateway(tmp_path, beacon=beacon) as world:
        made = Scene(world)
        original = Authority.issue_for_target

        async def issue(self: Authority, permit: Permit, *what: Any, **how: Any) -> TargetCredential:
            made.shown.append(permit.presence.proof)
            return await original(self, permit, *what, **how)

        monkeypatch.setattr(Authority, "issue_for_target", issue)
        async with plain_target(world):
            yield made
        await world.wait_clean()


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")
@pytest.mark.parametrize("kex", algorithms.SERVED_KEX)
async def test_every_key_exchange_proves(scene: Scene, kex: str) -> None:
    """What is hashed differs in its values, and by what it is hashed."""
    person = await scene.person()
    async with await scene.world.client("plain1", kex_algs=[kex], **person) as client:
        assert (await client.run("exit 3", check=False)).exit_status == 3
    assert scene.seen().user == f"{LOGIN}%plain1"


@pytest.mark.parametrize("kind", KEYS)
async def test_every_type_of_key_proves(scene: Scene, kind: str) -> None:
    """By its own kind of signature."""
    async with await scene.world.client("plain1", **await scene.person(kind)) as client:
        assert (await client.run("exit 3", check=False)).exit_status == 3
    assert scene.seen().user == f"{LOGIN}%plain1"


@pytest.mark.parametrize("host_key", ["ssh-ed25519-cert-v01@openssh.com", "ssh-ed25519"])
async def test_the_end_of_a_jump_proves_of_itself(scene: Scene, host_key: str) -> None:
    """By the handshake there, in which the client saw a certificate for the target, or a bare key."""
    authorities = [asyncssh.import_public_key(scene.world.authority.export("host"))]
    trusts = (authorities[:0], authorities, authorities[:0])
    trusted = None if host_key == "ssh-ed25519" else trusts
    async with (
        await scene.world.client("", user=USER, **await scene.person()) as outer,
        await scene.world.jump(outer, "plain1", server_host_key_algs=[host_key], known_hosts=trusted) as client,
    ):
        assert (await client.run("exit 3", check=False)).exit_status == 3
    seen = scene.seen()
    assert seen.user == LOGIN
    assert seen.names == (frozenset({"plain1"}) if trusted else None)


async def test_who_signs_again_proves_again(scene: Scene) -> None:
    """Half admitted under one name, and then under another: the proof is of what was signed last."""
    world, route = scene.world, f"{LOGIN}%plain1"
    world.add_person("carol", RoleOptions(second_factor=SecondFactor.SESSION))
    world.passwords.codes["carol"] = "123456"
    world.add_target("plain2", 1)
    credential = await world.credential("carol")
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.handshake()
        await client.request_service()
        for name in (f"{LOGIN}%plain2", route):
            client.sign(name, credential)
            await client.expect(USERAUTH_FAILURE)
        ask = string(route) + string("ssh-connection") + string("keyboard-interactive") + string("") * 2
        client.send(bytes([USERAUTH_REQUEST]) + ask)
        await client.expect(INFO_REQUEST)
        client.send(bytes([INFO_RESPONSE]) + uint32(1) + string("123456"))
        await client.expect(USERAUTH_SUCCESS)
        client.send(open_session())
        await client.expect(CHANNEL_OPEN_CONFIRMATION)
    assert scene.seen().user == route


async def test_nothing_is_kept_of_what_was_hashed(scene: Scene) -> None:
    """Once somebody is admitted nobody signs any more, and the shared secret is nobody's business."""
    async with await scene.world.client("plain1", **await scene.person()) as client:
        await client.run("exit 0", check=True)
        connections = [each for each in gc.get_objects() if issubclass(type(each), AttestedConnection)]
        (ours,) = [each for each in connections if each.beacon and not each.is_closed()]
        assert (ours._exchanged, ours._proof) == (None, None)
    scene.seen()


async def test_later_key_exchanges_change_nothing(scene: Scene) -> None:
    """The identifier is the first one's, and a proof is for one dial, which is over by then."""
    async with await scene.world.client("plain1", rekey_bytes=20_000, **await scene.person()) as client:
        await client.run("send 200000", encoding=None)
    assert len(scene.shown) == 1
    scene.seen()


async def test_nothing_is_kept_where_nobody_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In auth's own process, which has nobody to prove anything to."""
    taken: list[Presence] = []
    original = AttestedConnection.take_presence

    def take(self: AttestedConnection) -> Presence:
        taken.append(original(self))
        return taken[-1]

    monkeypatch.setattr(AttestedConnection, "take_presence", take)
    async with gateway(tmp_path) as world, plain_target(world):
        async with await world.client("plain1") as client:
            await client.run("exit 0", check=True)
        await world.wait_clean()
    assert set(taken) == {NO_PRESENCE}


async def test_the_rest_of_a_cookie_stays_random(scene: Scene) -> None:
    """RFC 4253 §7.1 wants neither side alone to choose what is hashed."""
    sent = set()
    for _ in range(3):
        async with await connect_raw(LOOPBACK, scene.world.port) as client:
            await client.exchange_versions()
            cookie = (await client.receive_any())[1:17]
        assert BEACONS.age(cookie[-BEACON:], DAEMON_ID, SystemClock().now()) is not None
        sent.add(cookie[:-BEACON])
    assert len(sent) == 3

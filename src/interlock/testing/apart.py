"""A real auth, two proxies apart from it and a node that have joined, and a person.

For tests of what a stolen proxy can get: the proxies are only clients of auth; what they say is up to the test.
"""

import asyncio
import contextlib
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key

from interlock.adapters.rpc.joiner import join
from interlock.adapters.rpc.proxy_client import ProxyClient
from interlock.core.ids import DaemonId, SessionId
from interlock.core.presence import Presence, Proof
from interlock.daemons.apart import proxies_apart
from interlock.daemons.auth_rpc import auth_rpc_server
from interlock.daemons.config import Config
from interlock.daemons.local import Local, open_local
from interlock.daemons.node_identity import create_host_key, public_line
from interlock.daemons.proxy import Services, open_services
from interlock.domain.audit import AuditEvent, Kind
from interlock.domain.duties import RecordingMode
from interlock.domain.identity import Claims, Joining
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import Tracker, TrackerState
from interlock.ports import EventFilter, TokenKind, User
from interlock.services.audit.emitter import Emitter
from interlock.services.keys.daemonca import KeyPair, create_key, open_daemon_ca
from interlock.services.keys.joining import JoinSources, create_token
from interlock.services.signin.signin import Passwords
from interlock.testing.openssh import make_key
from interlock.testing.presence import Connecting

SID = SessionId("11111111-1111-4111-8111-111111111111")
OTHER_SID = SessionId("22222222-2222-4222-8222-222222222222")
PASSWORD = "correct horse battery staple"
LOOPBACK = "127.0.0.1"
WEB = Target(
    DaemonId("23bc35d7-10f5-421f-9ef4-890af45e3166"), "web1", "10.0.0.5", 22, SubKind.NODE, {"env": "test"}
)
ANYTHING = Role("anything", ("root", "mallory"), {"*": "*"})


@dataclass
class Member:
    """A daemon that has joined."""

    id: DaemonId
    client: ProxyClient  # a node's, too: nothing but auth keeps it from asking
    host_key: str  # one line


@dataclass
class Scene:
    """Auth, two proxies and a node that have joined, and alice with her certificate."""

    local: Local
    proxy: Member
    other: Member
    node: Member
    events: Emitter  # auth's
    claims: Claims  # alice's
    person: Ed25519PrivateKey  # her key
    key: str  # some public key to be certified

    def connecting(self, user: str, beacon: bytes) -> Connecting:
        """Alice's client, at the proxy."""
        return Connecting(user, self.claims.certificate, self.person, beacon, blob(self.proxy.host_key))

    async def here(self, user: str = "root%web1", proxy: "Member | None" = None) -> "Scene":
        """The same once alice has come with this user name, to this proxy or to the first one."""
        gate = proxy or self.proxy
        beacon = await gate.client.beacon(gate.host_key)
        connecting = replace(self.connecting(user, beacon), host_key=blob(gate.host_key))
        return self.proving(connecting.prove())

    def proving(self, proof: Proof | None) -> "Scene":
        """The same with this proof of presence, or none."""
        return replace(self, claims=replace(self.claims, presence=Presence(proof)))

    def permit(self, login: str = "root", *, joining: Joining | None = None, target: Target = WEB) -> Permit:
        """What a proxy that lies to itself has decided."""
        now = self.local.clock.now()
        if joining is not None:
            return Permit.to_join(self.claims, [], target, joining, now=now)
        return Permit.decide(self.claims, [ANYTHING], login, target, now=now)

    async def refusals(self) -> list[str]:
        """What auth has told of proofs that it refused."""
        await self.events.flush()
        found = await self.local.audit.events(EventFilter(event=Kind.PRESENCE_FAILURE.event))
        return [str(each["error"]) for each in found]

    async def mint(self, login: str = "root", *, records: bool = True, target: Target = WEB) -> Claims:
        """What auth signs for a dial."""
        permit = self.permit(login, target=target)
        made = await self.proxy.client.issue_for_target(permit, self.key, records=records)
        return self.local.claims.read(blob(made.certificate), now=self.local.clock.now())

    def showing(self, certificate: bytes) -> "Scene":
        """The same with another certificate shown for alice."""
        return replace(self, claims=replace(self.claims, certificate=certificate))

    async def track(self, sid: SessionId, daemon: DaemonId, owner: str) -> None:
        """A live session on web1."""
        now = self.local.clock.now()
        await self.local.trackers.put(
            Tracker(
                sid, TrackerState.RUNNING, now, now + timedelta(minutes=1), owner, "root", "web1", WEB.id, daemon,
                self.local.cluster.name, "interlock", "proxy", terminal=True,
            )
        )  # fmt: skip

    def event(self, by: DaemonId, sid: SessionId = SID, kind: Kind = Kind.SESSION_START) -> AuditEvent:
        """An event that a daemon recorded."""
        clock, entropy, cluster = self.local.clock, self.local.entropy, self.local.cluster.name
        return AuditEvent(kind, clock.now(), entropy.uuid(), cluster, sid, fields={"recorded_by": by})


@contextlib.asynccontextmanager
async def cluster_apart(directory: Path) -> AsyncIterator[Scene]:
    """All of it, on loopback."""
    async with open_local(directory / "auth") as local:
        services = await open_services(Config(), local)
        await local.clusters.set_recording_mode(RecordingMode.PROXY)
        await local.roles.add_role(Role("access", ("root",), {"env": "test"}))
        hashed = await Passwords(time_cost=1, memory_kib=1024, parallelism=1).hash(PASSWORD)
        await local.users.add_user(
            User("alice", ("access",), hashed, must_change=False, created=local.clock.now())
        )
        await local.inventory.heartbeat(replace(WEB, expires=local.clock.now() + timedelta(hours=1)))
        own = make_key(directory / "id")
        key, person = own.public, load_ssh_private_key(own.path.read_bytes(), None)
        assert isinstance(person, Ed25519PrivateKey)
        raw = blob(await local.authority.issue_user("alice", ["access"], ["root"], key, timedelta(hours=1)))
        claims = replace(local.claims.read(raw, now=local.clock.now()), certificate=raw)
        async with serving(services) as (proxy, other, node):
            yield Scene(local, proxy, other, node, services.emitter, claims, person, key)


@contextlib.asynccontextmanager
async def serving(services: Services) -> AsyncIterator[list[Member]]:
    """Auth's listeners, with two proxies and a node."""
    local = services.local
    passwords = local.sign_in(services.emitter)
    server = await auth_rpc_server(
        local,
        services.claims,
        JoinSources(),
        services.tenures.locks,
        proxies=lambda ca: proxies_apart(services, passwords, ca),
    )
    bound = await server.start(service=f"{LOOPBACK}:0", join=f"{LOOPBACK}:0")
    members: list[Member] = []
    try:
        for kind, name in ((TokenKind.PROXY, "gate"), (TokenKind.PROXY, "gate"), (TokenKind.NODE, "db9")):
            members.append(await member(local, bound.join, kind, name))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(services.emitter.run(), name="apart.emitter")
            yield members
            services.emitter.stop()
    finally:
        for each in members:
            await each.client.close()
        await server.stop(0)


async def member(local: Local, address: str, kind: TokenKind, name: str) -> Member:
    """A daemon of this kind."""
    ca = await open_daemon_ca(
        local.authorities, cluster=local.cluster.name, entropy=local.entropy, now=local.clock.now()
    )
    token = await create_token(local.tokens, pin=ca.pin, clock=local.clock, entropy=local.entropy, kind=kind)
    key, host_key = create_key(), public_line(create_host_key())
    joined = await join(address, token, names=(name,), key=key, host_key=host_key)
    pair = KeyPair(key, joined.reply.certificate)
    client = ProxyClient(joined.service, roots=joined.roots, identity=pair, clock=local.clock)
    return Member(joined.reply.id, client, host_key)


def blob(line: str) -> bytes:
    """A certificate in wire form."""
    return b64decode(line.split()[1])

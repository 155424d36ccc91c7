"""What auth does for proxies apart, without the network between: on SQLite, with a clock that the test moves.

Two proxies have joined, and alice, who may go to web1 and to a leaf cluster, comes to one of them when told to.
"""

import contextlib
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.core.certificate import PublicKey
from interlock.core.ids import DaemonId, SessionId
from interlock.daemons.apart import proxies_apart
from interlock.daemons.auth_rpc import daemon_cas
from interlock.daemons.config import AuthConfig, Config, WebConfig
from interlock.daemons.database import DATABASE
from interlock.daemons.local import Local, open_local
from interlock.daemons.proxy import open_services
from interlock.daemons.web import signing_in
from interlock.domain.cluster import Relation, TrustedCluster
from interlock.domain.duties import RecordingMode
from interlock.domain.factor import EnrolledKey
from interlock.domain.lock import Lock, LockKind
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import Tracker, TrackerState
from interlock.ports import MemberProxy, User
from interlock.services.fleet.proxies import Proxies
from interlock.services.fleet.shown import Shown
from interlock.services.keys.daemonca import DaemonKind, HostIdentity
from interlock.services.signin.signin import Passwords
from interlock.testing.agent import SecurityKey
from interlock.testing.clock import FakeClock
from interlock.testing.database import put_database
from interlock.testing.presence import Connecting, public_blob

PASSWORD = "correct horse battery staple"
SID = SessionId("11111111-1111-4111-8111-111111111111")
WEB = Target(
    DaemonId("11111111-0000-4000-8000-00000000000a"), "web1", "10.0.0.5", 22, SubKind.NODE, {"env": "test"}
)
DB = replace(WEB, id=DaemonId("11111111-0000-4000-8000-00000000000b"), hostname="db1")
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Gate:
    """A proxy that has joined."""

    identity: HostIdentity
    host_key: Ed25519PrivateKey

    @property
    def line(self) -> str:
        """Its SSH host key, one line."""
        return line_of(self.host_key)


@dataclass
class AuthSide:
    """Auth, two proxies, and alice with her key and certificate."""

    local: Local
    clock: FakeClock
    proxies: Proxies
    gate: Gate
    other: Gate
    person: Ed25519PrivateKey
    certificate: bytes
    key: str  # some public key to be certified, one line

    async def came(self, user: str = "root%web1", *, at: Gate | None = None, plain: bool = False) -> Shown:
        """What a proxy can show once alice has come with this user name. ``plain``: with her enrolled key."""
        gate = at or self.gate
        beacon = await self.proxies.members.beacon(gate.identity, gate.line)
        shown = public_blob(self.person) if plain else self.certificate
        connecting = Connecting(user, shown, self.person, beacon, public_blob(gate.host_key))
        if plain:
            connecting = replace(connecting, algorithm="ssh-ed25519")
        return Shown(shown, connecting.prove())

    async def touched(self, token: SecurityKey, user: str = "root%web1") -> Shown:
        """The same once she has come with an enrolled key on hardware."""
        beacon = await self.proxies.members.beacon(self.gate.identity, self.gate.line)
        blob, host = token.blob, public_blob(self.gate.host_key)
        connecting = Connecting(user, blob, self.person, beacon, host, algorithm=token.algorithm, token=token)
        return Shown(blob, connecting.prove())

    async def enrol(self, *options: tuple[str, str]) -> None:
        """Let alice's key count without a certificate."""
        key = EnrolledKey(public_blob(self.person), "alice", "laptop", self.clock.now(), options=options)
        assert await self.local.factor_store.enrol_key(key)

    async def lock(self) -> None:
        """Lock alice out."""
        await self.local.locks.add_lock(Lock("l1", LockKind.USER, "alice", self.clock.now()))

    async def track(self, daemon: DaemonId, *, owner: str = "alice") -> None:
        """A live session on web1, which this daemon has."""
        now = self.clock.now()
        await self.local.trackers.put(
            Tracker(
                SID, TrackerState.RUNNING, now, now + DAY, owner, "root", "web1", WEB.id, daemon,
                self.local.cluster.name, "interlock", "proxy", terminal=True,
            )
        )  # fmt: skip


@contextlib.asynccontextmanager
async def auth_side(directory: Path, auth: AuthConfig | None = None) -> AsyncIterator[AuthSide]:
    """All of it."""
    clock, web = FakeClock(), WebConfig(listen="127.0.0.1:0", public_url="https://gateway.example.com")
    config = Config(auth=auth or AuthConfig(), web=web)
    data = directory / "auth"
    data.mkdir(mode=0o700)
    put_database(data / DATABASE)
    async with open_local(data, clock=clock) as opened:
        local = replace(opened, passwords=Passwords(time_cost=1, memory_kib=64, parallelism=1))
        services = await open_services(config, local)
        await local.clusters.set_recording_mode(RecordingMode.PROXY)
        await local.roles.add_role(Role("access", ("root",), {"env": "test"}))
        hashed = await local.passwords.hash(PASSWORD)
        await local.users.add_user(User("alice", ("access",), hashed, must_change=False, created=clock.now()))
        for target in (WEB, DB):
            await local.inventory.heartbeat(replace(target, expires=clock.now() + DAY))
        host_ca = local.authority.export("host")
        leaf = TrustedCluster(
            "leaf", str(WEB.id), Relation.LEAF, clock.now(), host_cas=(host_ca,), proxy="127.0.0.1:1"
        )
        await local.trusts.put_trust(leaf)
        gate = await _join(local, "11111111-0000-4000-8000-000000000001")
        other = await _join(local, "11111111-0000-4000-8000-000000000002")
        passwords = signing_in(config.web, local, services.emitter)
        person = Ed25519PrivateKey.generate()
        issued = await local.authority.issue_user("alice", ["access"], ["root"], line_of(person), DAY)
        yield AuthSide(
            local,
            clock,
            proxies_apart(services, passwords, await daemon_cas(local)),
            gate,
            other,
            person,
            b64decode(issued.split()[1]),
            line_of(Ed25519PrivateKey.generate()),
        )


def line_of(key: Ed25519PrivateKey) -> str:
    """The public key, in OpenSSH's one-line form."""
    return PublicKey.from_blob(public_blob(key)).line()


async def _join(local: Local, daemon: str) -> Gate:
    identity = HostIdentity(local.cluster.name, DaemonId(daemon), ("gate",), DaemonKind.PROXY)
    await local.proxies.add_proxy(MemberProxy(identity.id, identity.names, local.clock.now()))
    return Gate(identity, Ed25519PrivateKey.generate())

"""A gateway in the test's own process: the real proxy over real loopback sockets, with stores in memory behind it.

Clients are asyncssh's or `hostile.RawSsh`; targets are `PlainTarget` (an asyncssh server in the place of an sshd),
a `NodeServer`, or a scripted one. `Gateway.wait_clean` is the promise that every test ends with: whatever the
peers did, nothing is left of them.
"""

import asyncio
import contextlib
import os
import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncssh
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.blob.synced import SyncedParts
from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.dial import Dialler
from interlock.adapters.ssh.fronted import Network
from interlock.adapters.ssh.guarded import Gate
from interlock.adapters.ssh.hostkey import public_data
from interlock.adapters.ssh.leaf import LeafDialler, LeafPortals
from interlock.adapters.ssh.parts import ProxyParts
from interlock.adapters.ssh.proxy import ProxyServer
from interlock.adapters.ssh.tunnel.entrance import AuthAddresses, TunnelEntrance
from interlock.adapters.system import SystemClock, SystemEntropy
from interlock.core.errors import NotFound, SignInFailed
from interlock.core.ids import DaemonId
from interlock.core.limits import KEEPALIVE_INTERVAL_S
from interlock.domain.access import RoleOptions
from interlock.domain.audit import JsonValue
from interlock.domain.cluster import door_of
from interlock.domain.duties import RecordingMode
from interlock.domain.modes import ModePolicy
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.ports import Cluster, RecordingParts, User
from interlock.services.access.wheel import TICK_S, Wheel
from interlock.services.audit.emitter import Emitter, EventFactory
from interlock.services.clusters.federation import FederatedAdmission, FederatedClaims, Leaves
from interlock.services.keys.authority import Authority
from interlock.services.keys.certificates import CertificateReader
from interlock.services.keys.joining import JoinSources
from interlock.services.portal.portal import Portal
from interlock.services.recordings.catalogue import Catalogue
from interlock.services.sessions.desk import Desk
from interlock.services.sessions.sessions import Sessions
from interlock.services.signin.enrolment import EnrolledKeys
from interlock.services.signin.signin import NO_DEVICE, Confirmation, Judgement
from interlock.testing.factors import MemoryFactors, no_factors, self_service
from interlock.testing.hostile import Credential, RawSsh, connect_raw
from interlock.testing.limits import MemoryLeases, MemoryLocks, make_tenures
from interlock.testing.node import FakeAuthorityStore
from interlock.testing.ports import LOOPBACK
from interlock.testing.stores import MemoryAuditLog, MemoryTrackers, MemoryTrusts, MemoryTwins

DAEMON_ID = DaemonId("99999999-2222-4333-8444-555555555555")
USER = "alice"
LOGIN = "root"
CLUSTER = "test"
NOWHERE = AuthAddresses((LOOPBACK, 1), (LOOPBACK, 1))
"""There is no auth on the network: a refused port."""


@dataclass
class Directory:
    """Accounts, roles, recording modes and inventory in memory, in one object."""

    people: dict[str, User] = field(default_factory=dict)
    known_roles: dict[str, Role] = field(default_factory=dict)
    known_targets: dict[str, Target] = field(default_factory=dict)
    modes: ModePolicy = field(default_factory=lambda: ModePolicy(RecordingMode.PROXY))

    async def mode_policy(self) -> ModePolicy:
        """`ports.ModeSource`."""
        return self.modes

    async def user(self, name: str) -> User:
        """`ports.UserSource`."""
        if name not in self.people:
            raise NotFound(f"no user {name}")
        return self.people[name]

    async def roles(self, names: Iterable[str]) -> list[Role]:
        """`ports.RoleSource`."""
        return [self.known_roles[name] for name in names if name in self.known_roles]

    async def target(self, name: str) -> Target:
        """`ports.TargetSource`."""
        for target in await self.named(name):
            return target
        raise NotFound(f"unknown node {name}: ilsh ls shows those you can reach")

    async def named(self, name: str) -> list[Target]:
        """`ports.TargetSource`."""
        return [target for target in self.known_targets.values() if name in (target.hostname, target.id)]

    async def targets(self) -> list[Target]:
        """`ports.TargetSource`."""
        return list(self.known_targets.values())


PHONE = "11111111-0000-4000-8000-00000000000d"
"""The device of everybody who has a code."""


class NoPasswords:
    """Nobody signs in by password; who is in ``codes`` has a second factor, which always shows the same."""

    def __init__(self) -> None:
        self.codes: dict[str, str] = {}

    async def check(self, user: str, password: str, *, source: str, code: str = "") -> Judgement:
        """Refuse."""
        raise SignInFailed("sign-in failed", reason=f"{user} from {source}, {len(password)}, {len(code)}")

    async def change(self, user: str, old: str, new: str, *, source: str, code: str = "") -> Judgement:
        """Refuse."""
        raise SignInFailed("sign-in failed", reason=f"{user} from {source}, {len(old)}, {len(new)}, {len(code)}")

    async def confirm(
        self, user: str, code: str, *, source: str, certificate: bytes = b"", session: bytes = b""
    ) -> Confirmation:
        """Ask for what the test has put into ``codes``, and take it."""
        if not code:
            asks = user in self.codes
            return Confirmation(question="Confirm this." if asks else NO_DEVICE, prompt="Code: " if asks else "")
        if self.codes.get(user) != code:
            raise SignInFailed("wrong code", reason=f"{user} from {source}, {len(certificate)}, {len(session)}")
        return Confirmation(PHONE)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds: names of tasks, open files, calls that are due later."""

    tasks: frozenset[str]
    files: int
    timers: tuple[str, ...]

    @classmethod
    def take(cls) -> "Footprint":
        """Of now."""
        current = asyncio.current_task()
        tasks = frozenset(task.get_name() for task in asyncio.all_tasks() if task is not current)
        loop = asyncio.get_running_loop()
        scheduled: list[asyncio.TimerHandle] = getattr(loop, "_scheduled", [])
        timers = sorted(repr(each) for each in scheduled if not each.cancelled())
        files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a list, as cheap as can be
        return cls(tasks, files, tuple(timers))

    def compare(self, now: "Footprint") -> list[str]:
        """What ``now`` has beyond this."""
        more = [f"task {name}" for name in sorted(now.tasks - self.tasks)]
        if now.files > self.files:
            more.append(f"{now.files - self.files} open files")
        # Timers of whoever runs the test (its own time-out) are there before and after; only ours are counted.
        ours = [each for each in now.timers if "interlock" in each or "asyncssh" in each]
        return more + [f"timer {each}" for each in ours if each not in self.timers]


@dataclass
class Gateway:
    """The running proxy and everything that a test looks at."""

    directory: Path
    authority: Authority
    users: Directory
    audit: MemoryAuditLog
    trackers: MemoryTrackers
    emitter: Emitter
    sessions: Sessions
    recordings: FileRecordings
    proxy: ProxyServer
    tunnels: TunnelEntrance
    cluster: Cluster
    trusts: MemoryTrusts
    door: FederatedClaims
    locks: MemoryLocks
    leases: MemoryLeases
    twins: MemoryTwins
    passwords: NoPasswords
    enrolled: MemoryFactors
    parts: ProxyParts  # what the proxy asks
    port: int = 0
    idle: Footprint = field(default_factory=Footprint.take)  # of a gateway to which nobody has come

    def record_in(self, mode: RecordingMode) -> None:
        """Let sessions that begin from now on have this mode."""
        self.users.modes = ModePolicy(mode)

    def add_target(
        self, name: str, port: int, *, host_keys: Sequence[str] = (), sub_kind: SubKind = SubKind.AGENTLESS
    ) -> Target:
        """List a target that the user may log in to."""
        number = len(self.users.known_targets) + 1
        target_id = DaemonId(f"{number:08d}-2222-4333-8444-555555555555")
        target = Target(target_id, name, LOOPBACK, port, sub_kind, host_keys=tuple(host_keys))
        self.users.known_targets[name] = target
        return target

    def add_person(self, name: str, options: RoleOptions) -> None:
        """A user with a role of their own, which reaches everything and has these options."""
        role = Role(f"role-{name}", (LOGIN,), {"*": "*"}, options)
        self.users.known_roles[role.name] = role
        self.users.people[name] = User(name, (role.name,), None, must_change=False, created=_now())

    async def credential(self, user: str = USER, *, ttl: timedelta = timedelta(hours=1)) -> Credential:
        """A fresh key with a certificate of a user, who gets the account if there is none."""
        self.users.people.setdefault(user, User(user, ("access",), None, must_change=False, created=_now()))
        key = Ed25519PrivateKey.generate()
        public = asyncssh.import_private_key(_pem(key)).export_public_key().decode()
        line = await self.authority.issue_user(user, self.users.people[user].roles, [LOGIN], public, ttl)
        return Credential("ssh-ed25519-cert-v01@openssh.com", public_blob(line), key)

    async def client(
        self,
        target: str,
        *,
        user: str = "",
        as_user: str = USER,
        ttl: timedelta = timedelta(hours=1),
        **options: Any,
    ) -> asyncssh.SSHClientConnection:
        """asyncssh's client, routed to a target; ``user`` is another SSH user name, ``ttl`` the certificate's."""
        settings = await self._settings(as_user, ttl) | {"username": user or f"{LOGIN}%{target}"}
        return await asyncssh.connect(LOOPBACK, self.port, **settings | options)

    async def jump(
        self,
        outer: asyncssh.SSHClientConnection,
        target: str,
        *,
        port: int = 22,
        as_user: str = USER,
        **options: Any,
    ) -> asyncssh.SSHClientConnection:
        """The same at the end of a jump through ``outer``, a connection to the portal."""
        settings = await self._settings(as_user) | {"username": LOGIN, "tunnel": outer}
        return await asyncssh.connect(target, port, **settings | options)

    async def _settings(self, user: str, ttl: timedelta = timedelta(hours=1)) -> dict[str, Any]:
        credential = await self.credential(user, ttl=ttl)
        key = asyncssh.import_private_key(_pem(credential.key))
        return {
            "client_keys": [(key, asyncssh.import_certificate(_line(credential)))],
            "known_hosts": ([], [asyncssh.import_public_key(self.authority.export("host"))], []),
            "agent_path": None,
            "config": None,
            "encryption_algs": [*algorithms.ALL_CIPHERS],
        }

    async def raw_client(self, target: str, *, user: str = "") -> RawSsh:
        """A scripted client that has logged in and is routed to a target; ``user`` overrides the SSH user name."""
        peer = await connect_raw(LOOPBACK, self.port)
        await peer.log_in(user or f"{LOGIN}%{target}", await self.credential())
        return peer

    async def events(self, name: str = "") -> list[dict[str, JsonValue]]:
        """All events of this name that were emitted so far."""
        await self.emitter.flush()
        return [each.to_json() for each in self.audit.stored if name in ("", each.kind.event)]

    async def wait_clean(self, within: float = 10.0) -> None:
        """Return when nothing is left of any connection; AssertionError with what it is if that takes too long."""
        deadline = time.monotonic() + within
        while problems := [*self._leftovers(), *self.idle.compare(Footprint.take())]:
            if time.monotonic() > deadline:
                raise AssertionError("left behind: " + "; ".join(problems))
            await asyncio.sleep(0.01)

    def _leftovers(self) -> list[str]:
        live = [f"live session {session.sid}" for session in self.sessions.live]
        tracked = [
            f"tracker {tracker.sid} {tracker.state.value}"
            for tracker in self.trackers.stored.values()
            if tracker.state.value != "terminated"
        ]
        return live + tracked + [f"lease under {lease.semaphore}" for lease in self.leases.stored.values()]


@contextlib.asynccontextmanager
async def gateway(
    directory: Path,
    *,
    ciphers: Sequence[str] = algorithms.FAST_CIPHERS,
    dial_timeout: float = 5.0,
    keepalive_interval: float = KEEPALIVE_INTERVAL_S,
    cluster_name: str = CLUSTER,
    parts: Callable[[FileRecordings], RecordingParts] = lambda recordings: recordings,
    fronts: Sequence[Network] = (),
    beacon: bytes = b"",
) -> AsyncIterator[Gateway]:
    """A gateway on a free port, stopped in order at the end; ``parts`` may put something before the disk.

    ``fronts``: networks of load balancers. ``beacon``: what connections carry, as a proxy's apart do.
    """
    clock, entropy = SystemClock(), SystemEntropy()
    audit, trackers, users = MemoryAuditLog(), MemoryTrackers(), Directory()
    twins = MemoryTwins()
    recordings = FileRecordings(directory / "recordings")
    users.known_roles["access"] = Role("access", (LOGIN,), {"*": "*"})
    cluster, trusts = Cluster(entropy.uuid(), cluster_name, RecordingMode.PROXY, clock.now()), MemoryTrusts()
    authority = await Authority.load(
        FakeAuthorityStore(), cluster=cluster_name, daemon_id=DAEMON_ID, clock=clock, entropy=entropy
    )
    emitter = Emitter(audit)
    factory = EventFactory(cluster=cluster_name, clock=clock, entropy=entropy)
    locks, leases = MemoryLocks(), MemoryLeases(clock)
    wheel = Wheel(clock, tick=min(TICK_S, keepalive_interval / 4))
    tenures = make_tenures(
        DAEMON_ID, clock=clock, entropy=entropy, locks=locks, leases=leases, call_later=wheel.call_later
    )
    sessions = Sessions(
        daemon_id=DAEMON_ID,
        cluster=cluster_name,
        clock=clock,
        entropy=entropy,
        emitter=emitter,
        trackers=trackers,
        parts=parts(recordings),
        recordings=recordings,
        twins=twins,
        locks=tenures.locks,
        sync=SyncedParts(recordings),
    )

    federated = FederatedAdmission(
        users=users,
        roles=users,
        targets=users,
        modes=users,
        locks=locks,
        clock=clock,
        cluster=cluster,
        trusts=trusts,
    )
    passwords = NoPasswords()
    enrolled = MemoryFactors()
    keys = EnrolledKeys(keys=enrolled, users=users, roles=users, cluster=cluster_name, clock=clock)
    leaves = Leaves(federated, cluster=cluster, trusts=trusts, modes=users, clock=clock)
    certificates = CertificateReader([authority.export("user")])
    door = FederatedClaims(certificates, trusts, cluster)
    tunnels = TunnelEntrance(
        certificates, clock, NOWHERE, sources=JoinSources(), keepalive_interval=keepalive_interval
    )
    catalogue = Catalogue(
        DAEMON_ID, trackers=trackers, recordings=recordings, events=audit, twins=twins, clock=clock
    )
    proxy_parts = ProxyParts(
        daemon_id=DAEMON_ID,
        gate=Gate(door, clock, emitter, factory, tenures.locks, door_of(cluster.id), keys, lambda: beacon),
        permits=federated,
        leaves=leaves,
        leaf_dialler=LeafDialler(authority, ciphers, dial_timeout),
        dialler=Dialler(
            authority, frozenset({public_data(authority.export("host"))}), tunnels, ciphers, dial_timeout
        ),
        hosts=authority,
        sessions=sessions,
        tenures=tenures,
        passwords=passwords,
        portal=Portal(
            oneself=self_service(no_factors(clock), enrolled, emitter, clock),
            cluster=cluster_name,
            users=users,
            roles=users,
            targets=users,
            trackers=catalogue,
            recordings=catalogue,
            authority=authority,
            locks=locks,
            leaves=LeafPortals(authority, leaves),
            foreign=federated,
            events=emitter,
            factory=factory,
            clock=clock,
        ),
        desk=Desk(
            sessions=sessions,
            trackers=trackers,
            targets=users,
            lookup=audit,
            current_roles=federated.current_roles,
            cluster=cluster_name,
            daemon_id=DAEMON_ID,
            clock=clock,
        ),
        entropy=entropy,
        tunnels=tunnels,
        names=[LOOPBACK, cluster.id],
        ciphers=ciphers,
        keepalive_interval=keepalive_interval,
        call_later=wheel.call_later,
        fronts=fronts,
    )
    proxy = ProxyServer(proxy_parts, asyncssh.generate_private_key("ssh-ed25519"))
    world = Gateway(
        directory,
        authority,
        users,
        audit,
        trackers,
        emitter,
        sessions,
        recordings,
        proxy,
        tunnels,
        cluster,
        trusts,
        door,
        locks,
        leases,
        twins,
        passwords,
        enrolled,
        proxy_parts,
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(emitter.run(), name="gateway.emitter")
        tasks.create_task(sessions.run(), name="gateway.sessions")
        limiting = tasks.create_task(tenures.run(), name="gateway.tenures")
        serving = tasks.create_task(proxy.run(), name="gateway.proxy")
        try:
            _, world.port = await proxy.listen(LOOPBACK, 0)
            await sessions.wait_recovered()
            world.idle = Footprint.take()
            yield world
        finally:
            await proxy.stop("the test is over")
            await serving
            await sessions.end_all("the test is over")
            sessions.stop()
            limiting.cancel()
            emitter.stop()


def public_blob(line: str) -> bytes:
    """The wire form of a key or certificate in one-line form."""
    return b64decode(line.split()[1])


def _now() -> datetime:
    return SystemClock().now()


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _line(credential: Credential) -> str:
    return f"{credential.algorithm} {b64encode(credential.blob).decode()}"

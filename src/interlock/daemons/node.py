"""The node as a daemon: composition, from an identity to a listening server and back to nothing.

One body for both cases: `serve_node` runs a node over ports, wherever auth is. `run_local_node` gives it the
stores of auth in its own process; `daemons.node_remote` gives it auth over gRPC. What belongs to a session is
elsewhere, and so is everything that speaks SSH.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import structlog

from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.ssh.node.server import NodeOptions, NodeServer
from interlock.adapters.ssh.tunnel.agent import TunnelAgent
from interlock.core.errors import ConfigError, Denied, InterlockError
from interlock.core.extensions import SOFTWARE
from interlock.core.ids import DaemonId
from interlock.daemons.config import RecordingsConfig
from interlock.daemons.local import prepare_data_dir
from interlock.daemons.monitor import watch_apart
from interlock.daemons.node_identity import IdentityFile, LocalAuth, NodeIdentity, create_host_key, public_line
from interlock.daemons.storage import open_room
from interlock.daemons.supervise import finished
from interlock.domain.signing import DaemonRole, KeySource, unsigned
from interlock.domain.target import SubKind, Target
from interlock.ports import (
    Admission,
    AuditLog,
    ClaimsReader,
    Clock,
    ContentKeys,
    Entropy,
    Inventory,
    LeaseStore,
    LockFeed,
    RecordingStore,
    Remaining,
    SyncStore,
    TrackerStore,
    TrustBundle,
)
from interlock.services.access.leases import Leases
from interlock.services.access.locks import Locks
from interlock.services.access.offline import OfflineAdmission, telling
from interlock.services.access.tenure import Tenures
from interlock.services.access.wheel import Wheel
from interlock.services.audit.emitter import Emitter, EventFactory
from interlock.services.fleet.redialling import Redialler
from interlock.services.keys.certificates import CertificateReader
from interlock.services.keys.warrants import OwnKey
from interlock.services.operation.meters import Meters
from interlock.services.sessions.claims import SessionClaims
from interlock.services.sessions.sessions import Sessions

HEARTBEAT_S = 10.0
"""Seconds between two reports to the inventory."""

RETRY_S = 1.0
"""Seconds between two attempts while auth does not take the report: nobody can be admitted before it has."""

LISTED_FOR = timedelta(seconds=30)
"""How long a report counts: two may be lost before the node disappears from the list."""

RENEW_LOCAL_S = 24 * 3600.0
"""Seconds between two host certificates of a node in auth's own process."""

DELIVERY_GRACE_S = 3.0
"""Seconds that a stopping node gives auth to take recordings, then trackers, then the last events. What it does
not take is made up from the recordings on disk at the next start."""

FAREWELL = "the node is being stopped"

_WILDCARDS = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound to

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """What an administrator decides about a node."""

    data_dir: Path  # its own: identity and recordings in the making
    hostname: str  # the name under which people reach it
    host: str = "0.0.0.0"  # noqa: S104 - a node is there to be reached
    port: int = 3022
    advertise: str = ""  # host at which the proxy reaches it, when that is not the one it listens on
    proxy: str = ""  # host:port of the proxy that it dials out to; empty: as it joined
    labels: Mapping[str, str] = field(default_factory=dict)
    names: tuple[str, ...] = ()  # further names for its host certificate
    protected: frozenset[tuple[str, int]] = frozenset()  # the gateway's own listeners: see domain.reach.forbidden
    room: RecordingsConfig = field(default_factory=RecordingsConfig)  # how full the disk may be
    options: NodeOptions = field(default_factory=lambda: NodeOptions(extra_path=str(Path(sys.executable).parent)))

    @property
    def all_names(self) -> tuple[str, ...]:
        """The hostname first, each name once."""
        return tuple(dict.fromkeys((self.hostname, *self.names)))


@dataclass(frozen=True, slots=True)
class NodePorts:
    """What a node needs of auth."""

    audit: AuditLog
    trackers: TrackerStore
    recordings: RecordingStore
    inventory: Inventory
    admission: Admission
    locks: LockFeed
    leases: LeaseStore
    remaining: Remaining
    sync: Callable[[DaemonId], SyncStore] | None = None  # for recordings of this node that are sent as they happen
    claims: SessionClaims | None = None  # shared with auth in the same process; None: the node's own


Keeper = Callable[[NodeServer], Coroutine[None, None, None]]
"""Keeps a listening node's certificates and trust fresh until it is cancelled."""


async def serve_node(
    settings: NodeSettings,
    identity: NodeIdentity,
    ports: NodePorts,
    *,
    claims: ClaimsReader,
    keeper: Keeper,
    reached_at: str,
    clock: Clock,
    entropy: Entropy,
    stopping: asyncio.Event,
    signer: KeySource = unsigned,
    content: ContentKeys | None = None,
    agent: TunnelAgent | None = None,
    meters: Meters | None = None,
    watch: str = "",
    on_trust: Callable[[], None] = lambda: None,
    on_ready: Callable[[str, int], None] = lambda _host, _port: None,
) -> None:
    """Run the node until ``stopping`` is set, then end every session properly.

    ``reached_at`` is the host that the proxy dials if the settings name none. With an ``agent`` the node does not
    listen, and is reached by its tunnel. ``meters``: of the process, if others count there too. ``watch``: where
    to tell of itself (`daemons.monitor`). ``on_trust``: called when auth has other authorities. ``on_ready`` gets
    the bound address, or no host and port 0.
    ConfigError if the address is taken or the host key cannot be used.
    """
    meters = meters or Meters()
    emitter = Emitter(ports.audit, on_emit=meters.told)
    tenures = Tenures(
        locks=Locks(ports.locks, clock=clock),
        leases=Leases(ports.leases, daemon_id=identity.id, clock=clock, entropy=entropy),
        clock=clock,
        call_later=Wheel(clock).call_later,
        remaining=ports.remaining,
    )
    tenures.locks.on_trust = on_trust
    sessions = Sessions(
        daemon_id=identity.id,
        cluster=identity.cluster,
        clock=clock,
        entropy=entropy,
        emitter=emitter,
        trackers=ports.trackers,
        parts=FileRecordings(settings.data_dir / "recordings"),
        room=open_room(settings.room, settings.data_dir / "recordings"),
        recordings=ports.recordings,
        claims=ports.claims,
        locks=tenures.locks,
        signer=signer,
        content=content,
        sync=ports.sync(identity.id) if ports.sync is not None else None,
        meters=meters,
    )
    sessions.metered()
    await sessions.prepare()
    factory = EventFactory(cluster=identity.cluster, clock=clock, entropy=entropy)
    admission = OfflineAdmission(
        ports.admission,
        tenures.locks,
        lambda: server.target,
        clock=clock,
        told=telling(emitter, factory, identity.id),
    )
    server = NodeServer(
        target=_target(settings, identity, reached_at, tunnel=agent is not None),
        cluster=identity.cluster,
        host_key=identity.host_key,
        host_certificate=identity.host_certificate,
        claims=claims,
        admission=admission,
        sessions=sessions,
        tenures=tenures,
        audit=emitter,
        clock=clock,
        entropy=entropy,
        options=settings.options,
        protected=settings.protected,
    )
    host, port = await _open(server, settings, agent)
    recordings = settings.data_dir / "recordings"
    watching = watch_apart("node", watch, emitter, meters, stopping.is_set, recordings, sessions.check_room)
    async with watching, asyncio.TaskGroup() as tasks:
        storing = tasks.create_task(emitter.run(), name="node.emitter")
        tending = tasks.create_task(sessions.run(), name="node.sessions")
        dialling = [
            tasks.create_task(Redialler(each.dial, clock=clock, entropy=entropy).run(), name="node.tunnel")
            for each in ([agent] if agent is not None else [])
        ]
        upkeep = [
            tasks.create_task(_report(server, ports.inventory, clock, on_trust), name="node.heartbeat"),
            tasks.create_task(keeper(server), name="node.keeper"),
            tasks.create_task(tenures.run(), name="node.tenures"),
        ]
        on_ready(host, port)
        try:
            await stopping.wait()
        finally:
            if agent is not None:
                agent.serve(None)
            await server.stop(FAREWELL)
        with suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_GRACE_S):
                await tenures.leases.settle()
        await sessions.end_all(FAREWELL, grace=DELIVERY_GRACE_S)
        for task in upkeep:
            task.cancel()
        sessions.stop()
        await finished(tending, within=DELIVERY_GRACE_S)
        emitter.stop()
        await finished(storing, within=DELIVERY_GRACE_S)
        for task in dialling:  # last: what was delivered may have gone through the tunnel
            task.cancel()


async def run_local_node(
    settings: NodeSettings,
    *,
    cluster: str,
    auth: LocalAuth,
    ports: NodePorts,
    clock: Clock,
    entropy: Entropy,
    stopping: asyncio.Event,
    on_ready: Callable[[str, int], None] = lambda _host, _port: None,
    meters: Meters | None = None,
    content: ContentKeys | None = None,
    changed: asyncio.Event | None = None,
    told: Callable[[DaemonId, TrustBundle], Awaitable[None]] | None = None,
) -> None:
    """A node in auth's own process: the same, without joining and without a network in between.

    ``changed``: set when there are other authorities. ``told``: hears whom the node trusts, and is certified by.
    """
    prepare_data_dir(settings.data_dir)
    file = IdentityFile(settings.data_dir)
    identity = await _local_identity(settings, file.load(), cluster=cluster, auth=auth, entropy=entropy)
    file.save(identity)
    claims = CertificateReader(identity.user_cas)

    async def keep(server: NodeServer) -> None:
        again = changed or asyncio.Event()
        while True:
            if told is not None:
                await told(identity.id, await auth.trust())
            with suppress(TimeoutError):
                async with asyncio.timeout(RENEW_LOCAL_S):
                    await again.wait()
            again.clear()
            fresh = await _local_identity(settings, identity, cluster=cluster, auth=auth, entropy=entropy)
            claims.trust(fresh.user_cas)
            await server.renew(fresh.host_certificate)

    await serve_node(
        settings,
        identity,
        ports,
        claims=claims,
        keeper=keep,
        reached_at="127.0.0.1",
        clock=clock,
        entropy=entropy,
        stopping=stopping,
        signer=OwnKey(auth, identity.id, DaemonRole.NODE, clock=clock, entropy=entropy),
        content=content,
        on_ready=on_ready,
        meters=meters,
    )


async def _local_identity(
    settings: NodeSettings, stored: NodeIdentity | None, *, cluster: str, auth: LocalAuth, entropy: Entropy
) -> NodeIdentity:
    """The stored ID and host key, or new ones, under a certificate of now."""
    host_key = create_host_key() if stored is None else stored.host_key
    node_id = DaemonId(entropy.uuid()) if stored is None else stored.id
    names = settings.all_names
    certificate = await auth.issue_host(public_line(host_key), [*names, node_id])
    trust = await auth.trust()
    return NodeIdentity(node_id, cluster, names, host_key, certificate, trust.user_cas, trust.host_cas)


async def _open(server: NodeServer, settings: NodeSettings, agent: TunnelAgent | None) -> tuple[str, int]:
    """Be ready for clients, by the tunnel or by a port of our own; its address."""
    if agent is not None:
        await server.prepare()
        agent.serve(server.accept)
        return "", 0
    host, port = await _listen(server, settings)
    server.describe(replace(server.target, port=port))
    return host, port


async def _listen(server: NodeServer, settings: NodeSettings) -> tuple[str, int]:
    try:
        return await server.listen(settings.host, settings.port)
    except OSError as error:
        public = f"the node cannot listen on {settings.host}:{settings.port}: {error.strerror or error}"
        raise ConfigError(public, reason=str(error)) from error


def _target(settings: NodeSettings, identity: NodeIdentity, reached_at: str, *, tunnel: bool) -> Target:
    host = settings.advertise or (reached_at if settings.host in _WILDCARDS else settings.host)
    return Target(
        id=identity.id,
        hostname=settings.hostname,
        host="" if tunnel else host,
        port=0 if tunnel else settings.port,
        sub_kind=SubKind.NODE,
        labels=dict(settings.labels),
        version=SOFTWARE,
        tunnel=tunnel,
    )


async def _report(server: NodeServer, inventory: Inventory, clock: Clock, on_refused: Callable[[], None]) -> None:
    """Tell the inventory that the node is there, until cancelled. A failure is logged when it is a new one.

    ``on_refused``: called when auth does not want it there, so that it is asked what else it says.
    """
    failing = ""
    while True:
        try:
            await inventory.heartbeat(replace(server.target, expires=clock.now() + LISTED_FOR))
        except InterlockError as error:
            if error.public != failing:
                _log.warning("node.not_listed", error=error.public, reason=error.reason)
                if isinstance(error, Denied):
                    on_refused()
            failing = error.public
        else:
            if failing:
                _log.info("node.listed_again")
            failing = ""
        await asyncio.sleep(RETRY_S if failing else HEARTBEAT_S)

"""What a process of the gateway is made of, whether it is the only one, the supervisor, or a worker.

Composition only. `open_services` gives what all three have: the sessions of this process and what tells of them.
`proxy_parts` adds what only those have that speak SSH.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from interlock.adapters.age import AgeKeys, identity
from interlock.adapters.blob.synced import SyncedParts
from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.browser import Confirming
from interlock.adapters.ssh.dial import Dialler
from interlock.adapters.ssh.guarded import Gate
from interlock.adapters.ssh.hostkey import HostAuthorities, load_host_key
from interlock.adapters.ssh.leaf import LeafDialler, LeafPortals
from interlock.adapters.ssh.parts import Permits, ProxyParts
from interlock.adapters.ssh.portal import Answerer, PasswordCheck
from interlock.adapters.ssh.proxy import ProxyServer
from interlock.adapters.ssh.tunnel.entrance import TunnelEntrance
from interlock.core.errors import ConfigError
from interlock.core.ids import DaemonId
from interlock.core.limits import MAX_CONNECTIONS_PREAUTH
from interlock.daemons.config import Address, Config
from interlock.daemons.following import Following
from interlock.daemons.local import RECORDINGS, Local
from interlock.daemons.storage import open_room
from interlock.daemons.supervise import finished
from interlock.daemons.web import confirmations
from interlock.domain.cluster import door_of
from interlock.domain.container import Unlock
from interlock.domain.identity import Claims
from interlock.domain.lease import holder_of
from interlock.domain.rbac import Role
from interlock.domain.signing import DaemonRole, KeySource
from interlock.ports import (
    ClaimBoard,
    ClaimsReader,
    Clock,
    Cluster,
    ContentKeys,
    Entropy,
    HostIssuer,
    KeyReader,
    LeafIssuer,
    SessionLookup,
    TargetIssuer,
    TargetLookup,
    TrackerLookup,
)
from interlock.services.access.leases import Leases
from interlock.services.access.locks import Locks
from interlock.services.access.requests import Requests
from interlock.services.access.tenure import Tenures
from interlock.services.access.wheel import Wheel
from interlock.services.audit.emitter import Emitter, EventFactory
from interlock.services.audit.outbox import GATHER_S
from interlock.services.bots.bots import Bots
from interlock.services.clusters.federation import FederatedAdmission, FederatedClaims, Leaves
from interlock.services.keys.warrants import OwnKey
from interlock.services.operation.meters import Meters
from interlock.services.portal.ending import Ending
from interlock.services.portal.portal import LeafDirectory, Portal
from interlock.services.sessions.claiming import Claiming, claim_own
from interlock.services.sessions.claims import SessionClaims
from interlock.services.sessions.desk import Desk
from interlock.services.sessions.sessions import STORING_GRACE_S, Sessions
from interlock.services.signin.enrolment import Enrolment
from interlock.services.signin.selfservice import SelfService

FAREWELL = "The Interlock gateway is shutting down; your session ends."

DELIVERY_GRACE_S = 5.0
"""Seconds that a stopping gateway gives its database to take the last trackers, and then the last events. What it
does not take is made up from the recordings on disk at the next start."""

HOST_KEY = "ssh_host_ed25519_key"
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to


class Issuer(TargetIssuer, LeafIssuer, HostIssuer, Protocol):
    """Whoever signs for a proxy."""


@dataclass(frozen=True, slots=True)
class ProxyPorts:
    """What a proxy asks of auth, in its own process or apart."""

    permits: Permits
    leaves: Leaves
    issuer: Issuer
    portal: Answerer
    passwords: PasswordCheck
    confirming: Confirming
    trackers: TrackerLookup
    targets: TargetLookup
    lookup: SessionLookup
    current_roles: Callable[[Claims], Awaitable[list[Role]]]
    keys: KeyReader
    host_authorities: HostAuthorities
    is_peer: Callable[[DaemonId], bool] = lambda _daemon: False  # see `Desk`
    beacon: Callable[[], bytes] = lambda: b""  # see `Gate`: in auth's own process there is nobody to prove to


@dataclass(frozen=True, slots=True)
class ProxyServices:
    """Of one process that speaks SSH to people."""

    config: Config
    daemon_id: DaemonId
    cluster: Cluster
    clock: Clock
    entropy: Entropy
    emitter: Emitter
    factory: EventFactory
    claims: SessionClaims
    tenures: Tenures
    sessions: Sessions
    meters: Meters

    async def end(self, tending: asyncio.Task[None]) -> None:
        """End the sessions and store what they leave; ``tending`` runs `Sessions.run`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_GRACE_S):
                await self.tenures.leases.settle()
        await self.sessions.end_all(FAREWELL, grace=STORING_GRACE_S)
        self.sessions.stop()
        await finished(tending, within=DELIVERY_GRACE_S)

    async def flush(self, storing: asyncio.Task[None]) -> None:
        """Deliver the last events; ``storing`` runs `Emitter.run`."""
        self.emitter.stop()
        await finished(storing, within=DELIVERY_GRACE_S)


@dataclass(frozen=True, slots=True)
class Services(ProxyServices):
    """Of one process of a gateway."""

    local: Local
    following: Following
    signer: KeySource
    claiming: Claiming | None  # None: no other auth has this database

    async def claim(self) -> None:
        """Claim this process's sessions for all auths, until cancelled; what is refused ends."""
        if self.claiming is not None:
            self.claiming.end_refused(self.sessions)
            await self.claiming.run()


async def open_services(
    config: Config, local: Local, *, worker: str = "", board: ClaimBoard | None = None
) -> Services:
    """``worker``: the name of a worker's process, beside which the supervisor recovers what others left.

    ``board``: for the processes of a gateway that has several.
    """
    meters = Meters()
    emitter = Emitter(local.audit, gather=GATHER_S, on_emit=meters.told)
    local.authority.report_to(emitter)
    claims, claiming = _claims(local, board)
    for tracker in await local.trackers.live():
        claims.learn(tracker.sid, tracker.daemon_id)
    tenures = Tenures(
        locks=Locks(local.lock_feed(strict=config.auth.locking == "strict"), clock=local.clock),
        leases=Leases(
            local.leases,
            daemon_id=holder_of(local.daemon_id, worker) if worker else local.daemon_id,
            clock=local.clock,
            entropy=local.entropy,
            alone=board is None,
        ),
        clock=local.clock,
        call_later=Wheel(local.clock).call_later,
        remaining=local_admission(local),
    )
    signer = OwnKey(local.authority, local.daemon_id, DaemonRole.AUTH, clock=local.clock, entropy=local.entropy)
    sessions = Sessions(
        daemon_id=local.daemon_id,
        cluster=local.cluster.name,
        clock=local.clock,
        entropy=local.entropy,
        emitter=emitter,
        trackers=local.trackers,
        parts=local.recordings,
        recordings=local.recordings,
        claims=claims,
        sync=SyncedParts(local.recordings),
        twins=local.twins,
        locks=tenures.locks,
        gather=GATHER_S,
        recovers=not worker,
        room=open_room(config.recordings, local.data_dir / RECORDINGS, keeper=not worker),
        meters=meters,
        signer=signer,
        content=content_keys(config, local.entropy),
    )
    sessions.metered()
    factory = EventFactory(cluster=local.cluster.name, clock=local.clock, entropy=local.entropy)
    return Services(
        config,
        local.daemon_id,
        local.cluster,
        local.clock,
        local.entropy,
        emitter,
        factory,
        claims,
        tenures,
        sessions,
        meters,
        local,
        Following(local, tenures.locks),
        signer,
        claiming,
    )


def _claims(local: Local, board: ClaimBoard | None) -> tuple[SessionClaims, Claiming | None]:
    if local.claim is None or local.shared_claims is None:
        return SessionClaims(local.audit, board), None
    claims = SessionClaims(local.shared_claims, board)
    claiming = Claiming(claim_own(local.claim, claims))
    claims.tell = claiming.tell
    return claims, claiming


def content_keys(config: Config, entropy: Entropy) -> ContentKeys | None:
    """For whom recordings are encrypted; None: they are not. ConfigError if a recipient is none."""
    recipients = config.recordings.recipients
    try:
        return AgeKeys(recipients, entropy) if recipients else None
    except ConfigError as error:
        raise ConfigError(f"recordings.recipients: {error.public}", reason=error.reason) from None


def opener(config: Config) -> Unlock | None:
    """With which the gateway opens recordings for those who may play them; ConfigError if it cannot be read."""
    return identity(Path(config.recordings.identity)) if config.recordings.identity else None


async def door_claims(local: Local) -> FederatedClaims:
    """Whom the proxy's door believes; its `run` keeps up with what administrators change."""
    claims = FederatedClaims(local.claims, local.trusts, local.cluster, sleep=local.trust_nap())
    await claims.refresh()
    return claims


def make_proxy(parts: ProxyParts, local: Local) -> ProxyServer:
    """The proxy, not listening yet."""
    return ProxyServer(parts, load_host_key(local.data_dir / HOST_KEY))


def proxy_names(config: Config) -> tuple[str, ...]:
    """What clients call the proxy."""
    host = Address.parse("proxy.listen", config.proxy.listen).host
    own = (socket.gethostname(), *LOOPBACK_NAMES, *(() if host in WILDCARDS else (host,)))
    return tuple(dict.fromkeys((*config.proxy.names, *own)))


def check_proxy(config: Config) -> None:
    """What `Config.check` cannot know of the proxy; ConfigError."""
    opener(config)
    unknown = set(config.proxy.ciphers) - set(algorithms.ALL_CIPHERS)
    if unknown:
        raise ConfigError(f"proxy.ciphers: unknown cipher {min(unknown)!r}")


def cannot_listen(error: OSError, where: Address) -> ConfigError:
    """The one sentence for a port that is not to be had."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ConfigError(f"the proxy cannot listen on {where.host}:{where.port}: {reason.lower()}")


def local_ports(services: Services, passwords: PasswordCheck) -> ProxyPorts:
    """Auth in this process, or beside it on the same data directory."""
    local = services.local
    federated = local_admission(local)
    leaves = Leaves(federated, cluster=local.cluster, trusts=local.trusts, modes=local.clusters, clock=local.clock)
    return ProxyPorts(
        permits=federated,
        leaves=leaves,
        issuer=local.authority,
        portal=local_portal(services, federated, LeafPortals(local.authority, leaves)),
        passwords=passwords,
        confirming=confirmations(services.config.web, local, services.emitter),
        trackers=local.trackers,
        targets=local.inventory,
        lookup=local.audit,
        current_roles=local.admission.current_roles,
        keys=local.enrolled_keys(),
        host_authorities=services.following.host_authorities,
    )


def local_admission(local: Local) -> FederatedAdmission:
    """Policy, by what is stored."""
    return FederatedAdmission(
        users=local.users,
        roles=local.roles,
        targets=local.inventory,
        modes=local.clusters,
        locks=local.locks,
        clock=local.clock,
        cluster=local.cluster,
        trusts=local.trusts,
        requests=local.requests,
        keys=local.factor_store,
    )


def local_portal(services: Services, federated: FederatedAdmission, leaves: LeafDirectory) -> Portal:
    """What answers people's requests."""
    local = services.local
    return Portal(
        cluster=local.cluster.name,
        users=local.users,
        roles=local.roles,
        targets=local.inventory,
        trackers=local.catalogue,
        recordings=local.catalogue,
        authority=local.authority,
        locks=local.locks,
        leaves=leaves,
        foreign=federated,
        oneself=SelfService(
            factors=local.factors(services.emitter),
            enrolment=Enrolment(local.factor_store, local.clock),
            events=services.emitter,
            factory=services.factory,
            clock=local.clock,
        ),
        events=services.emitter,
        factory=services.factory,
        clock=local.clock,
        unlock=opener(services.config),
        log=local.audit,
        bots=Bots(
            local.bots,
            local.authority,
            local.locks,
            events=services.emitter,
            factory=services.factory,
            clock=local.clock,
            entropy=local.entropy,
        ),
        ending=Ending(
            trackers=local.trackers,
            targets=local.inventory,
            locks=local.locks,
            factory=services.factory,
            clock=local.clock,
            entropy=local.entropy,
        ),
        access=Requests(
            local.requests,
            roles=local.roles,
            locks=local.locks,
            factory=services.factory,
            clock=local.clock,
            entropy=local.entropy,
        ),
    )


def proxy_parts(
    services: ProxyServices,
    ports: ProxyPorts,
    *,
    tunnels: TunnelEntrance,
    believes: ClaimsReader,
    names: Sequence[str],
    workers: int = 1,
    coordinates: bool = True,
) -> ProxyParts:
    """``names``: of the host certificate. ``workers``: among how many processes connections are spread."""
    config = services.config
    desk = Desk(
        sessions=services.sessions,
        trackers=ports.trackers,
        targets=ports.targets,
        lookup=ports.lookup,
        current_roles=ports.current_roles,
        cluster=services.cluster.name,
        daemon_id=services.daemon_id,
        clock=services.clock,
        holder=services.claims.holder,
        is_peer=ports.is_peer,
    )
    return ProxyParts(
        daemon_id=services.daemon_id,
        gate=Gate(
            believes,
            services.clock,
            services.emitter,
            services.factory,
            services.tenures.locks,
            door_of(services.cluster.id),
            ports.keys,
            ports.beacon,
        ),
        permits=ports.permits,
        leaves=ports.leaves,
        leaf_dialler=LeafDialler(ports.issuer),
        dialler=Dialler(ports.issuer, ports.host_authorities, tunnels),
        hosts=ports.issuer,
        sessions=services.sessions,
        tenures=services.tenures,
        passwords=ports.passwords,
        confirming=ports.confirming,
        portal=ports.portal,
        desk=desk,
        entropy=services.entropy,
        tunnels=tunnels,
        names=names,
        ciphers=config.proxy.ciphers or algorithms.FAST_CIPHERS,
        call_later=services.tenures.call_later,
        strangers=max(1, MAX_CONNECTIONS_PREAUTH // workers),
        fronts=config.proxy.fronts,
        coordinates=coordinates,
    )


def host_names(services: ProxyServices) -> Sequence[str]:
    """The principals of the proxy's host certificate."""
    names = proxy_names(services.config)
    return (*names, services.cluster.id)  # the ID for root clusters, whatever they call this host

"""Composition of auth's gRPC side out of an open data directory."""

from collections.abc import Callable, Iterable

import structlog

from interlock.adapters.rpc.server import AuthRpcServer, AuthServices
from interlock.adapters.ssh.portal import PasswordCheck
from interlock.core.errors import NotFound
from interlock.core.portal import NodeItem
from interlock.daemons.local import Local
from interlock.daemons.proxy import Services, local_admission, local_portal
from interlock.daemons.web import confirmations
from interlock.domain.identity import Claims
from interlock.ports import LockFeed
from interlock.services.audit.emitter import EventFactory
from interlock.services.clusters.federation import FederatedClaims, Leaves
from interlock.services.clusters.trusting import Trusting
from interlock.services.fleet.proxies import Proxies
from interlock.services.fleet.tickets import CONFIRMED, PURPOSE, FactorTickets, Tickets
from interlock.services.keys.daemonca import DaemonCa, open_daemon_ca
from interlock.services.keys.joining import Joining, JoinSources
from interlock.services.keys.presence import PURPOSE as BEACONS
from interlock.services.keys.presence import Attendance, Beacons
from interlock.services.keys.rotation import HeardOf
from interlock.services.sessions.claims import SessionClaims

SPOOL = "arriving"

_log = structlog.get_logger()


async def auth_rpc_server(
    local: Local,
    claims: SessionClaims,
    sources: JoinSources,
    locks: LockFeed,
    *,
    reserved: Iterable[str] = (),
    proxies: Callable[[DaemonCa], Proxies] | None = None,
    recipients: tuple[str, ...] = (),
    unknown: frozenset[str] = frozenset(),
) -> AuthRpcServer:
    """Auth's two listeners, not listening yet: call its ``start`` and ``stop``.

    ``claims``: those of all daemons in this process. ``sources``: noted by the proxy of this process.
    ``locks``: the view that daemons follow. ``proxies``: makes what proxies apart are served by.
    ``recipients``: for whom daemons encrypt their recordings.
    ``unknown``: methods that are not served, as before there were any.
    ``reserved``: the names under which the proxy is reached, which no joining node may take.
    """
    clock, entropy, cluster = local.clock, local.entropy, local.cluster.name
    ca = await open_daemon_ca(local.authorities, cluster=cluster, entropy=entropy, now=clock.now())
    joining = Joining(
        cluster=cluster,
        cluster_id=local.cluster.id,
        tokens=local.tokens,
        ca=ca,
        hosts=local.authority,
        tunnels=local.authority,
        targets=local.inventory,
        trust=local.authority,
        proxies=local.proxies,
        clock=clock,
        entropy=entropy,
        reserved=reserved,
    )
    trusting = Trusting(
        cluster=local.cluster,
        tokens=local.tokens,
        trusts=local.trusts,
        authorities=local.authority,
        audit=local.audit,
        factory=EventFactory(cluster=cluster, clock=clock, entropy=entropy),
        clock=clock,
    )
    return AuthRpcServer(
        AuthServices(
            cluster=cluster,
            ca=ca,
            joining=joining,
            trusting=trusting,
            claims=claims,
            audit=local.audit,
            events=local.audit,
            trackers=local.trackers,
            recordings=local.recordings,
            arriving=local.arriving,
            inventory=local.inventory,
            admission=local.admission,
            locks=locks,
            leases=local.leases,
            trust=local.authority,
            heard=HeardOf(local.rotations, clock),
            warrants=local.authority,
            clock=clock,
            spool=local.data_dir / SPOOL,
            twins=local.twins,
            claim=local.claim,
            proxies=proxies(ca) if proxies is not None else None,
            recipients=recipients,
            unknown=unknown,
            sources=sources,
        )
    )


def proxies_apart(services: Services, passwords: PasswordCheck, ca: DaemonCa) -> Proxies:
    """What auth does for them. ``passwords``: with the brake that all proxies share."""
    local, required = services.local, services.config.auth.presence == "required"
    if not required:
        _log.warning("presence.when_offered", text="proxies that never proved that people are there are believed")
    admission = local_admission(local)
    leaves = Leaves(admission, cluster=local.cluster, trusts=local.trusts, modes=local.clusters, clock=local.clock)
    return Proxies(
        cluster=local.cluster,
        believes=FederatedClaims(local.claims, local.trusts, local.cluster),
        admission=admission,
        leaves=leaves,
        trusts=local.trusts,
        modes=local.clusters,
        signer=local.authority,
        portal=local_portal(services, admission, _ProxiesAsk()),
        passwords=passwords,
        confirmations=confirmations(services.config.web, services.local, services.emitter),
        tickets=Tickets(ca.secret(PURPOSE)),
        attendance=Attendance(
            Beacons(ca.secret(BEACONS)),
            local.proofs,
            required=required,
            events=services.emitter,
            factory=services.factory,
            clock=local.clock,
        ),
        confirmed=FactorTickets(ca.secret(CONFIRMED)),
        keys=local.enrolled_keys(),
        trackers=local.trackers,
        targets=local.inventory,
        proxies=local.proxies,
        lookup=local.audit,
        clock=local.clock,
    )


class _ProxiesAsk:
    """`portal.LeafDirectory` of auth, which dials nobody: proxies ask leaves themselves."""

    async def nodes(self, claims: Claims, cluster: str, client_addr: str) -> list[NodeItem]:
        """No."""
        del claims, client_addr
        raise NotFound(f"auth itself knows no nodes of the cluster {cluster[:128]}")

"""Composition of auth's gRPC side out of an open data directory."""

from collections.abc import Awaitable, Callable, Iterable

from interlock.adapters.rpc.server import AuthRpcServer, AuthServices
from interlock.daemons.local import Local
from interlock.ports import LockFeed
from interlock.services.audit.emitter import EventFactory
from interlock.services.clusters.trusting import Trusting
from interlock.services.fleet.pacing import Pacing
from interlock.services.fleet.proxies import Proxies
from interlock.services.fleet.removed import RemovedNodes
from interlock.services.keys.daemonroots import DaemonCas
from interlock.services.keys.joining import Joining, JoinSources
from interlock.services.keys.rotation import HeardOf
from interlock.services.sessions.claims import SessionClaims

SPOOL = "arriving"


async def auth_rpc_server(
    local: Local,
    claims: SessionClaims,
    sources: JoinSources,
    locks: LockFeed,
    *,
    reserved: Iterable[str] = (),
    proxies: Callable[[DaemonCas], Proxies] | None = None,
    follow: Callable[[Callable[[], Awaitable[None]]], None] = lambda _hook: None,
    recipients: tuple[str, ...] = (),
    unknown: frozenset[str] = frozenset(),
) -> AuthRpcServer:
    """Auth's two listeners, not listening yet: call its ``start`` and ``stop``.

    ``claims``: those of all daemons in this process. ``sources``: noted by the proxy of this process.
    ``locks``: the view that daemons follow. ``proxies``: makes what proxies apart are served by.
    ``recipients``: for whom daemons encrypt their recordings.
    ``follow``: calls what it is given when the authorities have changed.
    ``unknown``: methods that are not served, as before there were any.
    ``reserved``: the names under which the proxy is reached, which no joining node may take.
    """
    clock, entropy, cluster = local.clock, local.entropy, local.cluster.name
    ca = await daemon_cas(local)
    follow(ca.refresh)
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
    pacing = Pacing(
        audit=local.audit,
        trackers=local.trackers,
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
            remaining=local.admission,
            removed=RemovedNodes(local.inventory, clock),
            locks=locks,
            leases=local.leases,
            trust=local.authority,
            heard=HeardOf(local.rotations, clock),
            warrants=local.authority,
            clock=clock,
            spool=local.data_dir / SPOOL,
            twins=local.twins,
            pacing=pacing,
            claim=local.claim,
            proxies=proxies(ca) if proxies is not None else None,
            recipients=recipients,
            unknown=unknown,
            sources=sources,
        )
    )


async def daemon_cas(local: Local) -> DaemonCas:
    """The authorities of the cluster's daemons."""
    return await DaemonCas.load(
        local.authorities,
        local.rotations,
        cluster=local.cluster.name,
        entropy=local.entropy,
        now=local.clock.now(),
    )

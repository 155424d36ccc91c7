"""Composition of auth's gRPC side out of an open data directory."""

from collections.abc import Iterable

from interlock.adapters.rpc.server import AuthRpcServer, AuthServices
from interlock.daemons.local import Local
from interlock.ports import LockFeed
from interlock.services.claims import SessionClaims
from interlock.services.daemonca import open_daemon_ca
from interlock.services.emitter import EventFactory
from interlock.services.joining import Joining, JoinSources
from interlock.services.trusting import Trusting

SPOOL = "arriving"


async def auth_rpc_server(
    local: Local, claims: SessionClaims, sources: JoinSources, locks: LockFeed, *, reserved: Iterable[str] = ()
) -> AuthRpcServer:
    """Auth's two listeners, not listening yet: call its ``start`` and ``stop``.

    ``claims``: those of all daemons in this process. ``sources``: noted by the proxy of this process.
    ``locks``: the view that nodes follow.
    ``reserved``: the names under which the proxy is reached, which no joining node may take.
    """
    clock, entropy, cluster = local.clock, local.entropy, local.cluster.name
    ca = await open_daemon_ca(local.authorities, cluster=cluster, entropy=entropy, now=clock.now())
    joining = Joining(
        cluster=cluster,
        tokens=local.tokens,
        ca=ca,
        hosts=local.authority,
        tunnels=local.authority,
        targets=local.inventory,
        trust=local.authority,
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
            warrants=local.authority,
            clock=clock,
            spool=local.data_dir / SPOOL,
            sources=sources,
        )
    )

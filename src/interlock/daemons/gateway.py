"""The gateway: auth, proxy and, if asked for, a node in one process on one data directory.

Composition only. The order of the end is the point of `_serve`: nobody new, tell the people, end their sessions,
deliver what they left, and only then close what it is delivered to.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from interlock.adapters.blob.synced import SyncedParts
from interlock.adapters.rpc.server import Bound
from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.dial import Dialler
from interlock.adapters.ssh.door import Gate
from interlock.adapters.ssh.hostkey import load_host_key, public_data
from interlock.adapters.ssh.leaf import LeafDialler, LeafPortals
from interlock.adapters.ssh.parts import ProxyParts
from interlock.adapters.ssh.proxy import ProxyServer
from interlock.adapters.ssh.tunnel.entrance import AuthAddresses, TunnelEntrance
from interlock.core.address import parse_listen
from interlock.core.errors import ConfigError
from interlock.daemons.auth_rpc import auth_rpc_server
from interlock.daemons.config import DEFAULT_CLUSTER, Address, Config
from interlock.daemons.local import Local, open_local
from interlock.daemons.node import NodePorts, NodeSettings, run_local_node
from interlock.daemons.supervise import finished, sole_user
from interlock.domain.cluster import door_of
from interlock.domain.tracker import TRACKER_TTL
from interlock.services.claims import SessionClaims
from interlock.services.completer import Completer
from interlock.services.desk import Desk
from interlock.services.emitter import Emitter, EventFactory
from interlock.services.federation import FederatedAdmission, FederatedClaims, Leaves
from interlock.services.joining import JoinSources
from interlock.services.leases import Leases
from interlock.services.locks import Locks
from interlock.services.outbox import GATHER_S
from interlock.services.portal import Portal
from interlock.services.sessions import STORING_GRACE_S, Sessions
from interlock.services.sweeper import Sweeper
from interlock.services.tenure import Tenures
from interlock.services.wheel import Wheel

FAREWELL = "The Interlock gateway is shutting down; your session ends."

DELIVERY_GRACE_S = 5.0
"""Seconds that a stopping gateway gives its database to take the last trackers, and then the last events. What it
does not take is made up from the recordings on disk at the next start."""

NODE_DIRECTORY = "node"
_HOST_KEY = "ssh_host_ed25519_key"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound to

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the gateway listens, once it does."""

    proxy: str
    auth: str
    join: str
    node: str = ""


async def run_gateway(
    config: Config,
    data_dir: Path,
    *,
    with_node: bool,
    stopping: asyncio.Event,
    on_ready: Callable[[Listening], None] = lambda _listening: None,
    coordinates: bool = True,
) -> None:
    """Run until ``stopping`` is set. ConfigError or StoreError if it cannot start.

    ``coordinates``: False for a proxy of before the contract (`ProxyParts.coordinates`).
    """
    with sole_user(data_dir):
        async with open_local(data_dir, cluster_name=config.cluster or DEFAULT_CLUSTER) as local:
            if config.cluster not in ("", local.cluster.name):
                public = f"{data_dir} belongs to the cluster {local.cluster.name}, whose name cannot be changed"
                raise ConfigError(public, reason=f"{public}; the configuration says {config.cluster}")
            if config.mode is not None:
                await local.clusters.set_recording_mode(config.mode)
            await _serve(
                config,
                local,
                with_node=with_node,
                stopping=stopping,
                on_ready=on_ready,
                coordinates=coordinates,
            )


async def _serve(
    config: Config,
    local: Local,
    *,
    with_node: bool,
    stopping: asyncio.Event,
    on_ready: Callable[[Listening], None],
    coordinates: bool,
) -> None:
    _check(config, with_node=with_node)
    emitter = Emitter(local.audit, gather=GATHER_S)
    local.authority.report_to(emitter)
    factory = EventFactory(cluster=local.cluster.name, clock=local.clock, entropy=local.entropy)
    claims = await _claims(local)
    tenures = _tenures(config, local)
    sessions = _sessions(local, emitter, claims, tenures.locks)
    await sessions.prepare()
    names, sources = _proxy_names(config), JoinSources()
    door_claims = await _door_claims(local)
    sweeper = Sweeper(local.trackers, local.audit, local.audit, factory, clock=local.clock, lives_here=claims.held)
    completer = _completer(local, factory)
    rpc = await auth_rpc_server(local, claims, sources, tenures.locks, reserved=names)
    bound = await rpc.start(
        service=config.auth.listen, join=config.auth.join_listen, advertised=config.auth.advertise
    )
    try:
        tunnels = TunnelEntrance(local.claims, local.clock, _auth_addresses(bound), sources=sources)
        parts = _proxy_parts(config, local, emitter, factory, sessions, tenures, names, tunnels, door_claims)
        proxy = ProxyServer(replace(parts, coordinates=coordinates), load_host_key(local.data_dir / _HOST_KEY))
        where = Address.parse("proxy.listen", config.proxy.listen)
        proxy_host, proxy_port = await _listen(proxy, where)
        node_stopping = asyncio.Event()
        node_ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as tasks:
            storing = tasks.create_task(emitter.run(), name="gateway.emitter")
            tending = tasks.create_task(sessions.run(), name="gateway.sessions")
            upkeep = (
                tasks.create_task(_sweep(sweeper, completer, sessions), name="gateway.sweeper"),
                tasks.create_task(tenures.run(), name="gateway.tenures"),
                tasks.create_task(door_claims.run(), name="gateway.clusters"),
            )
            serving = tasks.create_task(proxy.run(), name="gateway.proxy")
            node: asyncio.Task[None] | None = None
            if with_node:
                node = tasks.create_task(
                    _node(config, local, claims, tenures.locks, node_stopping, node_ready), name="gateway.node"
                )
            else:
                node_ready.set_result("")
            on_ready(Listening(f"{proxy_host}:{proxy_port}", bound.service, bound.join, await node_ready))
            await stopping.wait()
            await proxy.stop(FAREWELL)
            await serving
            node_stopping.set()
            if node is not None:
                await node
            for task in upkeep:
                task.cancel()
            await tenures.leases.settle()
            await sessions.end_all(FAREWELL, grace=STORING_GRACE_S)
            sessions.stop()
            await finished(tending, within=DELIVERY_GRACE_S)
            await rpc.stop()
            emitter.stop()
            await finished(storing, within=DELIVERY_GRACE_S)
    finally:
        await rpc.stop()


async def _door_claims(local: Local) -> FederatedClaims:
    """Whom the proxy's door believes; its `run` keeps up with what administrators change."""
    claims = FederatedClaims(local.claims, local.trusts, local.cluster)
    await claims.refresh()
    return claims


async def _sweep(sweeper: Sweeper, completer: Completer, sessions: Sessions) -> None:
    """Recovery first, which knows more of how a session ended, unless it cannot get on."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TRACKER_TTL.total_seconds()):
            await sessions.wait_recovered()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sweeper.run(), name="gateway.sweeping")
        tasks.create_task(completer.run(), name="gateway.completing")


async def _listen(proxy: ProxyServer, where: Address) -> tuple[str, int]:
    try:
        return await proxy.listen(where.host, where.port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ConfigError(f"the proxy cannot listen on {where.host}:{where.port}: {reason.lower()}") from error


async def _claims(local: Local) -> SessionClaims:
    claims = SessionClaims(local.audit)
    for tracker in await local.trackers.live():
        claims.learn(tracker.sid, tracker.daemon_id)
    return claims


def _tenures(config: Config, local: Local) -> Tenures:
    return Tenures(
        locks=Locks(local.lock_feed(strict=config.auth.locking == "strict"), clock=local.clock),
        leases=Leases(local.leases, daemon_id=local.daemon_id, clock=local.clock, entropy=local.entropy),
        clock=local.clock,
        call_later=Wheel(local.clock).call_later,
    )


def _sessions(local: Local, emitter: Emitter, claims: SessionClaims, locks: Locks) -> Sessions:
    return Sessions(
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
        locks=locks,
        gather=GATHER_S,
    )


def _completer(local: Local, factory: EventFactory) -> Completer:
    return Completer(
        local.arriving, local.recordings, local.trackers, local.audit, local.audit, factory, clock=local.clock
    )


def _proxy_names(config: Config) -> tuple[str, ...]:
    host = Address.parse("proxy.listen", config.proxy.listen).host
    own = (socket.gethostname(), *_LOOPBACK_NAMES, *(() if host in _WILDCARDS else (host,)))
    return tuple(dict.fromkeys((*config.proxy.names, *own)))


def _check(config: Config, *, with_node: bool) -> None:
    """What `Config.check` cannot know; ConfigError."""
    unknown = set(config.proxy.ciphers) - set(algorithms.ALL_CIPHERS)
    if unknown:
        raise ConfigError(f"proxy.ciphers: unknown cipher {min(unknown)!r}")
    if with_node and config.node.proxy:
        raise ConfigError("node.proxy: a node in the gateway's own process needs no tunnel to it")


def _auth_addresses(bound: Bound) -> AuthAddresses:
    """Auth as the proxy in the same process reaches it."""

    def near(text: str) -> tuple[str, int]:
        host, port = parse_listen(text)
        return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104

    return AuthAddresses(near(bound.service), near(bound.join))


def _proxy_parts(
    config: Config,
    local: Local,
    emitter: Emitter,
    factory: EventFactory,
    sessions: Sessions,
    tenures: Tenures,
    names: tuple[str, ...],
    tunnels: TunnelEntrance,
    door_claims: FederatedClaims,
) -> ProxyParts:
    federated = FederatedAdmission(
        users=local.users,
        roles=local.roles,
        targets=local.inventory,
        modes=local.clusters,
        locks=local.locks,
        clock=local.clock,
        cluster=local.cluster,
        trusts=local.trusts,
    )
    leaves = Leaves(federated, cluster=local.cluster, trusts=local.trusts, modes=local.clusters, clock=local.clock)
    portal = Portal(
        cluster=local.cluster.name,
        users=local.users,
        roles=local.roles,
        targets=local.inventory,
        trackers=local.catalogue,
        recordings=local.catalogue,
        authority=local.authority,
        leaves=LeafPortals(local.authority, leaves),
        foreign=federated,
        events=emitter,
        factory=factory,
        clock=local.clock,
    )
    desk = Desk(
        sessions=sessions,
        trackers=local.trackers,
        targets=local.inventory,
        lookup=local.audit,
        current_roles=local.admission.current_roles,
        cluster=local.cluster.name,
        daemon_id=local.daemon_id,
        clock=local.clock,
    )
    return ProxyParts(
        daemon_id=local.daemon_id,
        gate=Gate(door_claims, local.clock, emitter, factory, tenures.locks, door_of(local.cluster.id)),
        permits=federated,
        leaves=leaves,
        leaf_dialler=LeafDialler(local.authority),
        dialler=Dialler(local.authority, frozenset({public_data(local.authority.export("host"))}), tunnels),
        hosts=local.authority,
        sessions=sessions,
        tenures=tenures,
        passwords=local.sign_in(emitter),
        portal=portal,
        desk=desk,
        entropy=local.entropy,
        tunnels=tunnels,
        names=(*names, local.cluster.id),  # the ID for root clusters, whatever they call this host
        ciphers=config.proxy.ciphers or algorithms.FAST_CIPHERS,
        call_later=tenures.call_later,
    )


async def _node(
    config: Config,
    local: Local,
    claims: SessionClaims,
    locks: Locks,
    stopping: asyncio.Event,
    ready: "asyncio.Future[str]",
) -> None:
    try:
        await run_local_node(
            node_settings(config, local.data_dir / NODE_DIRECTORY),
            cluster=local.cluster.name,
            auth=local.authority,
            ports=NodePorts(
                local.audit,
                local.trackers,
                local.recordings,
                local.inventory,
                local.admission,
                locks,
                local.leases,
                local.arriving.of,
                claims,
            ),
            clock=local.clock,
            entropy=local.entropy,
            stopping=stopping,
            on_ready=lambda host, port: ready.set_result(f"{host}:{port}"),
        )
    except Exception as error:
        if not ready.done():
            ready.cancel()
        raise error from None


def node_settings(config: Config, data_dir: Path) -> NodeSettings:
    """What the configuration says of this machine's node. ConfigError if it is wrong."""
    where = Address.parse("node.listen", config.node.listen)
    return NodeSettings(
        data_dir=data_dir,
        hostname=config.node_name,
        host=where.host,
        port=where.port,
        advertise=config.node.advertise,
        proxy=config.node.proxy,
        labels=config.node.labels,
        names=config.node.names,
        protected=_own_listeners(config),
    )


def _own_listeners(config: Config) -> frozenset[tuple[str, int]]:
    """Where this gateway listens, so that its node forwards nobody there; an empty host is every interface."""
    settings = (config.auth.listen, config.auth.join_listen, config.proxy.listen)
    places = [Address.parse("listen", text) for text in settings]
    every = {"", "0.0.0.0", "::"}  # noqa: S104  # read, not listened on
    return frozenset(("" if each.host in every else each.host, each.port) for each in places if each.port)

"""The gateway: auth and, if asked for, proxy and node on one data directory, in one process or in several.

Composition only. The order of the end is the point of `_serve`: nobody new, tell the people, end their sessions,
deliver what they left, and only then close what it is delivered to. The proxy is a `front.Front`: in this process,
or in workers of which this process is the supervisor (ADR-0014), or nowhere here, if proxies are apart (ADR-0018).
All the rest is here in any case, once.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from interlock.adapters.rpc.server import Bound
from interlock.adapters.ssh.portal import PasswordCheck
from interlock.adapters.ssh.tunnel.entrance import AuthAddresses, TunnelEntrance
from interlock.core.address import parse_listen
from interlock.core.errors import ConfigError, StoreError
from interlock.daemons.apart import proxies_apart
from interlock.daemons.auditing import duties, run_retention, sign_last, signer_of_checkpoints
from interlock.daemons.auth_rpc import auth_rpc_server
from interlock.daemons.config import DEFAULT_CLUSTER, Address, Config
from interlock.daemons.database import keep_database, tend_database
from interlock.daemons.exporting import exporters, finish_exports, run_exporters
from interlock.daemons.front import Front, NoProxy, OneProcess
from interlock.daemons.keys import keep_keys
from interlock.daemons.local import RECORDINGS, open_local
from interlock.daemons.monitor import monitor, room_for_recordings
from interlock.daemons.node import NodePorts, NodeSettings, run_local_node
from interlock.daemons.proxy import (
    FAREWELL,
    Services,
    check_proxy,
    content_keys,
    door_claims,
    host_names,
    local_ports,
    make_proxy,
    open_services,
    proxy_names,
    proxy_parts,
)
from interlock.daemons.reloading import Reloads
from interlock.daemons.rotating import keep_rotating
from interlock.daemons.shelf import Shelf
from interlock.daemons.storage import check_store, keep_place, tend_store
from interlock.daemons.supervise import sole_user
from interlock.daemons.supervisor import Workers
from interlock.daemons.web import WebPart, check_web, keep_url, signing_in, web
from interlock.domain.metrics import Reading
from interlock.domain.tracker import TRACKER_TTL
from interlock.ports import NO_ROOTS
from interlock.services.fleet.leading import Leading
from interlock.services.keys.joining import JoinSources
from interlock.services.keys.rotation import HeardOf
from interlock.services.operation.health import Health
from interlock.services.sessions.completer import Completer
from interlock.services.sessions.sessions import Sessions
from interlock.services.sessions.sweeper import Sweeper

NODE_DIRECTORY = "node"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the gateway listens, once it does."""

    proxy: str
    auth: str
    join: str
    node: str = ""
    monitor: str = ""
    web: str = ""


async def run_gateway(
    config: Config,
    data_dir: Path,
    *,
    with_node: bool,
    stopping: asyncio.Event,
    on_ready: Callable[[Listening], None] = lambda _listening: None,
    coordinates: bool = True,
    with_proxy: bool = True,
    workers: int = 1,
    reloads: Reloads | None = None,
    unknown: frozenset[str] = frozenset(),
) -> None:
    """Run until ``stopping`` is set. ConfigError or StoreError if it cannot start.

    ``coordinates``: False for a proxy of before the contract (`ProxyParts.coordinates`), in one process.
    ``unknown``: methods that an auth of an earlier time does not know.
    ``with_proxy``: False for auth alone. ``workers``: how many processes serve the proxy's port; one: this one.
    """
    with sole_user(data_dir):
        keep_database(data_dir, config.database)
        keep_place(data_dir, config.recordings)
        keep_keys(data_dir, config.auth.keys)
        async with open_local(data_dir, cluster_name=config.cluster or DEFAULT_CLUSTER) as local:
            if config.cluster not in ("", local.cluster.name):
                public = f"{data_dir} belongs to the cluster {local.cluster.name}, whose name cannot be changed"
                raise ConfigError(public, reason=f"{public}; the configuration says {config.cluster}")
            if config.mode is not None:
                await local.clusters.set_recording_mode(config.mode)
            _check(config, with_node=with_node)
            keep_url(data_dir, config.web)
            await check_store(local.recordings)
            shelf = Shelf.make(data_dir, local.entropy) if workers > 1 and with_proxy else None
            services = await open_services(config, local, board=shelf.board if shelf is not None else None)
            if shelf is not None:
                await local.leases.release_all(local.daemon_id)  # before any worker holds one
            try:
                await _serve(
                    services,
                    _Composition(workers, shelf, coordinates, with_proxy, unknown),
                    with_node=with_node,
                    stopping=stopping,
                    on_ready=on_ready,
                    reloads=reloads or Reloads(lambda: config),
                )
            finally:
                if shelf is not None:
                    shelf.clear()


@dataclass(frozen=True, slots=True)
class _Composition:
    """Of which processes the gateway is made."""

    workers: int
    shelf: Shelf | None  # what they share; None: there is one
    coordinates: bool
    with_proxy: bool
    unknown: frozenset[str]

    async def front(
        self, services: Services, bound: Bound, sources: JoinSources, passwords: PasswordCheck
    ) -> Front:
        """The proxy."""
        if not self.with_proxy:
            return NoProxy()
        addresses = _auth_addresses(bound)
        if self.shelf is not None:
            return Workers(
                services,
                self.shelf,
                number=self.workers,
                addresses=addresses,
                sources=sources,
                passwords=passwords,
            )
        local, believes = services.local, await door_claims(services.local)
        tunnels = TunnelEntrance(local.claims, local.clock, addresses, sources=sources)
        parts = proxy_parts(
            services,
            local_ports(services, passwords),
            tunnels=tunnels,
            believes=believes,
            names=host_names(services),
            coordinates=self.coordinates,
        )
        proxy = make_proxy(parts, local)
        services.following.then(proxy.renew)
        return OneProcess(services, proxy, believes)


async def _serve(
    services: Services,
    composition: _Composition,
    *,
    with_node: bool,
    stopping: asyncio.Event,
    on_ready: Callable[[Listening], None],
    reloads: Reloads,
) -> None:
    config, local, sessions, tenures = services.config, services.local, services.sessions, services.tenures
    await sessions.prepare()
    names = proxy_names(config) if composition.with_proxy else ()
    sources, passwords = JoinSources(), signing_in(config.web, local, services.emitter)
    lives_here = services.claims.held
    checkpoints = signer_of_checkpoints(local)
    sweeper = Sweeper(
        local.trackers,
        local.audit,
        local.audit,
        services.factory,
        clock=local.clock,
        lives_here=lives_here,
        chores=[checkpoints.sign],
    )
    completer = Completer(
        local.arriving,
        local.recordings,
        local.trackers,
        local.audit,
        local.audit,
        services.factory,
        clock=local.clock,
        signer=services.signer,
    )
    exporting = exporters(config.exports, local)
    leading = Leading(local.database.leads, duties(services), clock=local.clock)
    rpc = await auth_rpc_server(
        local,
        services.claims,
        sources,
        tenures.locks,
        reserved=names,
        proxies=lambda ca: proxies_apart(services, passwords, ca),
        follow=services.following.then,
        recipients=config.recordings.recipients,
        unknown=composition.unknown,
    )
    bound = await rpc.start(
        service=config.auth.listen, join=config.auth.join_listen, advertised=config.auth.advertise
    )
    stack = contextlib.AsyncExitStack()
    try:
        front = await composition.front(services, bound, sources, passwords)
        where = await front.open()
        watched, browsers = await _open_web(stack, services, front, passwords)
        node_stopping = asyncio.Event()
        node_ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as tasks:
            storing = tasks.create_task(services.emitter.run(), name="gateway.emitter")
            tending = tasks.create_task(sessions.run(), name="gateway.sessions")
            leads = tasks.create_task(leading.run(), name="gateway.leading")
            upkeep = (
                tasks.create_task(run_exporters(exporting, leading, local.exports), name="gateway.exports"),
                tasks.create_task(run_retention(services, leading), name="gateway.retention"),
                tasks.create_task(_sweep(sweeper, completer, sessions), name="gateway.sweeper"),
                tasks.create_task(tenures.run(), name="gateway.tenures"),
                tasks.create_task(services.claim(), name="gateway.claims"),
                tasks.create_task(services.following.run(), name="gateway.authorities"),
                tasks.create_task(keep_rotating(services), name="gateway.rotations"),
                tasks.create_task(reloads.obey(front.reload, local.clock), name="gateway.reloads"),
                tasks.create_task(tend_store(local.recordings, local.clock), name="gateway.storage"),
                tasks.create_task(tend_database(local.database, local.clock), name="gateway.database"),
            )
            serving = tasks.create_task(_meet(front, browsers), name="gateway.proxy")
            await front.wait_ready()
            node: asyncio.Task[None] | None = None
            if with_node:
                node = tasks.create_task(_node(services, node_stopping, node_ready), name="gateway.node")
            else:
                node_ready.set_result("")
            on_ready(Listening(where, bound.service, bound.join, await node_ready, watched, browsers.where))
            await stopping.wait()
            await _take_leave(front, browsers)
            await serving
            node_stopping.set()
            if node is not None:
                await node
            for task in upkeep:
                task.cancel()
            await services.end(tending)
            await rpc.stop()
            await services.flush(storing)
            await asyncio.wait(upkeep)
            await sign_last(checkpoints)
            await finish_exports(exporting, leading)
            leads.cancel()
    finally:
        await stack.aclose()
        await rpc.stop()


async def _open_web(
    stack: contextlib.AsyncExitStack, services: Services, front: Front, passwords: PasswordCheck
) -> tuple[str, WebPart]:
    """Listen for what watches this gateway, and for browsers."""
    watched = await stack.enter_async_context(_monitor(services, front))
    part = web(services.config, services.local, services.emitter, passwords)
    return watched, await stack.enter_async_context(part)


async def _meet(front: Front, browsers: WebPart) -> None:
    """Serve people until both are stopped."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(front.run(), name="gateway.front")
        tasks.create_task(browsers.run(), name="gateway.web")


async def _take_leave(front: Front, browsers: WebPart) -> None:
    browsers.stop()
    await front.stop(FAREWELL)


def _monitor(services: Services, front: Front) -> contextlib.AbstractAsyncContextManager[str]:
    """What this gateway tells of itself."""
    local = services.local

    async def readings() -> Reading:
        return Reading.sum([services.meters.reading(), await front.readings()])

    async def database() -> None:
        await local.database.write(lambda _connection: None)

    async def audit() -> None:
        if not services.emitter.healthy:
            raise StoreError("audit events wait that cannot be stored")

    checks = {
        "proxy": front.check,
        "database": database,
        "audit": audit,
        "recordings": room_for_recordings(local.data_dir / RECORDINGS, services.sessions.check_room),
    }
    return monitor(services.config.monitor.listen, health=Health(checks), readings=readings)


async def _sweep(sweeper: Sweeper, completer: Completer, sessions: Sessions) -> None:
    """Recovery first, which knows more of how a session ended, unless it cannot get on."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TRACKER_TTL.total_seconds()):
            await sessions.wait_recovered()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sweeper.run(), name="gateway.sweeping")
        tasks.create_task(completer.run(), name="gateway.completing")


def _check(config: Config, *, with_node: bool) -> None:
    """What `Config.check` cannot know; ConfigError."""
    check_proxy(config)
    check_web(config.web)
    if config.proxy.share_port:
        raise ConfigError("proxy.share_port is for proxies apart from auth: a gateway has workers")
    if with_node and config.node.proxy:
        raise ConfigError("node.proxy: a node in the gateway's own process needs no tunnel to it")


def _auth_addresses(bound: Bound) -> AuthAddresses:
    """Auth as the proxy on the same machine reaches it."""

    def near(text: str) -> tuple[str, int]:
        host, port = parse_listen(text)
        return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port  # noqa: S104

    return AuthAddresses(near(bound.service), near(bound.join))


async def _node(services: Services, stopping: asyncio.Event, ready: "asyncio.Future[str]") -> None:
    config, local = services.config, services.local
    changed, heard = asyncio.Event(), HeardOf(local.rotations, local.clock)

    async def renew() -> None:
        changed.set()

    services.following.then(renew)
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
                services.tenures.locks,
                local.leases,
                local.admission,
                local.arriving.of,
                services.claims,
            ),
            clock=local.clock,
            entropy=local.entropy,
            stopping=stopping,
            on_ready=lambda host, port: ready.set_result(f"{host}:{port}"),
            meters=services.meters,
            content=content_keys(config, local.entropy),
            changed=changed,
            told=partial(heard.told, certified=True, roots=NO_ROOTS),
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
        room=config.recordings,
    )


def _own_listeners(config: Config) -> frozenset[tuple[str, int]]:
    """Where this gateway listens, so that its node forwards nobody there; an empty host is every interface."""
    settings = (config.auth.listen, config.auth.join_listen, config.proxy.listen, config.web.listen)
    places = [Address.parse("listen", text) for text in settings if text]
    every = {"", "0.0.0.0", "::"}  # noqa: S104  # read, not listened on
    return frozenset(("" if each.host in every else each.host, each.port) for each in places if each.port)

"""A proxy apart from auth: what a worker has of its supervisor and of the data directory, it has of auth by gRPC.

Composition only. It has a directory for its identity and for recordings in the making, and no database. With a
stored identity it listens at once, whether auth answers or not.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.rpc.proxy_client import (
    FarKeys,
    FarPortal,
    FarSessions,
    FarStandings,
    FarTwins,
    ProxyClient,
)
from interlock.adapters.rpc.tls import split_address, split_addresses
from interlock.adapters.ssh.algorithms import FAST_CIPHERS
from interlock.adapters.ssh.hostkey import HostAuthorities, parse_host_key
from interlock.adapters.ssh.leaf import LeafPortals
from interlock.adapters.ssh.proxy import ProxyServer
from interlock.adapters.ssh.tunnel.entrance import AuthAddresses, TunnelEntrance
from interlock.adapters.ssh.tunnel.neighbours import Accept
from interlock.adapters.ssh.tunnel.peers import Membership
from interlock.core import portal as wire
from interlock.core.address import format_address
from interlock.core.errors import ConfigError, InterlockError
from interlock.core.ids import parse_name
from interlock.daemons.config import Address, Config
from interlock.daemons.join_server import Shown, join_server
from interlock.daemons.local import RECORDINGS, prepare_data_dir
from interlock.daemons.log import set_up_log
from interlock.daemons.membership import IdentityKeeper, JoinBy, own_address, until_joined, usable
from interlock.daemons.monitor import watch_apart
from interlock.daemons.node_identity import IdentityFile, NodeIdentity, public_line
from interlock.daemons.node_terms import NodeTerms
from interlock.daemons.notify import STOPPING, notify
from interlock.daemons.peering import Peering, peer_listener
from interlock.daemons.proxy import (
    FAREWELL,
    LOOPBACK_NAMES,
    WILDCARDS,
    ProxyPorts,
    ProxyServices,
    cannot_listen,
    check_proxy,
    proxy_names,
    proxy_parts,
)
from interlock.daemons.reloading import DRAINED, Reloads, drain
from interlock.daemons.shelf import own_sockets
from interlock.daemons.storage import open_room
from interlock.daemons.web import check_no_web
from interlock.domain.cluster import LeafPass
from interlock.domain.duties import RecordingMode
from interlock.domain.identity import Claims
from interlock.domain.permit import Permit
from interlock.ports import ClaimsReader, Clock, Cluster, Entropy, TargetCredential
from interlock.services.access.caller import Caller
from interlock.services.access.leases import Leases
from interlock.services.access.locks import Locks
from interlock.services.access.offline import telling
from interlock.services.access.standing import StandingAdmission, TrustedClusters
from interlock.services.access.tenure import Tenures
from interlock.services.access.wheel import Wheel
from interlock.services.audit.emitter import Emitter, EventFactory
from interlock.services.audit.outbox import GATHER_S
from interlock.services.clusters.federation import FederatedClaims, Leaves
from interlock.services.keys.beacons import LatestBeacon
from interlock.services.keys.joining import JoinSources
from interlock.services.operation.meters import Meters
from interlock.services.portal.playback import Download
from interlock.services.portal.portal import refusal
from interlock.services.sessions.claiming import Claiming
from interlock.services.sessions.claims import SessionClaims
from interlock.services.sessions.sessions import Sessions

PROXY_DIRECTORY = "proxy"

_HOW = "--join TOKEN and --auth HOST:PORT"

_log = structlog.get_logger()


async def run_proxy(
    config: Config,
    data_dir: Path,
    *,
    join_by: JoinBy | None,
    clock: Clock,
    entropy: Entropy,
    stopping: asyncio.Event,
    on_ready: Callable[[str], None] = lambda _where: None,
    reloads: Reloads | None = None,
    draining: asyncio.Event | None = None,
    coordinates: bool = True,
    proves: bool = True,
) -> None:
    """Run a proxy until ``stopping`` is set. ConfigError, SignInFailed or Denied if it cannot start.

    ``coordinates``: False for one of before the contract (`ProxyParts.coordinates`). ``proves``: False for one of
    before proofs of presence.
    ``draining``: once it is set, the proxy accepts nobody any more, and stops with its last session.
    ``join_by`` is needed for the first start only, and ignored later unless there is a reason to join again.
    """
    prepare_data_dir(data_dir)
    check_proxy(config)
    check_no_web(config.web)
    file, names = IdentityFile(data_dir), _own_names(config)
    identity = usable(file.load(), names, join_by, clock, kind="proxy", how=_HOW)
    if identity is None:
        if join_by is None:
            raise ConfigError(f"this proxy has not joined a cluster yet: start it with {_HOW}")
        identity = await until_joined(names, join_by, stopping)
        if identity is None:
            return
        file.save(identity)
    client = ProxyClient(identity.service, roots=identity.roots, identity=identity.pair, clock=clock)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(client.close)
        terms = NodeTerms(data_dir, identity.id, clock=clock, entropy=entropy)
        keeper = IdentityKeeper(identity, file, terms, clock, "proxy")
        proxy = _Proxy(config, data_dir, client, keeper, terms, clock, entropy, coordinates=coordinates)
        proxy.proves = proves
        proxy.reloads, proxy.draining = reloads or Reloads(lambda: config), draining or asyncio.Event()
        await proxy.run(stopping, on_ready)


class _Proxy:
    """See the module's docstring."""

    proves = True  # this and the next two: set before `run`
    reloads: Reloads
    draining: asyncio.Event

    def __init__(
        self,
        config: Config,
        data_dir: Path,
        client: ProxyClient,
        keeper: IdentityKeeper,
        terms: NodeTerms,
        clock: Clock,
        entropy: Entropy,
        *,
        coordinates: bool,
    ) -> None:
        identity = keeper.identity
        self._client = client
        self._keeper = keeper
        self._clock = clock
        self._data_dir = data_dir
        self._cluster = Cluster(identity.cluster_id, identity.cluster, RecordingMode.NODE, clock.now())
        self._trusted = TrustedClusters(client, clock=clock)
        self._believes = FederatedClaims(keeper.claims, self._trusted, self._cluster)
        self._claiming = Claiming(client.claim)
        host_key = parse_host_key(identity.host_key)
        line = public_line(identity.host_key)
        self._beacon = LatestBeacon(lambda: client.beacon(line))
        self._services = self._make_services(config, terms, entropy)
        self._host_authorities = HostAuthorities(identity.host_cas)
        keeper.on_trust = self._trust
        self._services.tenures.locks.on_trust = keeper.wake
        self._peering = Peering(client, identity.id, own_sockets(data_dir, identity.id), self._shown())
        keeper.on_renewed = lambda: self._peering.door.use(self._shown())
        keeper.on_moved = self._lead_to_auths
        self._claiming.end_refused(self._services.sessions)
        tunnels = TunnelEntrance(
            keeper.claims,
            clock,
            _auths(identity),
            sources=JoinSources(),
            neighbours=self._peering.ways,
        )
        self._tunnels = tunnels
        parts = proxy_parts(
            self._services,
            self._ports(),
            tunnels=tunnels,
            believes=_Keeping(self._believes),
            names=(*identity.names, self._cluster.id),
            coordinates=coordinates,
        )
        self._desk = parts.desk
        self._proxy = ProxyServer(parts, host_key)

    async def run(self, stopping: asyncio.Event, on_ready: Callable[[str], None]) -> None:
        """From the first connection to the last session."""
        services, proxy = self._services, self._proxy
        await services.sessions.prepare()
        if self.proves:
            await self._beacon.first()
        where = await self._listen()
        listener, advertised = await self._listen_for_peers()
        recordings, config = self._data_dir / RECORDINGS, services.config
        watching = watch_apart(
            "proxy",
            config.monitor.listen,
            services.emitter,
            services.meters,
            lambda: stopping.is_set() or self.draining.is_set(),
            recordings,
            services.sessions.check_room,
        )
        async with watching, asyncio.TaskGroup() as tasks:
            storing = tasks.create_task(services.emitter.run(), name="proxy.emitter")
            tending = tasks.create_task(services.sessions.run(), name="proxy.sessions")
            upkeep = (
                tasks.create_task(services.tenures.run(), name="proxy.tenures"),
                tasks.create_task(self._believes.run(), name="proxy.clusters"),
                tasks.create_task(self._claiming.run(), name="proxy.claims"),
                tasks.create_task(self._keeper.run(self, self._client), name="proxy.keeper"),
                tasks.create_task(self.reloads.obey(self._reload, self._clock), name="proxy.reloads"),
                tasks.create_task(self._leave(stopping), name="proxy.draining"),
                *([tasks.create_task(self._beacon.run(), name="proxy.beacon")] if self.proves else []),
            )
            peering = tasks.create_task(
                self._peering.run(self._tunnels, self._joins, listener, advertised), name="proxy.peering"
            )
            serving = tasks.create_task(proxy.run(), name="proxy.serving")
            on_ready(where)
            await stopping.wait()
            await proxy.stop(DRAINED if self.draining.is_set() else FAREWELL)
            await serving
            for task in (*upkeep, peering):
                task.cancel()
            await services.end(tending)
            await services.flush(storing)

    async def renew(self, host_certificate: str) -> None:
        """`membership.Renewable`: the keeper has it already."""
        del host_certificate
        await self._proxy.renew()

    async def _leave(self, stopping: asyncio.Event) -> None:
        """Once that is asked for, stop when nobody is left."""
        await self.draining.wait()
        self._proxy.close_door()
        _log.info("proxy.drains")
        await drain(self._proxy, self._tunnels)
        notify(STOPPING)
        stopping.set()

    async def _reload(self, load: Callable[[], Config]) -> None:
        """Go by what can be changed while people are here."""
        old, new = self._services.config, load()
        check_proxy(new)
        set_up_log(new.log_level)
        changed = [name for name in new.__struct_fields__ if getattr(new, name) != getattr(_like(old, new), name)]
        if changed:
            _log.warning("reload.needs_restart", settings=changed)
        await self._proxy.renew(new.proxy.ciphers or FAST_CIPHERS)
        _log.info("reload.done")

    async def _listen(self) -> str:
        config = self._services.config.proxy
        where = Address.parse("proxy.listen", config.listen)
        try:
            return format_address(*await self._proxy.listen(where.host, where.port, share=config.share_port))
        except OSError as error:
            raise cannot_listen(error, where) from error

    async def _listen_for_peers(self) -> tuple[socket.socket | None, str]:
        """The listener and the address that others are told; nothing if there is to be none."""
        config = self._services.config.proxy
        if not config.peer_listen:
            return None, ""
        listener = peer_listener(Address.parse("proxy.peer_listen", config.peer_listen))
        host, port = listener.getsockname()[:2]
        if host in WILDCARDS:
            host = await own_address(self._keeper.identity.service)
        return listener, config.peer_advertise or format_address(host, port)

    def _trust(self) -> None:
        self._host_authorities.trust(self._keeper.identity.host_cas)
        self._peering.door.use(self._shown())

    def _lead_to_auths(self) -> None:
        self._tunnels.auth = _auths(self._keeper.identity)

    def _shown(self) -> Membership:
        """To peers, now."""
        identity = self._keeper.identity
        return Membership(identity.cluster, identity.pair, identity.roots)

    async def _joins(self) -> Accept:
        """The server at which people join sessions of this proxy who came in by another."""
        identity = self._keeper.identity
        shown = Shown(identity.host_key, identity.host_certificate, self._keeper.claims)
        return (await join_server(self._services, self._desk, identity.id, shown)).accept

    def _make_services(self, config: Config, terms: NodeTerms, entropy: Entropy) -> ProxyServices:
        client, clock, cluster = self._client, self._clock, self._cluster
        daemon_id = self._keeper.identity.id
        meters = Meters()
        emitter = Emitter(client, gather=GATHER_S, on_emit=meters.told)
        claims = SessionClaims(tell=self._claiming.tell)
        tenures = Tenures(
            locks=Locks(client, clock=clock),
            leases=Leases(client, daemon_id=daemon_id, clock=clock, entropy=entropy),
            clock=clock,
            call_later=Wheel(clock).call_later,
            remaining=client,
        )
        sessions = Sessions(
            daemon_id=daemon_id,
            cluster=cluster.name,
            clock=clock,
            entropy=entropy,
            emitter=emitter,
            trackers=client,
            parts=FileRecordings(self._data_dir / RECORDINGS),
            recordings=client,
            room=open_room(config.recordings, self._data_dir / RECORDINGS),
            claims=claims,
            sync=client,
            twins=FarTwins(client),
            locks=tenures.locks,
            gather=GATHER_S,
            meters=meters,
            signer=terms.signer,
            content=terms,
        )
        sessions.metered()
        factory = EventFactory(cluster=cluster.name, clock=clock, entropy=entropy)
        return ProxyServices(
            config, daemon_id, cluster, clock, entropy, emitter, factory, claims, tenures, sessions, meters
        )

    def _ports(self) -> ProxyPorts:
        client, cluster, clock = self._client, self._cluster, self._clock
        services = self._services
        told = telling(services.emitter, services.factory, services.daemon_id)
        permits = StandingAdmission(FarStandings(client), services.tenures.locks, clock=clock, told=told)
        leaves = Leaves(permits, cluster=cluster, trusts=self._trusted, modes=permits, clock=clock)
        issuer, portal, sessions = _Issuer(client, self._keeper), FarPortal(client), FarSessions(client)
        return ProxyPorts(
            permits=permits,
            leaves=leaves,
            issuer=issuer,
            portal=_Portal(portal, LeafPortals(issuer, leaves), cluster.name),
            passwords=portal,
            confirming=portal,
            trackers=sessions,
            targets=client,
            lookup=sessions,
            current_roles=permits.current_roles,
            keys=FarKeys(client, clock),
            host_authorities=self._host_authorities,
            is_peer=self._peering.is_peer,
            beacon=self._beacon,
        )


def _auths(identity: NodeIdentity) -> AuthAddresses:
    """Where nodes that dial in are led to."""
    service, *others = split_addresses(identity.service)
    return AuthAddresses(service, split_address(identity.join), tuple(others))


class _Keeping:
    """`ports.ClaimsReader` that keeps the certificate with what it says, to show it to auth."""

    def __init__(self, reader: ClaimsReader) -> None:
        self._reader = reader

    def read(self, certificate: bytes, *, now: datetime) -> Claims:
        """See `ports.ClaimsReader`."""
        return replace(self._reader.read(certificate, now=now), certificate=certificate)


class _Issuer:
    """`daemons.proxy.Issuer`: auth, but for the proxy's own host certificate, which came with its identity."""

    def __init__(self, client: ProxyClient, keeper: IdentityKeeper) -> None:
        self._client = client
        self._keeper = keeper

    async def issue_for_target(
        self, permit: Permit, public_key: str, *, records: bool, client_addr: str = ""
    ) -> TargetCredential:
        """See `ports.TargetIssuer`."""
        return await self._client.issue_for_target(permit, public_key, records=records, client_addr=client_addr)

    async def issue_for_leaf(
        self, granted: LeafPass, public_key: str, *, offers: bool, client_addr: str = ""
    ) -> TargetCredential:
        """See `ports.LeafIssuer`."""
        return await self._client.issue_for_leaf(granted, public_key, offers=offers, client_addr=client_addr)

    async def issue_host(self, public_key: str, principals: Sequence[str]) -> str:
        """See `ports.HostIssuer`: for the proxy itself, or for a target in whose place it answers."""
        identity = self._keeper.identity
        if set(principals) <= {*identity.names, identity.id, identity.cluster_id}:
            return identity.host_certificate
        return await self._client.issue_for_jump(public_key, tuple(principals))


class _Portal:
    """`ssh.portal.Answerer`: auth answers, but for what leaf clusters say, which this proxy asks itself."""

    def __init__(self, auth: FarPortal, leaves: LeafPortals, cluster: str) -> None:
        self._auth = auth
        self._leaves = leaves
        self._cluster = cluster

    async def answer(self, caller: Caller, request: wire.AnyRequest) -> wire.AnyReply | Download:
        """The reply to one request."""
        try:
            match request:
                case wire.Nodes(cluster=cluster) if (
                    caller.claims is not None and cluster and cluster.lower() != self._cluster.lower()
                ):
                    return wire.NodeList(await self._leaves.nodes(caller.claims, cluster, caller.source))
                case _:
                    return await self._auth.answer(caller, request)
        except InterlockError as error:
            return refusal(error)


def _like(old: Config, new: Config) -> Config:
    """The old settings with those of the new ones that a reload changes."""
    proxy = msgspec.structs.replace(old.proxy, ciphers=new.proxy.ciphers)
    return msgspec.structs.replace(old, log_level=new.log_level, proxy=proxy)


def _own_names(config: Config) -> tuple[str, ...]:
    """What clients call the proxy, without what auth certifies for every proxy. ConfigError for a bad name."""
    for name in config.proxy.names:
        try:
            parse_name(name)
        except ValueError as error:
            raise ConfigError(f"proxy.names: {error}") from None
    return tuple(name for name in proxy_names(config) if name not in LOOPBACK_NAMES)

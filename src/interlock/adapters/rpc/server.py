"""Auth's gRPC side: the service for daemons with an identity (mTLS), and the listener where they get one.

The handlers check with `guard`, call a port, and answer; policy and storage are elsewhere.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import grpc

from interlock.adapters.rpc import messages as m
from interlock.adapters.rpc.codec import encode, from_wire
from interlock.adapters.rpc.guard import (
    DELIVERS,
    SessionOwners,
    Watchers,
    bounded,
    check_daemon,
    check_granted,
    check_lease,
    check_method,
    check_node,
    check_tracker,
    few_leases,
    own_events,
    spoken_of,
)
from interlock.adapters.rpc.proxy_server import ProxyHandlers
from interlock.adapters.rpc.serving import MAX_CALLS, Service, identify_daemon, identify_source
from interlock.adapters.rpc.spool import Spool
from interlock.adapters.rpc.tls import HANDSHAKE_TIMEOUT_S, ServerTls, split_addresses
from interlock.core.errors import ConfigError, Denied
from interlock.core.ids import DaemonId
from interlock.domain.access import Access
from interlock.domain.lease import Lease
from interlock.domain.lock import in_force
from interlock.domain.signing import DaemonRole
from interlock.ports import (
    Admission,
    AuditLog,
    Clock,
    EventReader,
    Inventory,
    KnownTrackers,
    LeaseStore,
    LockFeed,
    RecordingStore,
    Remaining,
    SyncStore,
    TrustSource,
    TwinStore,
    Warranting,
)
from interlock.services.clusters.trusting import LeafRequest, RootReply, Trusting
from interlock.services.fleet.pacing import Pacing
from interlock.services.fleet.proxies import Proxies
from interlock.services.fleet.removed import RemovedNodes
from interlock.services.keys.daemonca import DaemonKind, HostIdentity
from interlock.services.keys.daemonroots import DaemonCas, said_roots
from interlock.services.keys.joining import Joining, JoinRequest, JoinSources, Renewed
from interlock.services.keys.rotation import HeardOf
from interlock.services.sessions.claiming import Claim
from interlock.services.sessions.claims import SessionClaims

MAX_STREAMS = 4096
"""Calls with many replies at once: daemons that watch the locks, one each, and what is read by way of proxies."""

JOIN_IDLE_S = 30.0
"""Seconds for which somebody without an identity may be connected and ask nothing."""

_OPTIONS: list[tuple[str, int]] = [
    ("grpc.so_reuseport", 0),  # a second auth on the same address is an error, not a lottery
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),  # see `tls.KEEPALIVE_S`
]


class SyncArea(Protocol):
    """Where recordings arrive as they happen."""

    def of(self, daemon: DaemonId) -> SyncStore:
        """One daemon's."""
        ...


@dataclass(frozen=True, slots=True)
class AuthServices:
    """What of auth daemons apart may use."""

    cluster: str
    ca: DaemonCas
    joining: Joining
    trusting: Trusting
    claims: SessionClaims  # shared with the proxy of the same process
    audit: AuditLog
    events: EventReader
    trackers: KnownTrackers
    recordings: RecordingStore
    arriving: SyncArea
    inventory: Inventory
    admission: Admission
    remaining: Remaining
    removed: RemovedNodes
    locks: LockFeed
    leases: LeaseStore
    trust: TrustSource
    heard: HeardOf
    warrants: Warranting
    clock: Clock
    spool: Path  # directory for recordings that are arriving, on the file system of the recordings
    twins: TwinStore
    pacing: Pacing
    claim: Claim | None = None  # None: no other auth has this database
    proxies: Proxies | None = None  # None: there are none apart
    recipients: tuple[str, ...] = ()  # for whom recordings are encrypted
    unknown: frozenset[str] = frozenset()  # methods of an auth of an earlier time, that has none of these names
    sources: JoinSources = field(default_factory=JoinSources)  # shared with the proxy of the same process


@dataclass(frozen=True, slots=True)
class Bound:
    """The addresses that were bound, as host:port."""

    service: str
    join: str


class AuthRpcServer:
    """Both listeners. `start` once, `stop` once."""

    def __init__(self, services: AuthServices) -> None:
        self._services = services
        self._advertised = ""  # set by start, valid before the first call is served
        tls = ServerTls(services.ca, services.clock)
        handlers = _DaemonHandlers(services, lambda: self._advertised)
        self._service = _server(handlers.service(), m.MAX_MESSAGE, 2 * MAX_CALLS + MAX_STREAMS)
        self._service_credentials = tls.credentials(mutual=True)
        joining: Service[str] = Service(m.JOIN_SERVICE, identify_source(services.sources))
        joining.unary(m.AUTHORITY, self._authority)
        joining.unary(m.JOIN, self._join)
        joining.unary(m.TRUST_LEAF, self._trust_leaf)
        idle = ("grpc.max_connection_idle_ms", round(JOIN_IDLE_S * 1000))
        self._join_listener = _server(joining, m.MAX_JOIN_MESSAGE, options=(idle,))
        self._join_credentials = tls.credentials(mutual=False)

    async def start(self, *, service: str, join: str, advertised: str = "") -> Bound:
        """Listen on two addresses (host:port, port 0 for any); ConfigError if one is taken or malformed.

        ``advertised`` is the service's address (host:port) as daemons reach it, or that of each of several
        auths; by default they use the host at which they reached the join listener, with the service's port.
        """
        if advertised:
            split_addresses(advertised)
        service_bound = _bind(self._service, service, self._service_credentials)
        join_bound = _bind(self._join_listener, join, self._join_credentials)
        self._advertised = advertised or f":{service_bound.rpartition(':')[2]}"
        await self._service.start()
        await self._join_listener.start()
        return Bound(service_bound, join_bound)

    async def stop(self, grace: float = 2.0) -> None:
        """Take no new calls, let those in progress end for ``grace`` seconds, close."""
        await self._join_listener.stop(0)
        await self._service.stop(grace)

    async def _authority(self, _source: str, _request: m.Nothing) -> m.CaCertificate:
        ca = self._services.ca
        return m.CaCertificate(ca.shown.certificate, *(ca.vouched or ()))

    async def _join(self, source: str, request: JoinRequest) -> m.Joined:
        return m.Joined(await self._services.joining.join(request, source=source), self._advertised)

    async def _trust_leaf(self, source: str, request: LeafRequest) -> RootReply:
        return await self._services.trusting.accept(request, source=source)


class _DaemonHandlers:
    """The mTLS service, method by method."""

    def __init__(self, services: AuthServices, advertised: Callable[[], str]) -> None:
        self._services = services
        self._advertised = advertised
        self._owners = SessionOwners(services.claims, services.events, services.trackers, services.claim)
        self._spool = Spool(services.spool)
        self._watchers = Watchers()

    def service(self) -> Service[HostIdentity]:
        service = Service(m.AUTH_SERVICE, identify_daemon(self._services.cluster, self._services.ca), self._check)
        service.unary(m.APPEND, self._append)
        service.unary(m.PUT_TRACKER, self._put_tracker)
        service.unary(m.KEEP_TRACKERS, self._keep_trackers)
        service.unary(m.HEARTBEAT, self._heartbeat)
        service.unary(m.ADMIT, self._admit)
        service.unary(m.REMAINS, self._remains)
        service.stream(m.WATCH_LOCKS, self._watch_locks)
        service.unary(m.ACQUIRE, self._acquire)
        service.unary(m.RENEW_LEASES, self._renew_leases)
        service.unary(m.RELEASE, self._release)
        service.unary(m.RELEASE_ALL, self._release_all)
        service.unary(m.RENEW, self._renew)
        service.unary(m.TRUST, self._trust)
        service.upload(m.STORE_RECORDING, self._store_recording)
        service.unary(m.SYNC_READY, self._sync_ready)
        service.unary(m.SYNC_EXTEND, self._sync_extend)
        service.unary(m.RECORDING_TERMS, self._recording_terms)
        if self._services.proxies is not None:
            twins, pacing = self._services.twins, self._services.pacing
            ProxyHandlers(self._services.proxies, self._owners, twins, pacing).add_to(service)
        service.forget(self._services.unknown)
        return service

    async def _check(self, caller: HostIdentity, method: str) -> None:
        check_method(caller, method)
        await self._services.removed.check(caller, delivers=method in DELIVERS)

    async def _append(self, caller: HostIdentity, request: m.Events) -> m.Nothing:
        events = own_events(caller, [from_wire(event) for event in request.events])
        await self._services.pacing.events(caller, len(events), len(encode(request)))
        async with self._owners.speaking(caller, spoken_of(caller, events)):
            await self._services.audit.append(events)
        return m.Nothing()

    async def _put_tracker(self, caller: HostIdentity, request: m.PutTracker) -> m.Nothing:
        size = len(encode(request))
        check_tracker(caller, request.tracker, size)
        await self._services.pacing.tracker(caller, request.tracker, size)
        expires = self._services.clock.now() + bounded(request.ttl_s)
        async with self._owners.speaking(caller, [request.tracker.sid]):
            await self._services.trackers.put(replace(request.tracker, expires=expires, swept=False))
        return m.Nothing()

    async def _keep_trackers(self, caller: HostIdentity, request: m.KeepTrackers) -> m.Nothing:
        check_daemon(caller, request.daemon)
        expires = self._services.clock.now() + bounded(request.ttl_s)
        await self._services.trackers.keep(caller.id, request.sids, expires)
        return m.Nothing()

    async def _heartbeat(self, caller: HostIdentity, request: m.Heartbeat) -> m.Nothing:
        check_node(caller, request.node)
        expires = self._services.clock.now() + bounded(request.ttl_s)
        await self._services.inventory.heartbeat(replace(request.node, expires=expires))
        return m.Nothing()

    async def _admit(self, caller: HostIdentity, request: m.Admit) -> Access:
        check_daemon(caller, request.target)
        return await self._services.admission.admit(request.claims, request.login, request.target)

    async def _remains(self, caller: HostIdentity, request: m.Remains) -> m.Verdict:
        if caller.kind is DaemonKind.PROXY and self._services.proxies is not None:
            return m.Verdict.of(await self._services.proxies.standings.taken_away(caller, request.granted))
        check_granted(caller, request.granted)
        return m.Verdict.of(await self._services.remaining.taken_away(request.granted))

    async def _watch_locks(self, caller: HostIdentity, _request: m.Nothing) -> AsyncGenerator[m.Locks, None]:
        follow, ca, trust = self._services.locks.follow_locks(), self._services.ca, ""
        with self._watchers.place(caller) as is_latest:
            async with aclosing(follow) as told:
                async for each in told:
                    if not is_latest():
                        raise Denied(
                            "this daemon watches elsewhere", reason=f"node {caller.id} began another watch"
                        )
                    if each.trust != trust:
                        trust = each.trust
                        await ca.refresh()
                    ca.check(caller)
                    await self._services.removed.check(caller, delivers=True)
                    now = self._services.clock.now()
                    in_force_now = tuple(replace(lock, expires=None) for lock in in_force(each.locks, now))
                    yield m.Locks.of(replace(each, locks=in_force_now))

    async def _acquire(self, caller: HostIdentity, request: m.Acquire) -> m.Acquired:
        check_lease(caller, request.lease_id, request.semaphore)
        expires = self._services.clock.now() + bounded(request.ttl_s)
        lease = Lease(request.lease_id, request.semaphore, caller.id, expires)
        return m.Acquired(await self._services.leases.acquire(lease, request.limit))

    async def _renew_leases(self, caller: HostIdentity, request: m.RenewLeases) -> m.Leases:
        expires = self._services.clock.now() + bounded(request.ttl_s)
        ids = few_leases(caller, request.ids)
        return m.Leases(tuple(await self._services.leases.renew_leases(caller.id, ids, expires)))

    async def _release(self, caller: HostIdentity, request: m.Leases) -> m.Nothing:
        await self._services.leases.release(caller.id, few_leases(caller, request.ids))
        return m.Nothing()

    async def _release_all(self, caller: HostIdentity, _request: m.Nothing) -> m.Nothing:
        await self._services.leases.release_all(caller.id)
        return m.Nothing()

    async def _renew(self, caller: HostIdentity, request: m.Renew) -> Renewed:
        fresh = await self._services.joining.renew(caller, request.csr, request.host_key)
        await self._services.heard.told(caller.id, fresh.trust, certified=True)
        return fresh

    async def _trust(self, caller: HostIdentity, request: m.AskTrust) -> m.Trust:
        bundle, ca = await self._services.trust.trust(), self._services.ca
        await ca.refresh()
        await self._services.heard.told(caller.id, bundle, roots=said_roots(request.roots), issuer=caller.issuer)
        said = self._advertised()
        return m.Trust(bundle.user_cas, bundle.host_cas, "" if said.startswith(":") else said, ca.roots)

    async def _store_recording(
        self, caller: HostIdentity, request: m.RecordingHeader, chunks: AsyncIterator[bytes]
    ) -> m.Stored:
        async with (
            self._owners.speaking(caller, [request.sid]),
            self._spool.received(request.size, chunks) as path,
        ):
            return m.Stored(await self._services.recordings.store(request.sid, path))

    async def _sync_ready(self, caller: HostIdentity, request: m.SyncReady) -> m.Nothing:
        async with self._owners.speaking(caller, [request.sid]):
            await self._services.arriving.of(caller.id).ready(request.sid)
        return m.Nothing()

    async def _sync_extend(self, caller: HostIdentity, request: m.SyncExtend) -> m.Nothing:
        async with self._owners.speaking(caller, [request.sid]):
            await self._services.arriving.of(caller.id).extend(request.sid, request.offset, request.data)
        return m.Nothing()

    async def _recording_terms(self, caller: HostIdentity, request: m.AskTerms) -> m.Terms:
        services, key = self._services, request.key
        warrant = services.warrants.warrant(caller.id, DaemonRole.NODE, key) if key else b""
        return m.Terms(warrant, services.recipients)


def _server(
    service: Service[str] | Service[HostIdentity],
    longest: int,
    calls: int = MAX_CALLS,
    options: Sequence[tuple[str, int]] = (),
) -> grpc.aio.Server:
    sizes = [("grpc.max_receive_message_length", longest), ("grpc.max_send_message_length", m.MAX_MESSAGE)]
    patience = ("grpc.server_handshake_timeout_ms", round(HANDSHAKE_TIMEOUT_S * 1000))
    server = grpc.aio.server(options=[*_OPTIONS, *sizes, patience, *options], maximum_concurrent_rpcs=calls)
    server.add_generic_rpc_handlers((service.handler(),))
    return server


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> str:
    try:
        port = server.add_secure_port(address, credentials)
    except RuntimeError:
        port = 0
    if port == 0:
        raise ConfigError(f"cannot listen on {address}: is it taken by another process?")
    return f"{address.rpartition(':')[0]}:{port}"

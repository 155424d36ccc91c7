"""A real auth RPC server on loopback over stores in memory."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

from interlock.adapters.blob.arriving import ArrivingRecordings
from interlock.adapters.rpc.client import AuthClient
from interlock.adapters.rpc.joiner import Membership, join
from interlock.adapters.rpc.server import AuthRpcServer, AuthServices, Bound
from interlock.adapters.system import SystemClock, SystemEntropy
from interlock.core.errors import Denied, NotFound, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.access import NOTHING_SPECIAL, Access
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.duties import RecordingMode
from interlock.domain.granted import Granted
from interlock.domain.identity import Claims
from interlock.domain.signing import DaemonRole, issue_warrant
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import Tracker, TrackerState
from interlock.ports import (
    Clock,
    Cluster,
    EventFilter,
    Heard,
    JoinToken,
    KeyRingSource,
    RecordingInfo,
    RecordingStore,
    TokenKind,
    TrustBundle,
)
from interlock.services.audit.emitter import EventFactory
from interlock.services.clusters.trusting import Trusting
from interlock.services.fleet.pacing import PACE, Pacing
from interlock.services.fleet.removed import RemovedNodes
from interlock.services.keys.daemonca import DaemonCa, KeyPair, create_authority, create_key
from interlock.services.keys.daemonroots import DaemonCas
from interlock.services.keys.joining import Joining, TokenText, create_token
from interlock.services.keys.rotation import HeardOf
from interlock.services.sessions.claims import SessionClaims
from interlock.testing.limits import MemoryLeases, MemoryLocks
from interlock.testing.recordings import AUTHORITY, START
from interlock.testing.stores import MemoryProxies, MemoryTrusts, MemoryTwins

CLUSTER = "example"
CLUSTER_ID = "0a0a0a0a-0000-4000-8000-000000000001"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZha2UgaG9zdCBrZXkgZm9yIHRlc3RzIG9ubHkhISEh"


@dataclass
class Stores:
    """Auth's ports in memory, all in one object; ``failure`` and ``denial`` are raised where they fit."""

    stored_events: list[AuditEvent] = field(default_factory=list)
    rejudged: list[Granted] = field(default_factory=list)
    removed: dict[DaemonId, datetime] = field(default_factory=dict)
    taken: Denied | None = None  # what is answered of everybody who is judged again
    trackers: dict[SessionId, Tracker] = field(default_factory=dict)
    kept: list[tuple[DaemonId, tuple[SessionId, ...], datetime]] = field(default_factory=list)
    recordings_by_sid: dict[SessionId, bytes] = field(default_factory=dict)
    nodes: dict[str, Target] = field(default_factory=dict)
    noted: dict[DaemonId, Heard] = field(default_factory=dict)
    join_tokens: dict[str, JoinToken] = field(default_factory=dict)
    admitted: list[tuple[Claims, str, DaemonId]] = field(default_factory=list)
    access: Access = NOTHING_SPECIAL
    denial: Denied | None = None
    failure: Exception | None = None

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """`ports.AuditLog`."""
        if self.failure is not None:
            raise self.failure
        self.stored_events += events

    async def events(self, wanted: EventFilter) -> list[dict[str, JsonValue]]:
        """`ports.EventReader`."""
        return [event.to_json() for event in self.stored_events if event.sid == wanted.sid][: wanted.limit]

    async def put(self, tracker: Tracker) -> None:
        """`ports.TrackerStore`."""
        self.trackers[tracker.sid] = tracker

    async def put_all(self, trackers: Sequence[Tracker]) -> None:
        """`ports.TrackerStore`."""
        for tracker in trackers:
            await self.put(tracker)

    async def keep(self, daemon: DaemonId, sids: Iterable[SessionId], expires: datetime) -> None:
        """`ports.TrackerStore`."""
        self.kept.append((daemon, tuple(sids), expires))

    async def live(self) -> list[Tracker]:
        """`ports.TrackerStore`."""
        return list(self.trackers.values())

    async def count_live(self, daemon: DaemonId) -> int:
        """`ports.KnownTrackers`."""
        mine = [each for each in self.trackers.values() if each.daemon_id == daemon]
        return sum(each.state is not TrackerState.TERMINATED for each in mine)

    async def find(self, sid: SessionId) -> Tracker | None:
        """`ports.TrackerLookup`."""
        return self.trackers.get(sid)

    async def store(self, sid: SessionId, path: Path) -> str:
        """`ports.RecordingStore`."""
        self.recordings_by_sid[sid] = await asyncio.to_thread(path.read_bytes)
        return f"memory:{sid}"

    async def recordings(self, only: Iterable[SessionId] | None = None) -> list[RecordingInfo]:
        """`ports.RecordingStore`."""
        del only
        return []

    def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """`ports.RecordingStore`."""
        raise NotFound(f"no recording {sid}")

    async def heartbeat(self, node: Target) -> None:
        """`ports.Inventory`."""
        self.nodes[node.hostname] = node

    async def target(self, name: str) -> Target:
        """`ports.TargetSource`."""
        for found in await self.named(name):
            return found
        raise NotFound(f"no node {name}")

    async def named(self, name: str) -> list[Target]:
        """`ports.TargetSource`."""
        return [node for node in self.nodes.values() if name in (node.hostname, node.id)]

    async def targets(self) -> list[Target]:
        """`ports.TargetSource`."""
        return list(self.nodes.values())

    async def admit(self, claims: Claims, login: str, target: DaemonId) -> Access:
        """`ports.Admission`."""
        self.admitted.append((claims, login, target))
        if self.denial is not None:
            raise self.denial
        return self.access

    async def removed_nodes(self) -> dict[DaemonId, datetime]:
        """`ports.RemovedSource`."""
        return dict(self.removed)

    async def taken_away(self, granted: Granted) -> Denied | None:
        """`ports.Remaining`."""
        self.rejudged.append(granted)
        return self.taken

    async def issue_host(self, public_key: str, principals: Sequence[str]) -> str:
        """`ports.HostIssuer`."""
        return f"{public_key} signed for {','.join(principals)}"

    async def issue_tunnel(self, public_key: str, node: DaemonId) -> str:
        """`ports.TunnelIssuer`."""
        return f"{public_key} for the tunnel of {node}"

    async def heard(self) -> list[Heard]:
        """`ports.HeardStore`."""
        return list(self.noted.values())

    async def note_heard(self, heard: Heard) -> None:
        """`ports.HeardStore`."""
        self.noted[heard.daemon] = heard

    async def trust(self) -> TrustBundle:
        """`ports.TrustSource`."""
        return TrustBundle(("user-ca",), ("host-ca",))

    def warrant(self, daemon: DaemonId, role: DaemonRole, public: bytes) -> bytes:
        """`ports.Warranting`."""
        return issue_warrant(
            AUTHORITY,
            cluster=CLUSTER,
            daemon=daemon,
            role=role,
            public=public,
            valid_from=START,
            valid_until=START + timedelta(days=30),
        )

    async def add_token(self, token: JoinToken) -> None:
        """`ports.TokenStore`."""
        self.join_tokens[token.id] = token

    async def token(self, token_id: str) -> JoinToken | None:
        """`ports.TokenStore`."""
        return self.join_tokens.get(token_id)

    async def spend_token(self, token_id: str) -> bool:
        """`ports.TokenStore`."""
        token = self.join_tokens[token_id]
        self.join_tokens[token_id] = replace(token, uses=max(0, token.uses - 1))
        return token.uses > 0

    async def tokens(self) -> list[JoinToken]:
        """`ports.TokenStore`."""
        return list(self.join_tokens.values())

    async def remove_token(self, token_id: str) -> None:
        """`ports.TokenStore`."""
        del self.join_tokens[token_id]


class Auth:
    """An auth daemon that can be stopped and started again on the same ports."""

    def __init__(self, directory: Path) -> None:
        self.clock: Clock = SystemClock()
        self.entropy = SystemEntropy()
        self.stores = Stores()
        self.trusts = MemoryTrusts()
        self.recordings: RecordingStore = self.stores
        self.locks = MemoryLocks()
        self.leases = MemoryLeases(self.clock)
        self.claims = SessionClaims()  # new ones at every start
        self.twins = MemoryTwins()
        self.proxies = MemoryProxies()
        keys = create_authority(CLUSTER, entropy=self.entropy, now=self.clock.now())
        self.ca = DaemonCa(keys, cluster=CLUSTER, entropy=self.entropy)
        self.ring: KeyRingSource | None = None  # where its authorities are as they change
        self.unknown: frozenset[str] = frozenset()  # from the next start on
        self.pace = PACE  # of each daemon, from the next start on
        self.bound = Bound("127.0.0.1:0", "127.0.0.1:0")
        self.directory = directory
        self.arriving = ArrivingRecordings(
            directory.with_name("sync"),
            directory.with_name("quarantine"),
            stored=lambda sid: sid in self.stored_elsewhere,
        )
        self.stored_elsewhere: set[SessionId] = set()  # whose recordings count as finished
        self._server: AuthRpcServer | None = None

    def services(self) -> AuthServices:
        """Everything over the stores in memory."""
        stores = self.stores
        self.cas = cas = DaemonCas(self.ca, self.ring, cluster=CLUSTER, entropy=self.entropy)
        joining = Joining(
            cluster=CLUSTER,
            cluster_id=CLUSTER_ID,
            tokens=stores,
            ca=cas,
            hosts=stores,
            tunnels=stores,
            targets=stores,
            trust=stores,
            proxies=self.proxies,
            clock=self.clock,
            entropy=self.entropy,
            reserved=["proxy.example.com"],
        )
        cluster = Cluster(CLUSTER_ID, CLUSTER, RecordingMode.PROXY, self.clock.now())
        trusting = Trusting(
            cluster=cluster,
            tokens=stores,
            trusts=self.trusts,
            authorities=stores,
            audit=stores,
            factory=EventFactory(cluster=CLUSTER, clock=self.clock, entropy=self.entropy),
            clock=self.clock,
        )
        return AuthServices(
            cluster=CLUSTER,
            ca=cas,
            joining=joining,
            trusting=trusting,
            claims=self.claims,
            audit=stores,
            events=stores,
            trackers=stores,
            recordings=self.recordings,
            arriving=self.arriving,
            inventory=stores,
            admission=stores,
            remaining=stores,
            removed=RemovedNodes(stores, self.clock),
            locks=self.locks,
            leases=self.leases,
            trust=stores,
            heard=HeardOf(stores, self.clock),
            warrants=stores,
            clock=self.clock,
            spool=self.directory,
            twins=self.twins,
            pacing=Pacing(
                audit=stores,
                trackers=stores,
                factory=EventFactory(cluster=CLUSTER, clock=self.clock, entropy=self.entropy),
                clock=self.clock,
                pace=self.pace,
            ),
            unknown=self.unknown,
        )

    async def start(self) -> None:
        """Listen, on the ports of the last time if there was one."""
        self.claims = SessionClaims()
        self._server = AuthRpcServer(self.services())
        self.bound = await self._server.start(service=self.bound.service, join=self.bound.join)

    async def stop(self) -> None:
        """Close both listeners."""
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def token(self, uses: int = 1, kind: TokenKind = TokenKind.NODE) -> TokenText:
        """A fresh join token."""
        return await create_token(
            self.stores, pin=self.ca.pin, clock=self.clock, entropy=self.entropy, uses=uses, kind=kind
        )

    async def join(self, *names: str) -> tuple[Membership, KeyPair]:
        """A daemon that has just joined under these names, and its X.509 identity."""
        key = create_key()
        membership = await join(self.bound.join, await self.token(), names=names, key=key, host_key=HOST_KEY)
        return membership, KeyPair(key, membership.reply.certificate)

    def client(self, membership: Membership, identity: KeyPair) -> AuthClient:
        """Its client."""
        return AuthClient(membership.service, roots=membership.roots, identity=identity, clock=self.clock)


SID = SessionId("11111111-1111-4111-8111-111111111111")
"""The session that a `Node` has when nothing else is said."""


@dataclass
class Node:
    """A daemon that has joined."""

    auth: Auth
    id: DaemonId
    client: AuthClient

    def event(self, kind: Kind = Kind.SESSION_START, sid: SessionId | None = SID) -> AuditEvent:
        """An event that it recorded."""
        now, uid = self.auth.clock.now(), self.auth.entropy.uuid()
        return AuditEvent(kind, now, uid, CLUSTER, sid, fields={"recorded_by": self.id, "initial_command": ["ls"]})

    def tracker(self, sid: SessionId = SID) -> Tracker:
        """The tracker of a session on it."""
        now = self.auth.clock.now()
        return Tracker(
            sid=sid,
            state=TrackerState.RUNNING,
            created=now,
            expires=now + timedelta(seconds=30),
            user="alice",
            login="root",
            hostname="db1",
            target_id=self.id,
            daemon_id=self.id,
            cluster=CLUSTER,
            sub_kind="interlock",
            recording_mode="node",
        )

    def target(self) -> Target:
        """Itself, as it reports itself."""
        expires = self.auth.clock.now() + timedelta(seconds=30)
        return Target(self.id, "db1", "10.0.0.1", 3022, SubKind.NODE, {"env": "test"}, expires=expires)

    async def reached(self) -> None:
        """Wait until its client is connected to auth again."""
        while True:
            try:
                await self.client.trust()
            except StoreError:
                await asyncio.sleep(0.02)
            else:
                return

    @classmethod
    async def join(cls, auth: Auth, *names: str) -> Self:
        """Join and connect."""
        membership, identity = await auth.join(*names)
        return cls(auth, membership.reply.id, auth.client(membership, identity))

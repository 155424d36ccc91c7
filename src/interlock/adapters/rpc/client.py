"""Auth as a daemon apart from it sees it: the same ports, over gRPC.

Implements `ports.AuditLog`, `TrackerStore`, `RecordingStore`, `SyncStore`, `Inventory`, `Admission`, `Remaining`,
`LockFeed`, `LeaseStore` and `TrustSource`. Nothing is kept or repeated here: whoever appends or stores tries again
after a StoreError.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from interlock.adapters.rpc import messages as m
from interlock.adapters.rpc.calling import Stream, call, subscribe, upload
from interlock.adapters.rpc.codec import encode, to_wire
from interlock.adapters.rpc.messages import ReplyT, RequestT
from interlock.adapters.rpc.tls import UNIX, open_channel, server_certificate
from interlock.core.errors import Denied, LocalProtocolError, NoAnswer, NotFound, RecordingError, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.core.presence import NO_PRESENCE
from interlock.domain.access import Access
from interlock.domain.audit import AuditEvent
from interlock.domain.granted import Granted
from interlock.domain.identity import Claims
from interlock.domain.lease import Lease
from interlock.domain.lock import LockList
from interlock.domain.target import Target
from interlock.domain.tracker import Tracker
from interlock.ports import Clock, RecordingInfo, RecordingTerms, TrustBundle
from interlock.services.keys.daemonca import KeyPair, create_request
from interlock.services.keys.daemonroots import issuer_pin, root_pins
from interlock.services.keys.joining import Renewed

CLOSE_GRACE_S = 30.0
"""Seconds that calls on a replaced channel have to end."""

_AGAIN = "with a token of ilctl tokens add, as for its first start"

STRANGE_AUTH = (
    "what answers in the place of auth is not an auth that this daemon knows: the address is another's, or the "
    f"cluster's daemons' authority was replaced while this daemon was away; if so, let it join again {_AGAIN}"
)

STALE_HERE = (
    "auth does not take this daemon's certificate: the cluster's daemons' authority was replaced while this "
    f"daemon was away; let it join again {_AGAIN}"
)


class AuthClient:
    """Remote ports of one daemon. ``roots``: the daemons' authorities, PEM. Close it after use."""

    def __init__(self, address: str, *, roots: str, identity: KeyPair, clock: Clock) -> None:
        self._address = address
        self._roots = roots
        self._identity = identity
        self._clock = clock
        self._answered = -math.inf  # when, by the event loop's clock
        self._streams: set[Stream] = set()  # calls in progress whose replies have no end
        self._channel = open_channel(address, roots, identity, max_message=m.MAX_MESSAGE)

    async def use(self, identity: KeyPair, roots: str = "") -> None:
        """From now on call with another certificate; calls in progress end on the old connection.

        ``roots``: those that count from now on, if they are others.
        """
        self._identity, self._roots = identity, roots or self._roots
        await self._replace(CLOSE_GRACE_S)

    async def _replace(self, grace: float | None) -> None:
        old = self._channel
        self._channel = open_channel(self._address, self._roots, self._identity, max_message=m.MAX_MESSAGE)
        for stream in list(self._streams):  # they would go on for ever
            stream.cancel()
        await old.close(grace)

    async def move(self, address: str) -> None:
        """From now on call auth at this address, or these; calls in progress end on the old connection."""
        self._address = address
        await self._replace(CLOSE_GRACE_S)

    async def close(self) -> None:
        """End all calls."""
        await self._channel.close(None)

    async def _ask(self, method: m.Method[RequestT, ReplyT], request: RequestT) -> ReplyT:
        """`call`; of several auths, one that has answered nothing for as long as a call may take is left."""
        began, channel = asyncio.get_running_loop().time(), self._channel
        try:
            answer = await call(channel, method, request)
        except NoAnswer:
            if self._answered < began and channel is self._channel and "," in self._address:
                first, _, others = self._address.partition(",")
                self._address = f"{others},{first}"
                await self._replace(None)
            raise
        self._answered = asyncio.get_running_loop().time()
        return answer

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """`ports.AuditLog`: in order, in messages of bounded size."""
        for batch in _batches(events):
            await self._ask(m.APPEND, m.Events(batch))

    async def put(self, tracker: Tracker) -> None:
        """`ports.TrackerStore`."""
        await self._ask(m.PUT_TRACKER, m.PutTracker(tracker, self._ttl(tracker.expires)))

    async def put_all(self, trackers: Sequence[Tracker]) -> None:
        """`ports.TrackerStore`: one call each."""
        for tracker in trackers:
            await self.put(tracker)

    async def keep(self, daemon: DaemonId, sids: Iterable[SessionId], expires: datetime) -> None:
        """`ports.TrackerStore`."""
        await self._ask(m.KEEP_TRACKERS, m.KeepTrackers(daemon, tuple(sids), self._ttl(expires)))

    async def live(self) -> list[Tracker]:
        """`ports.TrackerStore`, whose other daemons' sessions are nothing to this one: LocalProtocolError."""
        raise LocalProtocolError(
            "a node cannot list sessions", reason="trackers are listed and swept by auth alone"
        )

    async def store(self, sid: SessionId, path: Path) -> str:
        """`ports.RecordingStore`; RecordingError if the file is gone, StoreError if it cannot be read now."""
        try:
            size = (await asyncio.to_thread(path.stat)).st_size
            stored = await upload(self._channel, m.STORE_RECORDING, m.RecordingHeader(sid, size), _chunks(path))
        except FileNotFoundError as error:
            raise RecordingError("the recording is gone", reason=f"uploading {sid}: {error}") from error
        except OSError as error:
            raise StoreError("the recording could not be read", reason=f"uploading {sid}: {error}") from error
        return stored.url

    async def ready(self, sid: SessionId) -> None:
        """`ports.SyncStore`."""
        await self._ask(m.SYNC_READY, m.SyncReady(sid))

    async def extend(self, sid: SessionId, offset: int, data: bytes) -> None:
        """`ports.SyncStore`."""
        await self._ask(m.SYNC_EXTEND, m.SyncExtend(sid, offset, data))

    async def recordings(self, only: Iterable[SessionId] | None = None) -> list[RecordingInfo]:
        """`ports.RecordingStore`, of which a node has only one direction: LocalProtocolError."""
        del only
        raise LocalProtocolError("a node cannot list recordings", reason="stored recordings are auth's")

    def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """`ports.RecordingStore`: a node cannot read what it has delivered; NotFound."""
        raise NotFound(f"the recording of session {sid} is in auth's storage")

    async def heartbeat(self, node: Target) -> None:
        """`ports.Inventory`."""
        expires = node.expires or self._clock.now()
        await self._ask(m.HEARTBEAT, m.Heartbeat(node, self._ttl(expires)))

    async def admit(self, claims: Claims, login: str, target: DaemonId) -> Access:
        """`ports.Admission`."""
        return await self._ask(m.ADMIT, m.Admit(claims, login, target))

    async def taken_away(self, granted: Granted) -> Denied | None:
        """`ports.Remaining`."""
        claims = replace(granted.claims, presence=NO_PRESENCE)  # which is for what is signed
        return (await self._ask(m.REMAINS, m.Remains(replace(granted, claims=claims)))).read()

    async def follow_locks(self) -> AsyncGenerator[LockList, None]:
        """`ports.LockFeed`."""
        async with aclosing(subscribe(self._channel, m.WATCH_LOCKS, m.Nothing(), self._streams)) as told:
            async for each in told:
                yield each.read()

    async def acquire(self, lease: Lease, limit: int) -> bool:
        """`ports.LeaseStore`."""
        wanted = m.Acquire(lease.id, lease.semaphore, limit, self._ttl(lease.expires))
        return (await self._ask(m.ACQUIRE, wanted)).taken

    async def renew_leases(self, daemon: DaemonId, leases: Iterable[str], expires: datetime) -> set[str]:
        """`ports.LeaseStore`; auth knows by itself which daemon asks."""
        del daemon
        kept = await self._ask(m.RENEW_LEASES, m.RenewLeases(tuple(leases), self._ttl(expires)))
        return set(kept.ids)

    async def release(self, daemon: DaemonId, leases: Iterable[str]) -> None:
        """`ports.LeaseStore`."""
        del daemon
        await self._ask(m.RELEASE, m.Leases(tuple(leases)))

    async def release_all(self, daemon: DaemonId) -> None:
        """`ports.LeaseStore`."""
        del daemon
        await self._ask(m.RELEASE_ALL, m.Nothing())

    async def trust(self) -> TrustBundle:
        """`ports.TrustSource`; auth hears which X.509 authorities this daemon trusts."""
        answer = await self._ask(m.TRUST, m.AskTrust(root_pins(self._roots)))
        return TrustBundle(answer.user_cas, answer.host_cas, answer.service, answer.roots)

    async def recording_terms(self, public: bytes) -> RecordingTerms:
        """`ports.TermsSource`."""
        terms = await self._ask(m.RECORDING_TERMS, m.AskTerms(public))
        return RecordingTerms(terms.warrant, terms.recipients)

    async def check_roots(self) -> None:
        """Denied, in words, if what answers in auth's place shows that this daemon has to join again.

        Whoever answers is not believed for it. StoreError if nobody does.
        """
        first = self._address if self._address.startswith(UNIX) else self._address.partition(",")[0]
        by = issuer_pin(await server_certificate(first), self._roots)
        if not by:
            raise Denied(STRANGE_AUTH)
        if by != issuer_pin(self._identity.certificate, self._roots):
            raise Denied(STALE_HERE)

    async def renew(self, host_key: str) -> Renewed:
        """Fresh certificates for this daemon's keys; ``host_key`` is the public SSH host key, one line."""
        return await self._ask(m.RENEW, m.Renew(create_request(self._identity.key), host_key))

    def _ttl(self, expires: datetime) -> float:
        return (expires - self._clock.now()).total_seconds()


def _batches(events: Sequence[AuditEvent]) -> Iterator[tuple[m.WireEvent, ...]]:
    """The events in order, in batches that auth takes."""
    batch: list[m.WireEvent] = []
    size = 0
    for event in map(to_wire, events):
        length = len(encode(event))
        if batch and (len(batch) == m.MAX_EVENTS or size + length > m.MAX_EVENTS_BYTES):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        yield tuple(batch)


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, m.CHUNK):
            yield chunk

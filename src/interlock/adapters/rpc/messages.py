"""The methods of auth's gRPC services and what they carry: one table that client and server share.

Payloads are msgpack maps of these dataclasses; fields may be added with a default, never renamed. Times that say
how long something stays valid travel as seconds from now (``ttl_s``), so that a node whose clock is off does not
expire too early. Recordings travel as a stream: first `RecordingHeader`, then raw bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Self, TypeVar

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.access import Access
from interlock.domain.granted import Granted
from interlock.domain.identity import Claims
from interlock.domain.lock import Lock, LockKind, LockList
from interlock.domain.target import Target
from interlock.domain.tracker import Tracker
from interlock.services.clusters.trusting import LeafRequest, RootReply
from interlock.services.keys.joining import JoinReply, JoinRequest, Renewed

AUTH_SERVICE = "interlock.v1.Auth"
JOIN_SERVICE = "interlock.v1.Join"

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes of one message in either direction. The longest is an event about a command of 256 KiB, each byte of which
may have become an escape of four."""

MAX_JOIN_MESSAGE = 64 * 1024
"""The same on the join listener, where nobody has said who he is."""

MAX_EVENTS = 256
"""Events in one `APPEND`."""

MAX_EVENTS_BYTES = 2 * 1024 * 1024
"""Bytes of the events in one `APPEND` when it has more than one."""

CHUNK = 256 * 1024
"""Bytes of a recording in one message."""

MAX_LEASES = 10_000
"""Leases in one message: more connections than one daemon can have."""

WireValue = str | int | bool | list[str | dict[str, str | int]] | dict[str, str]
"""`audit.JsonValue` as msgspec can describe it."""

RequestT = TypeVar("RequestT")
ReplyT = TypeVar("ReplyT")


@dataclass(frozen=True, slots=True)
class Method(Generic[RequestT, ReplyT]):
    """One remote procedure."""

    service: str
    name: str
    request: type[RequestT]
    reply: type[ReplyT]
    once: bool = False  # asked twice, when the first answer was lost, it would mean something else

    @property
    def path(self) -> str:
        """The method as HTTP/2 names it."""
        return f"/{self.service}/{self.name}"


@dataclass(frozen=True, slots=True)
class Nothing:
    """No contents."""


@dataclass(frozen=True, slots=True)
class WireEvent:
    """An `audit.AuditEvent`; ``kind`` is the name of the member of `audit.Kind`."""

    kind: str
    time: datetime
    uid: str
    cluster: str
    sid: SessionId | None = None
    index: int = 0
    fields: Mapping[str, WireValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Events:
    """Events to append, in order."""

    events: tuple[WireEvent, ...]


@dataclass(frozen=True, slots=True)
class PutTracker:
    """A tracker; its ``expires`` counts for nothing beside ``ttl_s``."""

    tracker: Tracker
    ttl_s: float


@dataclass(frozen=True, slots=True)
class KeepTrackers:
    """The heartbeat of all of a daemon's sessions."""

    daemon: DaemonId
    sids: tuple[SessionId, ...]
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A node's report of itself; its ``expires`` counts for nothing beside ``ttl_s``."""

    node: Target
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Admit:
    """May these claims log in?"""

    claims: Claims
    login: str
    target: DaemonId


@dataclass(frozen=True, slots=True)
class Remains:
    """May whoever was granted this by the caller stay?"""

    granted: Granted


@dataclass(frozen=True, slots=True)
class Verdict:
    """An `errors.Denied` about the person, not about the question; without a public text they may stay."""

    public: str = ""
    reason: str = ""

    @classmethod
    def of(cls, why: Denied | None) -> Self:
        """As it travels."""
        return cls() if why is None else cls(why.public, why.reason)

    def read(self) -> Denied | None:
        """The same."""
        return Denied(self.public, reason=self.reason) if self.public else None


FIRST_LOCKS = frozenset({LockKind.USER, LockKind.ROLE, LockKind.LOGIN, LockKind.NODE, LockKind.SESSION})
"""The kinds that the first release knew: another one in `Locks.locks` would void the whole list there."""


@dataclass(frozen=True, slots=True)
class NewerLock:
    """A `domain.lock.Lock` of a kind that a daemon of another release may not know."""

    id: str
    kind: str
    name: str
    created: datetime
    message: str


@dataclass(frozen=True, slots=True)
class Locks:
    """The locks in force now. They travel without their expiry, which only auth's clock decides."""

    locks: tuple[Lock, ...]  # of the kinds that every release knows
    strict: bool
    offline_s: int = 0
    newer: tuple[NewerLock, ...] = ()  # of the others, of which an old daemon sees nothing
    trust: str = ""
    policy: str = ""

    @classmethod
    def of(cls, told: LockList) -> Self:
        """A list as it travels."""
        old = tuple(lock for lock in told.locks if lock.kind in FIRST_LOCKS)
        newer = (
            NewerLock(each.id, each.kind.value, each.name, each.created, each.message)
            for each in told.locks
            if each.kind not in FIRST_LOCKS
        )
        return cls(old, told.strict, told.offline_s, tuple(newer), told.trust, told.policy)

    def read(self) -> LockList:
        """The list. What a newer auth locks and is not known here locks nothing here."""
        kinds = {kind.value: kind for kind in LockKind}
        known = (
            Lock(each.id, kinds[each.kind], each.name, each.created, each.message)
            for each in self.newer
            if each.kind in kinds
        )
        return LockList((*self.locks, *known), self.strict, self.offline_s, self.trust, self.policy)


@dataclass(frozen=True, slots=True)
class Acquire:
    """A place under a semaphore, please, of at most ``limit``; the lease is the caller's."""

    lease_id: str
    semaphore: str
    limit: int
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Acquired:
    """Whether there was one."""

    taken: bool


@dataclass(frozen=True, slots=True)
class Leases:
    """Leases of the caller."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RenewLeases:
    """The heartbeat of all of a daemon's leases."""

    ids: tuple[str, ...]
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Renew:
    """Fresh certificates, please; see `joining.Joining.renew`."""

    csr: bytes
    host_key: str


@dataclass(frozen=True, slots=True)
class Trust:
    """`ports.TrustBundle`."""

    user_cas: tuple[str, ...]
    host_cas: tuple[str, ...]
    service: str = ""
    roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AskTrust:
    """Whom to trust? ``roots``: pins of the X.509 authorities that the daemon trusts; older ones say nothing."""

    roots: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordingHeader:
    """Announces the bytes that follow."""

    sid: SessionId
    size: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the recording is now."""

    url: str


@dataclass(frozen=True, slots=True)
class SyncReady:
    """May a recording begin that is sent as it happens?"""

    sid: SessionId


@dataclass(frozen=True, slots=True)
class SyncExtend:
    """The bytes of such a recording from ``offset`` on; the answer is the acknowledgement."""

    sid: SessionId
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class AskTerms:
    """How are recordings to be kept? ``key``: the caller's raw signing key, if that needs a warrant."""

    key: bytes


@dataclass(frozen=True, slots=True)
class Terms:
    """`ports.RecordingTerms`."""

    warrant: bytes
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CaCertificate:
    """The daemons' authority, PEM: worth nothing until it matches a pin, or one that does vouches for it."""

    certificate: str  # the one by which auth's own is
    before: str = ""  # the one whose place it takes
    word: bytes = b""  # of that one: `daemonroots.vouches`


@dataclass(frozen=True, slots=True)
class Joined:
    """The new identity and where to use it: ``service`` is host:port; an empty host means the one just dialled."""

    reply: JoinReply
    service: str


APPEND = Method(AUTH_SERVICE, "Append", Events, Nothing)
PUT_TRACKER = Method(AUTH_SERVICE, "PutTracker", PutTracker, Nothing)
KEEP_TRACKERS = Method(AUTH_SERVICE, "KeepTrackers", KeepTrackers, Nothing)
HEARTBEAT = Method(AUTH_SERVICE, "Heartbeat", Heartbeat, Nothing)
ADMIT = Method(AUTH_SERVICE, "Admit", Admit, Access)
REMAINS = Method(AUTH_SERVICE, "Remains", Remains, Verdict)
WATCH_LOCKS = Method(AUTH_SERVICE, "WatchLocks", Nothing, Locks)  # the reply is a stream
ACQUIRE = Method(AUTH_SERVICE, "Acquire", Acquire, Acquired)
RENEW_LEASES = Method(AUTH_SERVICE, "RenewLeases", RenewLeases, Leases)
RELEASE = Method(AUTH_SERVICE, "Release", Leases, Nothing)
RELEASE_ALL = Method(AUTH_SERVICE, "ReleaseAll", Nothing, Nothing)
RENEW = Method(AUTH_SERVICE, "Renew", Renew, Renewed)
TRUST = Method(AUTH_SERVICE, "Trust", AskTrust, Trust)
STORE_RECORDING = Method(AUTH_SERVICE, "StoreRecording", RecordingHeader, Stored)
SYNC_READY = Method(AUTH_SERVICE, "SyncReady", SyncReady, Nothing)
SYNC_EXTEND = Method(AUTH_SERVICE, "SyncExtend", SyncExtend, Nothing)
RECORDING_TERMS = Method(AUTH_SERVICE, "RecordingTerms", AskTerms, Terms)

AUTHORITY = Method(JOIN_SERVICE, "Authority", Nothing, CaCertificate)
JOIN = Method(JOIN_SERVICE, "Join", JoinRequest, Joined, once=True)
TRUST_LEAF = Method(JOIN_SERVICE, "TrustLeaf", LeafRequest, RootReply, once=True)

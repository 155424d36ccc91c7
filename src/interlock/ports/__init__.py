"""Narrow protocols: what the services need of the outside world. Each has one contract suite in tests/ports."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.access import Access, RoleOptions
from interlock.domain.audit import AuditEvent, JsonValue
from interlock.domain.cluster import LeafPass, Relation, TrustedCluster
from interlock.domain.duties import RecordingMode
from interlock.domain.identity import Claims, TunnelPass
from interlock.domain.lease import Lease
from interlock.domain.lock import Lock, LockList
from interlock.domain.modes import ModePolicy, ModeRule
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.target import Target
from interlock.domain.tracker import Tracker
from interlock.domain.twin import Twin
from interlock.ports.recordings import (
    Arriving,
    ArrivingPart,
    ClosedParts,
    CompletedStore,
    LeftBehind,
    PartReader,
    RecordingInfo,
    RecordingPart,
    RecordingParts,
    RecordingStore,
    SyncStore,
    UnstoredSessions,
)

__all__ = [  # what is passed on; the rest is defined here
    "Arriving",
    "ArrivingPart",
    "ClosedParts",
    "CompletedStore",
    "LeftBehind",
    "PartReader",
    "RecordingInfo",
    "RecordingPart",
    "RecordingParts",
    "RecordingStore",
    "SyncStore",
    "UnstoredSessions",
]


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """The wall clock, in UTC with time zone."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards, for durations."""
        ...


class Entropy(Protocol):
    """Randomness as an argument."""

    def uuid(self) -> str:
        """A new random UUID in canonical form."""
        ...

    def token(self, size: int) -> bytes:
        """``size`` unpredictable bytes."""
        ...


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to list; None means any."""

    sid: str | None = None
    user: str | None = None
    event: str | None = None
    limit: int = 1000
    newest: bool = False  # which ones the limit leaves: the newest instead of the oldest
    duplicates: bool = False  # with what a node's twin of a session says again (`domain.twin`), marked
    as_told: bool = False  # nothing folded: each event with the session ID under which its daemon told it


class AuditLog(Protocol):
    """Append-only. Appending twice is harmless: uid is unique, and `ONCE_PER_SESSION` says what is kept once.

    One exception: an end that auth made up for a silent daemon moves behind whatever else its session turns out to
    have had, and gives way to a real one.
    """

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """Store the events durably, in order; StoreError when that failed and the caller must try again.

        Those with index `NEXT` get the number that follows the highest of their session, unless they are dropped.
        """
        ...


class EventReader(Protocol):
    """The audit log as administrators read it."""

    async def events(self, wanted: EventFilter) -> list[dict[str, JsonValue]]:
        """Stored events as JSON objects, oldest first."""
        ...


class SessionLookup(Protocol):
    """Whether there was a session: asked when one is about to begin under an ID that a target chose."""

    def knows(self, sid: SessionId) -> bool:
        """Whether anything but refusals is stored of this session. Short and synchronous; StoreError."""
        ...


class TwinStore(Protocol):
    """Sessions that a node recorded a second time; readers of events, trackers and recordings see one of both."""

    async def put(self, twin: Twin) -> None:
        """Expect a twin of a session, or say more of it; nothing is forgotten. StoreError: try again."""
        ...

    async def folded(self) -> dict[SessionId, SessionId]:
        """The node's ID of every twin that was found, and ours of the same session."""
        ...

    async def one(self, sid: SessionId) -> SessionId:
        """The ID under which a session is shown: ours if this is a twin's."""
        ...


class TrackerStore(Protocol):
    """Live sessions, seen by every daemon."""

    async def put(self, tracker: Tracker) -> None:
        """Create or replace. A stored tracker never moves back to an earlier state.

        A ``swept`` one leaves a terminated one alone, and is replaced by whatever its daemon puts.
        """
        ...

    async def keep(self, daemon: DaemonId, sids: Iterable[SessionId], expires: datetime) -> None:
        """One heartbeat for all sessions of a daemon; those that were swept live again."""
        ...

    async def live(self) -> list[Tracker]:
        """Pending and running trackers, expired ones included until they are swept, oldest first."""
        ...


class LiveSessions(Protocol):
    """Live sessions as people list them: each once."""

    async def live(self) -> list[Tracker]:
        """Pending and running trackers, expired ones included until they are swept, oldest first."""
        ...


class Recordings(Protocol):
    """Finished recordings as people list and read them: one of each session."""

    async def recordings(self) -> list[RecordingInfo]:
        """What is stored, newest first."""
        ...

    def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """The stored bytes in pieces; NotFound if there are none."""
        ...


class RoleSource(Protocol):
    """Current roles; what a certificate says of a role that no longer exists counts for nothing."""

    async def roles(self, names: Iterable[str]) -> list[Role]:
        """The named roles that exist."""
        ...


class TargetSource(Protocol):
    """The inventory."""

    async def target(self, name: str) -> Target:
        """The live target with this hostname or ID; NotFound if there is none, or several of this hostname."""
        ...

    async def named(self, name: str) -> list[Target]:
        """The live targets with this hostname, or the one with this ID."""
        ...

    async def targets(self) -> list[Target]:
        """All live targets, by hostname."""
        ...


@dataclass(frozen=True, slots=True)
class TargetCredential:
    """What the forwarder shows to a target: an OpenSSH user certificate for its own fresh public key."""

    certificate: str  # OpenSSH one-line form


class TargetIssuer(Protocol):
    """Auth, as the forwarder needs it. The permit is the seam for the proof of presence (design §4)."""

    async def issue_for_target(
        self, permit: Permit, public_key: str, *, records: bool, client_addr: str = ""
    ) -> TargetCredential:
        """Sign ``public_key`` (one line) for exactly this user, login and target, for minutes.

        ``client_addr``: host:port of the person's client, which our node is told; empty if it is not known.
        """
        ...


class LeafIssuer(Protocol):
    """Auth, as a forwarder needs it whose target is in a leaf cluster."""

    async def issue_for_leaf(
        self, granted: LeafPass, public_key: str, *, offers: bool, client_addr: str = ""
    ) -> TargetCredential:
        """Sign ``public_key`` (one line) for exactly this user, login and leaf, for minutes.

        ``offers``: this cluster's forwarder would record the sessions. ``client_addr``: as for a target.
        """
        ...


class HostIssuer(Protocol):
    """Auth, as SSH servers need it."""

    async def issue_host(self, public_key: str, principals: Sequence[str]) -> str:
        """A host certificate of the host CA, OpenSSH one-line form."""
        ...


class TunnelIssuer(Protocol):
    """Auth, as nodes that dial out need it."""

    async def issue_tunnel(self, public_key: str, node: DaemonId) -> str:
        """With this certificate the node, and nobody as a person, enters the proxy; OpenSSH one-line form."""
        ...


class PassReader(Protocol):
    """Verification of tunnel certificates against the user CA."""

    def read_pass(self, certificate: bytes, *, now: datetime) -> TunnelPass:
        """Which node a certificate in wire form speaks for; Denied if anything is wrong, a person's included."""
        ...


class ClaimsReader(Protocol):
    """Verification of user certificates against the user CA."""

    def read(self, certificate: bytes, *, now: datetime) -> Claims:
        """The claims of a certificate in wire form; Denied if type, CA, signature, time or options are wrong."""
        ...


class Admission(Protocol):
    """The decision for a node whose client did not come with a forwarder's certificate."""

    async def admit(self, claims: Claims, login: str, target: DaemonId) -> Access:
        """What the user's current roles allow there; Denied if they do not allow the login."""
        ...


class Inventory(Protocol):
    """Where nodes report themselves."""

    async def heartbeat(self, node: Target) -> None:
        """Create or refresh a node; it is listed until ``node.expires``."""
        ...


class TokenKind(Enum):
    """What may join with a token."""

    NODE = "node"
    CLUSTER = "cluster"  # a leaf


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token as it is stored: never the secret itself."""

    id: str
    secret_hash: bytes  # SHA-256 of the secret, which has 256 random bits: no salt, no stretching needed
    created: datetime
    expires: datetime
    uses: int  # how many daemons may still join with it
    kind: TokenKind = TokenKind.NODE


class TokenStore(Protocol):
    """Join tokens of daemons."""

    async def add_token(self, token: JoinToken) -> None:
        """Store a new token."""
        ...

    async def token(self, token_id: str) -> JoinToken | None:
        """The token with this ID, spent or expired ones included; None if there is none."""
        ...

    async def spend_token(self, token_id: str) -> bool:
        """Take one use away, atomically; False when none was left."""
        ...

    async def tokens(self) -> list[JoinToken]:
        """All tokens, by expiry."""
        ...

    async def remove_token(self, token_id: str) -> None:
        """Forget a token; NotFound if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class DaemonCaKeys:
    """The X.509 authority of daemon identities, as it is stored (kind ``x509``)."""

    private_key: str  # PKCS#8 PEM
    certificate: str  # X.509 PEM, self-signed


class DaemonCaStore(Protocol):
    """Where the X.509 authority is kept, beside the SSH ones."""

    async def daemon_ca(self) -> DaemonCaKeys | None:
        """The stored authority; None before the first start."""
        ...

    async def keep_daemon_ca(self, keys: DaemonCaKeys) -> DaemonCaKeys:
        """Store the authority unless there is one already; returns the one that counts."""
        ...


class EventSink(Protocol):
    """Where services leave audit events; services.emitter.Emitter stores them."""

    def emit(self, event: AuditEvent) -> None:
        """Take the event; never blocks, never fails."""
        ...


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is true of the whole installation."""

    id: str
    name: str
    recording_mode: RecordingMode
    created: datetime


class ClusterStore(Protocol):
    """The installation's own record."""

    async def ensure_cluster(self, cluster: Cluster) -> Cluster:
        """Store the record unless there is one; the stored one."""
        ...

    async def cluster(self) -> Cluster:
        """The record; NotFound before the first start."""
        ...

    async def set_recording_mode(self, mode: RecordingMode) -> None:
        """Change where sessions with our own nodes are recorded."""
        ...


class ModeSource(Protocol):
    """What the cluster says of recording."""

    async def mode_policy(self) -> ModePolicy:
        """The default and the rules; StoreError if they cannot be read, and then nobody is let in (R6)."""
        ...


class ModeStore(ModeSource, Protocol):
    """The rules as administrators change them."""

    async def put_mode_rule(self, rule: ModeRule) -> None:
        """Add a rule, or replace the one for the same labels."""
        ...

    async def remove_mode_rule(self, labels: Mapping[str, str]) -> None:
        """Forget the rule for exactly these labels; NotFound if there is none."""
        ...


class TrustStore(Protocol):
    """The other clusters that this one has to do with."""

    async def trusted_clusters(self, relation: Relation | None = None) -> list[TrustedCluster]:
        """All of them, or those that are this to us, by name, without those that cannot be read."""
        ...

    async def trusted_cluster(self, relation: Relation, name: str) -> TrustedCluster:
        """The one with this name; NotFound otherwise."""
        ...

    async def put_trust(self, cluster: TrustedCluster) -> None:
        """Store the record, in the place of an older one of the same cluster; Denied if another has the name."""
        ...

    async def remove_trust(self, relation: Relation, name: str) -> None:
        """Forget the cluster; NotFound if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class AuthorityKey:
    """One certificate authority's key pair as it is stored."""

    kind: str  # user, host or openssh
    private_key: str  # PEM, PKCS #8
    public: str  # OpenSSH one-line form
    created: datetime


class AuthorityStore(Protocol):
    """Private keys of the SSH certificate authorities."""

    async def ensure_authority(self, key: AuthorityKey) -> AuthorityKey:
        """Store the key unless one of its kind is there; the stored one. Safe when two daemons start at once."""
        ...

    async def authority(self, kind: str) -> AuthorityKey:
        """The key of this kind; NotFound if there is none yet."""
        ...


@dataclass(frozen=True, slots=True)
class User:
    """A gateway account."""

    name: str
    roles: tuple[str, ...]
    password_hash: str | None  # argon2id in PHC form; None: cannot sign in by password
    must_change: bool  # the password is a one-time password
    created: datetime


class UserSource(Protocol):
    """Accounts as the services look them up."""

    async def user(self, name: str) -> User:
        """The account; NotFound otherwise."""
        ...


class UserStore(UserSource, Protocol):
    """Accounts as administrators and sign-in change them."""

    async def users(self) -> list[User]:
        """All accounts, by name."""
        ...

    async def add_user(self, user: User) -> bool:
        """Create the account; False if the name is taken."""
        ...

    async def set_password(self, name: str, password_hash: str, *, must_change: bool) -> None:
        """Replace the password; NotFound if there is no such account."""
        ...

    async def remove_user(self, name: str) -> None:
        """Delete the account; NotFound if there is none."""
        ...


class RoleStore(RoleSource, Protocol):
    """Roles as administrators change them."""

    async def all_roles(self) -> list[Role]:
        """Every role that can be read, by name."""
        ...

    async def add_role(self, role: Role) -> bool:
        """Create the role; False if the name is taken."""
        ...

    async def set_options(self, name: str, options: RoleOptions) -> None:
        """Replace the role's options; NotFound if there is no such role."""
        ...

    async def remove_role(self, name: str) -> None:
        """Delete the role; NotFound if there is none."""
        ...


class TargetRegistry(Protocol):
    """Targets as administrators register them by hand."""

    async def add_target(self, target: Target) -> bool:
        """Register a target; False if its hostname is taken."""
        ...

    async def remove_target(self, name: str) -> None:
        """Forget the target with this hostname or ID; NotFound if there is none, or several of this hostname."""
        ...


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The authorities that SSH servers and clients of the cluster rely on: public keys, OpenSSH one-line form."""

    user_cas: tuple[str, ...]
    host_cas: tuple[str, ...]


class TrustSource(Protocol):
    """Auth, as the daemons apart from it learn whom to trust."""

    async def trust(self) -> TrustBundle:
        """The authorities that count now."""
        ...


class LockSource(Protocol):
    """The locks, as policy looks them up."""

    async def locks(self) -> list[Lock]:
        """All that are stored, expired ones included, oldest first."""
        ...


class LockStore(LockSource, Protocol):
    """Locks as administrators change them."""

    async def add_lock(self, lock: Lock) -> None:
        """Store it, and forget those that had expired when it was made; Denied if there are too many."""
        ...

    async def remove_lock(self, lock_id: str) -> Lock:
        """Forget a lock and return it; NotFound if there is none with this ID."""
        ...


class LockFeed(Protocol):
    """Where a daemon learns of locks in time to end what is live."""

    def follow_locks(self) -> AsyncGenerator[LockList, None]:
        """The list: at once, after every change, and every few seconds as a sign that it is current.

        StoreError ends it; whoever needs it asks again.
        """
        ...


class LeaseStore(Protocol):
    """Places among a limited number, in the whole cluster."""

    async def acquire(self, lease: Lease, limit: int) -> bool:
        """Take a place, atomically; False if leases that live hold ``limit`` or more under the semaphore."""
        ...

    async def renew_leases(self, daemon: DaemonId, leases: Iterable[str], expires: datetime) -> set[str]:
        """One heartbeat for the daemon's leases; those that it still has.

        One that has expired is still its own as long as nobody has asked for a place since.
        """
        ...

    async def release(self, daemon: DaemonId, leases: Iterable[str]) -> None:
        """Give places back; harmless for those that are lost."""
        ...

    async def release_all(self, daemon: DaemonId) -> None:
        """Give back whatever an earlier process of the daemon held."""
        ...

"""Locks: an administrator's word that somebody or something is to be kept out, live sessions included."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from interlock.core.errors import Denied, Locked
from interlock.domain.identity import Identity
from interlock.domain.target import Target

MAX_LOCKS = 1000
"""Locks in force at once. All of them travel to every node with each change, in one message."""

MAX_MESSAGE = 500
"""Characters of a lock's message: one SSH message shows it, and the events of every session that it ends."""

MAX_OFFLINE_S = 24 * 3600
"""Longest time for which policy may let an answer of auth count while no auth answers."""

UNKNOWN = "nobody can tell now who is locked out: try again later"


class LockKind(Enum):
    """What a lock is about; the value is the key of the field's ``target``."""

    USER = "user"
    ROLE = "role"  # everybody whose certificate names the role
    LOGIN = "login"  # an OS account, on every target
    NODE = "node"  # a target, by its name or ID
    SESSION = "session"  # this session and no other
    MFA_DEVICE = "mfa_device"  # whoever has signed in or confirmed a connection with it
    CERTIFICATE = "certificate"  # one certificate, by its serial
    KEY = "key"  # every certificate for a key or by an authority's, by its fingerprint
    ACCESS_REQUEST = "access_request"  # whoever has come with roles that were had by it


@dataclass(frozen=True, slots=True)
class Subject:
    """What a lock may be about, of one connection or one session; empty where it is not known."""

    user: str = ""
    roles: tuple[str, ...] = ()
    login: str = ""
    nodes: tuple[str, ...] = ()  # name and ID of the target
    session: str = ""
    cluster: str = ""  # the user's
    devices: tuple[str, ...] = ()  # second factors, by ID
    certificate: str = ""  # its serial
    keys: tuple[str, ...] = ()  # of the certificate, and of who signed it; fingerprints
    requests: tuple[str, ...] = ()  # for access

    @classmethod
    def of(cls, identity: Identity, login: str = "", target: Target | None = None) -> "Subject":
        """A person, on the way to a login on a target if these are known."""
        nodes = (target.hostname, target.id) if target is not None else ()
        return cls(
            identity.user,
            identity.roles,
            login,
            nodes,
            cluster=identity.cluster,
            devices=identity.devices,
            certificate=identity.certificate,
            keys=identity.keys,
            requests=identity.requests,
        )

    @classmethod
    def signing_in(cls, user: str, roles: tuple[str, ...], cluster: str, device: str) -> "Subject":
        """Somebody of this cluster who proves who they are, perhaps with a second factor (else empty)."""
        return cls(user, roles, cluster=cluster, devices=(device,) if device else ())

    def names(self, kind: LockKind) -> tuple[str, ...]:
        """What a lock of this kind is compared with."""
        match kind:
            case LockKind.USER:
                return (self.user, f"{self.user}@{self.cluster}")  # the latter: one of several namesakes
            case LockKind.ROLE:
                return self.roles
            case LockKind.LOGIN:
                return (self.login,)
            case LockKind.NODE:
                return self.nodes
            case LockKind.SESSION:
                return (self.session,)
            case LockKind.MFA_DEVICE:
                return self.devices
            case LockKind.CERTIFICATE:
                return (self.certificate,)
            case LockKind.KEY:
                return self.keys
            case LockKind.ACCESS_REQUEST:
                return self.requests


@dataclass(frozen=True, slots=True)
class Lock:
    """One lock. It is never changed, only removed."""

    id: str
    kind: LockKind
    name: str  # of the user, role, login, node, session, device or request; never empty
    created: datetime
    message: str = ""  # for the people who meet it
    expires: datetime | None = None  # None: until it is removed
    created_by: str = ""

    def in_force(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires is None or now < self.expires

    def concerns(self, subject: Subject) -> bool:
        """Whether the subject is what it is about."""
        return bool(self.name) and self.name in subject.names(self.kind)

    def refusal(self) -> Locked:
        """The refusal of whom it concerns."""
        what = f"the {self.kind.value.replace('_', ' ')} {self.name}"
        if self.kind is LockKind.SESSION:
            public = f"this session was ended: {self.message or 'it is locked'}"
        elif self.kind in (LockKind.CERTIFICATE, LockKind.KEY):
            what_of_yours = "key" if self.kind is LockKind.KEY else "certificate"
            public = f"your {what_of_yours} was revoked: {self.message or 'run ilsh login'}"
        else:
            public = f"access is locked: {self.message}" if self.message else f"access is locked for {what}"
        return Locked(
            public, reason=f"lock {self.id} on {what} is in force" + f": {self.message}" * bool(self.message)
        )


@dataclass(frozen=True, slots=True)
class LockList:
    """The locks of a cluster at one time, and what else daemons have to know while auth is away."""

    locks: tuple[Lock, ...] = ()
    strict: bool = False  # whether who cannot see the current list must refuse everybody
    offline_s: int = 0  # seconds for which what auth said of somebody counts while no auth answers
    trust: str = ""  # another one than before when the authorities have changed
    policy: str = ""  # another one when something may have been taken away; empty: auth does not say

    def check(self, subject: Subject, *, now: datetime, stale: bool = False) -> None:
        """Locked if the subject is locked out; Denied if that cannot be known and the cluster is strict."""
        for lock in self.locks:
            if lock.in_force(now) and lock.concerns(subject):
                raise lock.refusal()
        if stale and self.strict:
            raise Denied(UNKNOWN, reason="the list of locks is out of date, and locking is strict")


def check_message(text: str) -> str:
    """A lock's message: printable, one line, not too long; ValueError otherwise."""
    if len(text) > MAX_MESSAGE or not text.isprintable():
        msg = f"a lock's message is one line of at most {MAX_MESSAGE} printable characters"
        raise ValueError(msg)
    return text


NO_LOCKS = LockList()
"""Nobody is locked out."""


def in_force(locks: Iterable[Lock], now: datetime) -> tuple[Lock, ...]:
    """Those that have not expired."""
    return tuple(lock for lock in locks if lock.in_force(now))

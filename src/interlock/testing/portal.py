"""Users, nodes, sessions and recordings of a portal, in memory, and who asks it."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
)

from interlock.core import portal as wire
from interlock.core.certificate import PublicKey
from interlock.core.errors import NotFound, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import AuditEvent, JsonValue
from interlock.domain.container import SALT_SIZE, BlockBuilder, preamble
from interlock.domain.identity import Claims, Forwarded, Identity
from interlock.domain.rbac import Role
from interlock.domain.recording import FrameKind, Header, to_payload
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import Tracker, TrackerState
from interlock.ports import (
    AuthorityKey,
    EventFilter,
    OpenedRecording,
    RecordingFilter,
    RecordingInfo,
    RecordingPage,
    User,
)
from interlock.services.access.caller import Caller
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.authority import Authority
from interlock.services.portal.portal import Portal
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.factors import MemoryFactors, no_factors, self_service
from interlock.testing.limits import MemoryLocks

SID = SessionId("0b8f4a5e-1111-4222-8333-944445555666")
OTHER_SID = SessionId("0b8f4a5e-1111-4222-8333-944445555777")
KEY = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
ROLES = [
    Role("web", ("root", "deploy"), {"env": "prod"}),
    Role("db", ("postgres",), {"env": "db"}),
    Role("idle"),
]


def target(name: str, env: str) -> Target:
    """A registered host."""
    return Target(DaemonId(f"id-of-{name}"), name, "10.0.0.1", 22, SubKind.NODE, {"env": env})


def tracker(sid: SessionId, user: str) -> Tracker:
    """A live session of a user."""
    return Tracker(
        sid=sid,
        state=TrackerState.RUNNING,
        created=START,
        expires=START + timedelta(seconds=30),
        user=user,
        login="root",
        hostname="web1",
        target_id=DaemonId("id-of-web1"),
        daemon_id=DaemonId("proxy"),
        cluster="test",
        sub_kind="interlock",
        recording_mode="proxy",
    )


def recording(user: str, **more: str) -> bytes:
    """A stored recording of a user's session."""
    salt = bytes(SALT_SIZE)
    builder = BlockBuilder(salt)
    header = Header("sid", user, "root", "web1", "id", "openssh", "proxy", "proxy", "exec", "id", "start", "test")
    header = replace(header, **more)  # type: ignore[arg-type]
    builder.add(FrameKind.HEADER, 0, to_payload(header))
    head = preamble(salt) + builder.take()
    for at in range(20):
        builder.add(FrameKind.STDOUT, at, FakeEntropy(at).token(100))
    return head + builder.take()


class Opened:
    """`ports.OpenedRecording` in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.read_bytes = 0
        self.closed = 0

    async def read(self, offset: int, size: int) -> bytes:
        """So many bytes from there."""
        found = self._data[offset : offset + size]
        self.read_bytes += len(found)
        return found

    async def close(self) -> None:
        """It is read no more."""
        self.closed += 1


@dataclass
class World:
    """All that the portal reads, in memory."""

    accounts: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"alice": ("web",), "bob": ("web", "db")})
    kept: dict[str, AuthorityKey] = field(default_factory=dict)
    infos: list[RecordingInfo] = field(default_factory=list)
    files: dict[SessionId, bytes] = field(default_factory=dict)
    since: datetime = START  # when the accounts were created
    closed: int = 0  # recordings that were opened and closed again
    broken: bool = False
    opened: Opened | None = None  # the last one
    known_roles: list[Role] = field(default_factory=lambda: list(ROLES))
    live_sessions: list[Tracker] = field(
        default_factory=lambda: [tracker(SID, "alice"), tracker(OTHER_SID, "bob")]
    )

    async def user(self, name: str) -> User:
        """NotFound if there is none."""
        if name not in self.accounts:
            raise NotFound(f"there is no user {name}")
        return User(name, self.accounts[name], None, must_change=False, created=self.since)

    async def roles(self, names: Iterable[str]) -> list[Role]:
        """Those that there are of these."""
        wanted = set(names)
        return [role for role in self.known_roles if role.name in wanted]

    async def target(self, name: str) -> Target:
        """By its ID: there is none."""
        raise NotFound(name)

    async def named(self, name: str) -> list[Target]:
        """By their name."""
        return [each for each in await self.targets() if each.hostname == name]

    async def targets(self) -> list[Target]:
        """Three hosts."""
        return [target("db1", "db"), target("web1", "prod"), target("web2", "prod")]

    async def put(self, tracker: Tracker) -> None:
        """The portal does not."""
        raise AssertionError(tracker)

    async def keep(self, daemon: DaemonId, sids: Iterable[SessionId], expires: object) -> None:
        """The portal does not."""
        raise AssertionError(daemon, sids, expires)

    async def live(self, *, after: str, limit: int) -> tuple[list[Tracker], str]:
        """A page, and the cursor of the next."""
        page = [each for each in self.live_sessions if each.cursor > after][:limit]
        return page, page[-1].cursor if len(page) == limit else ""

    async def store(self, sid: SessionId, path: Path) -> str:
        """The portal does not."""
        raise AssertionError(sid, path)

    async def page(self, wanted: RecordingFilter) -> RecordingPage:
        """A page of recordings; StoreError while the store is broken."""
        if self.broken:
            raise StoreError("disk", reason="/secret/path: I/O error")
        place = int(wanted.after or 0)
        page = self.infos[place : place + wanted.limit]
        more = str(place + wanted.limit) if place + wanted.limit < len(self.infos) else ""
        return RecordingPage(tuple((str(place), info) for info in page), more)

    async def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        """All of one, in pieces."""
        whole = self.files.get(sid)
        if whole is None:
            raise NotFound(f"no recording of session {sid}")
        try:
            for at in range(0, len(whole), 100):
                yield whole[at : at + 100]
        finally:
            self.closed += 1

    async def open(self, sid: SessionId) -> OpenedRecording:
        """One, to be read from anywhere."""
        if sid not in self.files:
            raise NotFound(f"no recording of session {sid}")
        self.opened = Opened(self.files[sid])
        return self.opened

    async def ensure_authority(self, key: AuthorityKey) -> AuthorityKey:
        """The first one is kept."""
        return self.kept.setdefault(key.kind, key)

    async def authority(self, kind: str) -> AuthorityKey:
        """As it is kept."""
        return self.kept[kind]


class Events(list[AuditEvent]):
    """A sink that remembers."""

    def emit(self, event: AuditEvent) -> None:
        """Remember the event."""
        self.append(event)


@dataclass
class EventLog:
    """`ports.EventPages` in memory; cursors count from 1."""

    stored: list[dict[str, JsonValue]]
    asked: int = 0

    async def page(self, wanted: EventFilter) -> list[tuple[int, dict[str, JsonValue]]]:
        """As the store does it."""
        self.asked += 1
        found = [
            (cursor, event)
            for cursor, event in enumerate(self.stored, 1)
            if wanted.event in (None, event["event"])
            and wanted.user in (None, event.get("user"))
            and (wanted.before is None or cursor < wanted.before)
            and (wanted.after is None or cursor > wanted.after)
        ]
        return found[-wanted.limit :] if wanted.newest else found[: wanted.limit]


def signed_in(user: str = "alice") -> Caller:
    """A user who gave the password just now."""
    return Caller(user, None, ("keyboard-interactive",), START, "192.0.2.7:4711")


def certified(user: str = "alice", *roles: str) -> Caller:
    """A user who came with a certificate of an hour, for `KEY`."""
    identity = Identity(user, roles, "test", keys=(PublicKey.parse(KEY).fingerprint, "SHA256:ca"))
    claims = Claims(identity, ("root",), START, START + timedelta(hours=1), serial=7)
    return Caller(user, claims, ("publickey",), START)


async def refused(portal: Portal, caller: Caller, request: wire.AnyRequest) -> wire.Refused:
    """The refusal that this request gets."""
    reply = await portal.answer(caller, request)
    assert isinstance(reply, wire.Refused)
    return reply


@dataclass
class Elsewhere:
    """The other clusters: `LeafDirectory` and `ForeignRoles` in one."""

    asked: list[tuple[str, str, str]] = field(default_factory=list)

    async def nodes(self, claims: Claims, cluster: str, client_addr: str) -> list[wire.NodeItem]:
        """One node in every cluster."""
        self.asked.append((claims.identity.user, cluster, client_addr))
        return [wire.NodeItem("id-of-far1", "far1", "interlock", {}, ["root"])]

    async def current_roles(self, claims: Claims) -> list[Role]:
        """The same for everybody."""
        return [role for role in ROLES if role.name == "db" and claims.forwarded is not None]


def foreigner(user: str = "alice") -> Caller:
    """Somebody of a root cluster, whose forwarder is at the door."""
    forwarded = Forwarded(DaemonId("cluster/here"), DaemonId("proxy"), records=False)
    claims = Claims(Identity(user, ("web",), "main"), ("portal",), START, START + timedelta(hours=1), 7, forwarded)
    return Caller(user, claims, ("publickey",), START, "192.0.2.7:4711")


async def portal_of(
    world: World, *, clock: FakeClock, events: Events, elsewhere: Elsewhere, **more: Any
) -> Portal:
    """The portal over the real authority and this world. ``more``: further parts, as `Portal` names them."""
    entropy = FakeEntropy()
    authority = await Authority.load(
        world, cluster="test", daemon_id=DaemonId("proxy"), clock=clock, entropy=entropy
    )
    return Portal(
        oneself=self_service(no_factors(clock), MemoryFactors(), events, clock),
        cluster="test",
        users=world,
        roles=world,
        targets=world,
        trackers=world,
        recordings=world,
        authority=authority,
        locks=MemoryLocks(),
        leaves=elsewhere,
        foreign=elsewhere,
        events=events,
        factory=EventFactory(cluster="test", clock=clock, entropy=entropy),
        clock=clock,
        **more,
    )

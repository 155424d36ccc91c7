"""What a signed-in user gets of the gateway, and what not."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    load_ssh_public_identity,
)

from interlock.core import portal as wire
from interlock.core.errors import NotFound, RecordingError, RemoteProtocolError, StoreError
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId, SessionId
from interlock.core.limits import REFUSALS_TOLD
from interlock.domain.access import RoleOptions
from interlock.domain.audit import AuditEvent, Kind, rfc3339
from interlock.domain.container import FRONT, SALT_SIZE, BlockBuilder, decode, frames_from, preamble
from interlock.domain.identity import Claims, Forwarded, Identity
from interlock.domain.rbac import Role
from interlock.domain.recording import FrameKind, Header, Output, Stream, to_payload
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import Tracker, TrackerState
from interlock.ports import AuthorityKey, OpenedRecording, RecordingFilter, RecordingInfo, RecordingPage, User
from interlock.services import portal as service
from interlock.services.authority import Authority
from interlock.services.emitter import EventFactory
from interlock.services.portal import DEFAULT_TTL, SIGN_WINDOW, Caller, Download, Portal
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.recordings import CONTENT, HEADER, SECOND, long_recording, made

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
        found = self._data[offset : offset + size]
        self.read_bytes += len(found)
        return found

    async def close(self) -> None:
        self.closed += 1


@dataclass
class World:
    """All that the portal reads, in memory."""

    accounts: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"alice": ("web",), "bob": ("web", "db")})
    kept: dict[str, AuthorityKey] = field(default_factory=dict)
    infos: list[RecordingInfo] = field(default_factory=list)
    files: dict[SessionId, bytes] = field(default_factory=dict)
    closed: int = 0  # recordings that were opened and closed again
    broken: bool = False
    opened: Opened | None = None  # the last one
    known_roles: list[Role] = field(default_factory=lambda: list(ROLES))
    live_sessions: list[Tracker] = field(
        default_factory=lambda: [tracker(SID, "alice"), tracker(OTHER_SID, "bob")]
    )

    async def user(self, name: str) -> User:
        if name not in self.accounts:
            raise NotFound(f"there is no user {name}")
        return User(name, self.accounts[name], None, must_change=False, created=START)

    async def roles(self, names: Iterable[str]) -> list[Role]:
        wanted = set(names)
        return [role for role in self.known_roles if role.name in wanted]

    async def target(self, name: str) -> Target:
        raise NotFound(name)

    async def named(self, name: str) -> list[Target]:
        return [each for each in await self.targets() if each.hostname == name]

    async def targets(self) -> list[Target]:
        return [target("db1", "db"), target("web1", "prod"), target("web2", "prod")]

    async def put(self, tracker: Tracker) -> None:
        raise AssertionError(tracker)

    async def keep(self, daemon: DaemonId, sids: Iterable[SessionId], expires: object) -> None:
        raise AssertionError(daemon, sids, expires)

    async def live(self, *, after: str, limit: int) -> tuple[list[Tracker], str]:
        page = [each for each in self.live_sessions if each.cursor > after][:limit]
        return page, page[-1].cursor if len(page) == limit else ""

    async def store(self, sid: SessionId, path: Path) -> str:
        raise AssertionError(sid, path)

    async def page(self, wanted: RecordingFilter) -> RecordingPage:
        if self.broken:
            raise StoreError("disk", reason="/secret/path: I/O error")
        place = int(wanted.after or 0)
        page = self.infos[place : place + wanted.limit]
        more = str(place + wanted.limit) if place + wanted.limit < len(self.infos) else ""
        return RecordingPage(tuple((str(place), info) for info in page), more)

    async def read(self, sid: SessionId) -> AsyncIterator[bytes]:
        whole = self.files.get(sid)
        if whole is None:
            raise NotFound(f"no recording of session {sid}")
        try:
            for at in range(0, len(whole), 100):
                yield whole[at : at + 100]
        finally:
            self.closed += 1

    async def open(self, sid: SessionId) -> OpenedRecording:
        if sid not in self.files:
            raise NotFound(f"no recording of session {sid}")
        self.opened = Opened(self.files[sid])
        return self.opened

    async def ensure_authority(self, key: AuthorityKey) -> AuthorityKey:
        return self.kept.setdefault(key.kind, key)

    async def authority(self, kind: str) -> AuthorityKey:
        return self.kept[kind]


class Events(list[AuditEvent]):
    """A sink that remembers."""

    def emit(self, event: AuditEvent) -> None:
        """Remember the event."""
        self.append(event)


@pytest.fixture
def world() -> World:
    """Two users, three nodes, two live sessions, two recordings."""
    infos = [
        RecordingInfo(sid, 1, START, {"user": user, "hostname": "web1"})
        for sid, user in ((SID, "alice"), (OTHER_SID, "bob"))
    ]
    return World(infos=infos, files={SID: recording("alice"), OTHER_SID: recording("bob")})


@pytest.fixture
def clock() -> FakeClock:
    """Time stands still."""
    return FakeClock()


@pytest.fixture
def events() -> Events:
    """What was emitted."""
    return Events()


@pytest.fixture
def elsewhere() -> "Elsewhere":
    """The other clusters."""
    return Elsewhere()


@pytest.fixture
async def portal(world: World, clock: FakeClock, events: Events, elsewhere: "Elsewhere") -> Portal:
    """The service over the real authority and stores in memory."""
    entropy = FakeEntropy()
    authority = await Authority.load(
        world, cluster="test", daemon_id=DaemonId("proxy"), clock=clock, entropy=entropy
    )
    return Portal(
        cluster="test",
        users=world,
        roles=world,
        targets=world,
        trackers=world,
        recordings=world,
        authority=authority,
        leaves=elsewhere,
        foreign=elsewhere,
        events=events,
        factory=EventFactory(cluster="test", clock=clock, entropy=entropy),
        clock=clock,
    )


def signed_in(user: str = "alice") -> Caller:
    """A user who gave the password just now."""
    return Caller(user, None, ("keyboard-interactive",), START, "192.0.2.7:4711")


def certified(user: str = "alice", *roles: str) -> Caller:
    """A user who came with a certificate of an hour."""
    claims = Claims(Identity(user, roles, "test"), ("root",), START, START + timedelta(hours=1), serial=7)
    return Caller(user, claims, ("publickey",), START)


async def refused(portal: Portal, caller: Caller, request: wire.AnyRequest) -> wire.Refused:
    """The refusal that this request gets."""
    reply = await portal.answer(caller, request)
    assert isinstance(reply, wire.Refused)
    return reply


async def test_a_password_buys_a_certificate_for_the_logins_of_the_users_roles(portal: Portal) -> None:
    """Certificate, host CA and validity come in one reply."""
    reply = await portal.answer(signed_in("bob"), wire.Sign(KEY))
    assert isinstance(reply, wire.Signed)
    certificate = load_ssh_public_identity(reply.certificate.encode())
    assert isinstance(certificate, SSHCertificate)
    assert certificate.valid_principals == [b"deploy", b"postgres", b"root"]
    assert reply.logins == ["deploy", "postgres", "root"]
    assert reply.roles == ["web", "db"]
    assert (reply.cluster, reply.user) == ("test", "bob")
    assert reply.host_ca[0].startswith("ssh-ed25519 ")
    assert reply.valid_until == rfc3339((START + DEFAULT_TTL).replace(microsecond=0))


async def test_the_user_chooses_the_life_of_the_certificate_within_bounds(portal: Portal) -> None:
    """A shorter life is granted, a longer one than the authority allows is refused."""
    reply = await portal.answer(signed_in(), wire.Sign(KEY, ttl=60))
    assert isinstance(reply, wire.Signed)
    assert reply.valid_until == rfc3339((START + timedelta(seconds=60)).replace(microsecond=0))
    assert (await refused(portal, signed_in(), wire.Sign(KEY, ttl=365 * 86400))).why == "denied"


async def test_a_certificate_cannot_renew_itself(portal: Portal, events: Events) -> None:
    """Otherwise a stolen certificate would live for ever; the attempt is in the audit log."""
    reply = await refused(portal, certified("alice", "web"), wire.Sign(KEY))
    assert reply.why == "denied"
    assert "sign in again" in reply.message
    body = events[0].to_json()
    assert (body["event"], body["code"], body["user"], body["success"]) == ("auth", "T3007W", "alice", False)


async def test_a_sign_in_is_good_for_a_certificate_for_minutes_only(portal: Portal, clock: FakeClock) -> None:
    """A connection left open is no standing key."""
    clock.advance(SIGN_WINDOW)
    assert isinstance(await portal.answer(signed_in(), wire.Sign(KEY)), wire.Signed)
    clock.advance(1)
    assert "too old" in (await refused(portal, signed_in(), wire.Sign(KEY))).message


@pytest.mark.parametrize("key", ["", "ssh-ed25519 AAAA", "nonsense"])
async def test_what_is_not_a_public_key_is_not_certified(portal: Portal, key: str) -> None:
    """The refusal is one sentence for the person."""
    assert (await refused(portal, signed_in(), wire.Sign(key))).why == "denied"


async def test_a_certificate_is_no_subject_key(portal: Portal) -> None:
    """R15: what is already a certificate is refused."""
    reply = await portal.answer(signed_in(), wire.Sign(KEY))
    assert isinstance(reply, wire.Signed)
    assert (await refused(portal, signed_in(), wire.Sign(reply.certificate))).why == "denied"


async def test_a_user_without_logins_gets_no_certificate(portal: Portal, world: World) -> None:
    """R14: no certificate without principals; the person learns whom to ask."""
    world.accounts["alice"] = ("idle",)
    assert "administrator" in (await refused(portal, signed_in(), wire.Sign(KEY))).message


async def test_nodes_are_those_that_the_roles_reach(portal: Portal) -> None:
    """Other nodes are not even named."""
    reply = await portal.answer(signed_in("alice"), wire.Nodes())
    assert isinstance(reply, wire.NodeList)
    assert [(node.hostname, node.logins) for node in reply.nodes] == [
        ("web1", ["deploy", "root"]),
        ("web2", ["deploy", "root"]),
    ]


async def test_a_certificate_counts_for_the_roles_that_it_names_and_the_account_still_has(
    portal: Portal, world: World
) -> None:
    """Neither a role gained after the certificate nor one lost since opens anything."""
    reply = await portal.answer(certified("bob", "db", "gone"), wire.WhoAmI())
    assert isinstance(reply, wire.Myself)
    assert (reply.roles, reply.logins, reply.methods) == (["db"], ["postgres"], ["publickey"])
    assert reply.valid_until == rfc3339(START + timedelta(hours=1))
    world.accounts["bob"] = ("web",)
    assert await portal.answer(certified("bob", "db"), wire.Nodes()) == wire.NodeList([])


@pytest.mark.parametrize("request_", [wire.Nodes(), wire.Sessions(), wire.Recording(SID), wire.Cluster()])
async def test_nothing_is_answered_after_the_certificate_expired_or_the_account_went(
    portal: Portal, world: World, clock: FakeClock, request_: wire.AnyRequest
) -> None:
    """A connection that stays open gains nothing."""
    clock.advance(timedelta(hours=1))
    assert "expired" in (await refused(portal, certified("alice", "web"), request_)).message
    del world.accounts["alice"]
    assert await refused(portal, signed_in(), request_) == wire.Refused("denied", "access denied")


async def test_sessions_and_recordings_are_the_callers_own(portal: Portal) -> None:
    """R23: nobody sees what others do."""
    sessions = await portal.answer(signed_in("alice"), wire.Sessions())
    assert isinstance(sessions, wire.SessionList)
    assert [item.sid for item in sessions.sessions] == [SID]
    recordings = await portal.answer(signed_in("bob"), wire.Recordings())
    assert isinstance(recordings, wire.RecordingList)
    assert [item.sid for item in recordings.recordings] == [OTHER_SID]


async def test_a_session_whose_daemon_died_is_not_listed(portal: Portal, clock: FakeClock) -> None:
    """Nobody keeps its tracker alive, so it is not live, though nobody has swept it yet."""
    clock.advance(timedelta(seconds=30))
    assert await portal.answer(signed_in("alice"), wire.Sessions()) == wire.SessionList([])


async def test_playing_ones_own_recording_is_an_event(portal: Portal, world: World, events: Events) -> None:
    """session.recording.access names who read which session's recording."""
    reply = await portal.answer(signed_in(), wire.Recording(SID.upper()))
    assert isinstance(reply, Download)
    assert b"".join([piece async for piece in reply.pieces]) == world.files[SID]
    assert world.closed == 1
    body = events[0].to_json()
    assert (body["event"], body["code"], body["sid"]) == ("session.recording.access", "T2012I", SID)
    assert (body["user"], body["addr.remote"]) == ("alice", "192.0.2.7:4711")


@pytest.mark.parametrize("fits", [True, False])
async def test_an_encrypted_recording_is_opened_for_who_may_play_it(
    portal: Portal, world: World, fits: bool
) -> None:
    """If the gateway is one of the recipients; else it is handed out as it is, for an identity of the player's."""

    def unlock(_wrapped: bytes) -> bytes:
        if not fits:
            raise RecordingError("encrypted for others")
        return CONTENT.key

    portal._unlock = unlock
    locked = made([b"secret"], header=replace(HEADER, user="alice"), content=CONTENT)
    world.files[SID] = locked.data
    reply = await portal.answer(signed_in(), wire.Recording(SID))
    assert isinstance(reply, Download)
    data = b"".join([piece async for piece in reply.pieces])
    if fits:
        assert Output(Stream.STDOUT, b"secret") in [frame.body for frame in decode([data])]
    else:
        assert data == locked.data


async def placed(reply: object, size: int) -> bytearray:
    """The file as far as it came."""
    assert isinstance(reply, Download)
    data, came = bytearray(size), b"".join([piece async for piece in reply.pieces])
    for offset, length in reply.head.places:
        data[offset : offset + length], came = came[:length], came[length:]
    assert not came
    return data


@pytest.mark.parametrize("fits", [True, False, None])
async def test_of_a_recording_that_is_played_from_a_moment_comes_what_is_needed(
    portal: Portal, world: World, events: Events, fits: bool | None
) -> None:
    """Encrypted or not; with the key in the open if the gateway has it, and as it is if not."""

    def unlock(_wrapped: bytes) -> bytes:
        if not fits:
            raise RecordingError("encrypted for others")
        return CONTENT.key

    portal._unlock = unlock
    content = None if fits is None else CONTENT
    whole = long_recording(60, header=replace(HEADER, user="alice"), content=content)
    world.files[SID] = whole
    at = 55 * SECOND
    data = await placed(await portal.answer(signed_in(), wire.Recording(SID, at)), len(whole))
    assert world.opened is not None
    assert world.opened.closed == 1
    assert world.opened.read_bytes < len(whole) * 2 // 3
    own = None if fits is not False else lambda _wrapped: CONTENT.key
    frames = list(frames_from(lambda offset, size: bytes(data[offset : offset + size]), len(data), at, own))
    known = list(
        frames_from(lambda offset, size: whole[offset : offset + size], len(whole), at, lambda _w: CONTENT.key)
    )
    assert frames == known
    assert [event.kind for event in events] == [Kind.RECORDING_ACCESS]


async def test_where_a_place_cannot_be_told_all_of_the_recording_comes(portal: Portal, world: World) -> None:
    """It is damaged, and whoever plays it is told so; of others nothing comes, whatever moment they ask for."""
    whole = bytearray(long_recording(40, header=replace(HEADER, user="alice")))
    start = whole.rfind(b"ILRB", 0, whole.rfind(b"ILRB"))
    whole[start : start + 4] = b"xxxx"
    world.files[SID] = bytes(whole)
    reply = await portal.answer(signed_in(), wire.Recording(SID, SECOND))
    assert isinstance(reply, Download)
    assert reply.head.places == []
    assert b"".join([piece async for piece in reply.pieces]) == whole
    assert world.opened is not None
    assert (world.opened.closed, world.closed) == (1, 1)
    world.files[OTHER_SID] = long_recording(40, header=replace(HEADER, user="bob"))
    for data in (world.files[OTHER_SID], recording("bob"), recording(""), b"junk", b""):
        world.files[OTHER_SID] = data
        assert (await refused(portal, signed_in(), wire.Recording(OTHER_SID, SECOND))).why in ("denied", "failed")
        assert world.opened.closed == 1
    missing = wire.Recording(str(SID)[:-1] + "0", SECOND)
    assert (await refused(portal, signed_in(), missing)).why == "not-found"


async def test_recordings_of_others_are_denied_and_unknown_ones_not_found(
    portal: Portal, world: World, events: Events
) -> None:
    """R23: knowing a session ID opens nothing; only the denial is an audit event."""
    assert (await refused(portal, signed_in(), wire.Recording(OTHER_SID))).why == "denied"
    assert world.closed == 1
    assert [event.kind.code for event in events] == ["T3007W"]
    for sid in ("../../etc/passwd", "", str(SID)[:-1] + "0"):
        assert (await refused(portal, signed_in(), wire.Recording(sid))).why == "not-found"
    assert len(events) == 1


@pytest.mark.parametrize("whole", [recording(""), recording("alice")[40:], b"", b"x" * 2 * FRONT])
async def test_a_recording_that_names_no_user_belongs_to_nobody(
    portal: Portal, world: World, whole: bytes
) -> None:
    """A header that is empty, damaged or nowhere opens to no one, not even to a user of empty name."""
    world.files[SID] = whole
    world.infos = [replace(world.infos[0], meta={})]
    world.accounts[""] = ("web",)
    for caller in (signed_in(), signed_in("")):
        assert (await refused(portal, caller, wire.Recording(SID))).why in ("denied", "failed")
        assert await portal.answer(caller, wire.Recordings()) == wire.RecordingList([])


async def test_a_broken_store_is_told_without_its_secrets(portal: Portal, world: World) -> None:
    """The private reason stays here."""
    world.broken = True
    reply = await refused(portal, signed_in(), wire.Recordings())
    assert reply.why == "failed"
    assert "/secret" not in reply.message


async def test_everyone_who_signed_in_may_know_the_host_ca(portal: Portal) -> None:
    """The cluster's name and host CA are what known_hosts needs."""
    reply = await portal.answer(signed_in(), wire.Cluster())
    assert isinstance(reply, wire.ClusterInfo)
    assert reply.cluster == "test"
    assert reply.host_ca[0].split()[0] == "ssh-ed25519"


async def test_refusals_cannot_flood_the_audit_log(
    portal: Portal, clock: FakeClock, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many of one user in an hour are events, on however many connections; the last says that more follow."""
    monkeypatch.setattr(service, "MAX_REFUSED", 2)
    request = wire.Recording(OTHER_SID)
    for number in range(REFUSALS_TOLD + 20):
        caller = replace(signed_in(), source=f"192.0.2.7:{number}")
        assert (await refused(portal, caller, request)).why == "denied"
    assert len(events) == REFUSALS_TOLD
    assert ["not reported" in str(event.fields["error"]) for event in events[-2:]] == [False, True]
    assert (await refused(portal, signed_in("mallory"), request)).why == "denied"
    assert events[-1].fields["user"] == "mallory"
    clock.advance(service.TOLD_AGAIN_S)
    await refused(portal, signed_in(), request)
    assert events[-1].fields["user"] == "alice"
    for name in ("x", "y", "z"):
        await refused(portal, signed_in(name), request)
    assert list(portal._told) == ["y", "z"]


async def test_sessions_that_one_may_join_are_listed(portal: Portal, world: World) -> None:
    """With the modes: where a role of one's own reaches the target and says so, and there is a terminal."""
    host = await world.targets()
    on = replace(tracker(OTHER_SID, "bob"), target_id=host[0].id, terminal=True, reason="why", invited=("alice",))
    world.live_sessions = [on, replace(on, sid=SID, terminal=False)]
    joining = RoleOptions(join_sessions=(JoinMode.OBSERVER,))
    world.known_roles = [Role("web", ("root",), {"*": "*"}, joining)]
    reply = await portal.answer(signed_in("alice"), wire.Sessions())
    assert isinstance(reply, wire.SessionList)
    [item] = reply.sessions
    assert (item.sid, item.user, item.joinable) == (OTHER_SID, "bob", ["observer"])
    assert (item.reason, item.invited) == ("why", ["alice"])


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


async def test_nodes_of_a_leaf_are_asked_for_there(portal: Portal, elsewhere: Elsewhere) -> None:
    """As this user, who may be somebody else in that cluster; one's own cluster is no leaf."""
    reply = await portal.answer(certified("alice", "web"), wire.Nodes("leaf"))
    assert isinstance(reply, wire.NodeList)
    assert [node.hostname for node in reply.nodes] == ["far1"]
    assert elsewhere.asked == [("alice", "leaf", "")]
    own = await portal.answer(certified("alice", "web"), wire.Nodes("TEST"))
    assert isinstance(own, wire.NodeList)
    assert [node.hostname for node in own.nodes] == ["web1", "web2"]


async def test_without_a_certificate_nobody_is_shown_elsewhere(portal: Portal) -> None:
    """The leaf has to be told by a certificate who asks."""
    reply = await portal.answer(signed_in(), wire.Nodes("leaf"))
    assert reply == wire.Refused("denied", "other clusters admit by certificate: run ilsh login")


async def test_people_of_a_root_may_ask_for_nodes(portal: Portal) -> None:
    """With the roles that they have here, not those of a namesake."""
    reply = await portal.answer(foreigner(), wire.Nodes())
    assert isinstance(reply, wire.NodeList)
    assert [node.hostname for node in reply.nodes] == ["db1"]


@pytest.mark.parametrize(
    "request_", [wire.Sign("key"), wire.Sessions(), wire.Recordings(), wire.Recording(SID), wire.Nodes("far")]
)
async def test_and_for_nothing_else(portal: Portal, events: Events, request_: wire.AnyRequest) -> None:
    """Not for a namesake's sessions, and not for the way on to a third cluster."""
    reply = await portal.answer(foreigner(), request_)
    assert reply == wire.Refused("denied", "people of other clusters can only ask for nodes here")
    assert [event.kind for event in events] == [Kind.AUTH_FAILURE]


async def test_a_namesakes_sessions_are_not_ones_own(portal: Portal, world: World) -> None:
    """Sessions and recordings of alice of another cluster are in no list of our alice."""
    world.live_sessions = [replace(each, origin_cluster="main") for each in world.live_sessions]
    world.infos = [RecordingInfo(SID, 1, START, {"user": "alice", "origin_cluster": "main"})]
    world.files = {SID: recording("alice", origin_cluster="main")}
    assert await portal.answer(certified("alice", "web"), wire.Sessions()) == wire.SessionList([])
    assert await portal.answer(certified("alice", "web"), wire.Recordings()) == wire.RecordingList([])
    reply = await portal.answer(certified("alice", "web"), wire.Recording(SID))
    assert isinstance(reply, wire.Refused)


async def test_lists_come_in_pages(portal: Portal, world: World) -> None:
    """Each session and recording once, behind the place where the page before ended."""
    [on] = [each for each in world.live_sessions if each.sid == SID]
    sids = [SessionId(f"00000000-0000-4000-8000-{number:012d}") for number in range(5)]
    world.live_sessions = [replace(on, sid=sid) for sid in sids]
    world.infos = [RecordingInfo(sid, 1, START, {"user": "alice"}) for sid in sids]
    live: list[str] = []
    after = ""
    while True:
        reply = await portal.answer(signed_in("alice"), wire.Sessions(after, 2))
        assert isinstance(reply, wire.SessionList)
        live += [item.sid for item in reply.sessions]
        if not (after := reply.next):
            break
    recorded: list[str] = []
    while True:
        answer = await portal.answer(signed_in("alice"), wire.Recordings(after, 2))
        assert isinstance(answer, wire.RecordingList)
        recorded += [item.sid for item in answer.recordings]
        if not (after := answer.next):
            break
    assert live == recorded == sids


@pytest.mark.parametrize("limit", [0, -1, wire.MAX_LISTED + 1, 1 << 62])
def test_a_page_has_its_bounds(limit: int) -> None:
    """Refused as malformed before anything is looked up."""
    for name in ("sessions", "recordings"):
        with pytest.raises(RemoteProtocolError):
            wire.parse_request(f'{{"type":"{name}","limit":{limit}}}'.encode())
    assert wire.encode(wire.Recordings()) == b'{"type":"recordings"}\n'  # an older gateway knows no fields

"""A user is admitted by what is true now, not by what was true when the certificate was issued."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.errors import Denied, Locked, NotFound
from interlock.core.ids import DaemonId
from interlock.domain.access import Deny, RoleOptions, SecondFactor
from interlock.domain.duties import RecordingMode
from interlock.domain.factor import EnrolledKey
from interlock.domain.granted import Granted
from interlock.domain.identity import CLOCK_SKEW, Claims, Identity
from interlock.domain.lock import Lock, LockKind
from interlock.domain.modes import ModePolicy, ModeRule
from interlock.domain.rbac import Role
from interlock.domain.request import AccessRequest, Act
from interlock.domain.target import SubKind, Target
from interlock.ports import User
from interlock.services.access.admission import MAX_HINTS, RoleAdmission
from interlock.testing.clock import START, FakeClock
from interlock.testing.limits import MemoryLocks
from interlock.testing.requests import MemoryRequests

WEB = Target(
    DaemonId("11111111-0000-4000-8000-000000000001"), "web1", "10.0.0.5", 22, SubKind.NODE, {"env": "test"}
)
DEV = Role("dev", ("root", "ubuntu"), {"env": "test"})
CLAIMS = Claims(Identity("alice", ("dev",), "demo"), ("root",), START, START + timedelta(hours=1), 1)


class World:
    """`ports.UserSource`, `RoleSource`, `ModeSource` and `TargetSource` in memory."""

    def __init__(self) -> None:
        self.accounts = {"alice": User("alice", ("dev",), None, must_change=False, created=START)}
        self.known = {"dev": DEV}
        self.modes = ModePolicy()
        self.live = [WEB]

    async def user(self, name: str) -> User:
        if name not in self.accounts:
            raise NotFound("no such user")
        return self.accounts[name]

    async def roles(self, names: Iterable[str]) -> list[Role]:
        return [self.known[name] for name in names if name in self.known]

    async def target(self, name: str) -> Target:
        if name not in (WEB.hostname, WEB.id):
            raise NotFound(f"unknown node {name}: run `ilsh ls` to see the nodes you can reach")
        return WEB

    async def named(self, name: str) -> list[Target]:
        return [target for target in self.live if name in (target.hostname, target.id)]

    async def targets(self) -> list[Target]:
        return [WEB]

    async def mode_policy(self) -> ModePolicy:
        return self.modes


@pytest.fixture
def world() -> World:
    """One of each."""
    return World()


@pytest.fixture
def clock() -> FakeClock:
    """Time under control."""
    return FakeClock()


@pytest.fixture
def locks() -> MemoryLocks:
    """None at first."""
    return MemoryLocks()


@pytest.fixture
def admission(world: World, locks: MemoryLocks, clock: FakeClock) -> RoleAdmission:
    """The judge."""
    return RoleAdmission(users=world, roles=world, targets=world, modes=world, locks=locks, clock=clock)


async def test_an_allowed_login_gets_a_permit(admission: RoleAdmission) -> None:
    """For exactly what was asked, by name or by ID."""
    permit = await admission.permit(CLAIMS, "root", "web1")
    assert (permit.identity, permit.login, permit.target) == (CLAIMS.identity, "root", WEB)
    assert permit.expires == CLAIMS.valid_before
    await admission.admit(CLAIMS, "root", WEB.id)


async def test_an_unknown_node_is_named_with_the_way_out(admission: RoleAdmission) -> None:
    """The text reaches the person."""
    with pytest.raises(NotFound, match="unknown node web9: run `ilsh ls`"):
        await admission.permit(CLAIMS, "root", "web9")


async def test_a_login_outside_the_certificate_is_denied(admission: RoleAdmission) -> None:
    """Even if a role allows it: principals limit what a certificate opens, and a new one is the way out."""
    with pytest.raises(Denied, match="your certificate does not allow the login ubuntu yet: run ilsh login"):
        await admission.permit(CLAIMS, "ubuntu", "web1")
    with pytest.raises(Denied, match="you may not log in as nobody on web1"):
        await admission.permit(CLAIMS, "nobody", "web1")


async def test_a_role_that_was_deleted_counts_for_nothing(admission: RoleAdmission, world: World) -> None:
    """From the next session on."""
    del world.known["dev"]
    with pytest.raises(Denied, match="you may not log in as root on web1"):
        await admission.admit(CLAIMS, "root", WEB.id)


async def test_a_role_that_was_taken_from_the_user_counts_for_nothing(
    admission: RoleAdmission, world: World
) -> None:
    """Though the certificate still names it and the role still exists."""
    world.accounts["alice"] = User("alice", (), None, must_change=False, created=START)
    with pytest.raises(Denied):
        await admission.admit(CLAIMS, "root", WEB.id)


async def test_a_role_that_the_certificate_lacks_counts_for_nothing(
    admission: RoleAdmission, world: World
) -> None:
    """A role given later needs a new certificate."""
    world.known["dev"] = Role("dev", ("root",), {"env": "other"})
    world.known["ops"] = Role("ops", ("root",), {"*": "*"})
    world.accounts["alice"] = User("alice", ("dev", "ops"), None, must_change=False, created=START)
    with pytest.raises(Denied):
        await admission.admit(CLAIMS, "root", WEB.id)


async def test_a_denial_counts_before_the_certificate_names_its_role(
    admission: RoleAdmission, world: World
) -> None:
    """Nobody gets round it by not signing in; what else the role says waits for the next certificate."""
    options = RoleOptions(deny=Deny(("root",)), local_forwarding=True)
    world.known["no-root"] = Role("no-root", ("ubuntu",), {"*": "*"}, options)
    world.accounts["alice"] = User("alice", ("dev", "no-root"), None, must_change=False, created=START)
    with pytest.raises(Denied, match="you may not log in as root on web1") as caught:
        await admission.permit(CLAIMS, "root", "web1")
    assert caught.value.reason == "no-root of alice denies root on web1"
    permit = await admission.permit(replace(CLAIMS, logins=("ubuntu",)), "ubuntu", "web1")
    assert not permit.access.local_forwarding


async def test_templates_are_filled_with_the_users_traits(admission: RoleAdmission, world: World) -> None:
    """As they are now, not as they were when the certificate was made."""
    world.known["dev"] = Role("dev", ("{{trait.logins}}",), {"env": "{{trait.env}}"})
    with pytest.raises(Denied):
        await admission.permit(CLAIMS, "root", "web1")
    traits = {"logins": ("root",), "env": ("test",)}
    world.accounts["alice"] = User("alice", ("dev",), None, False, START, traits)
    assert (await admission.permit(CLAIMS, "root", "web1")).login == "root"


async def test_who_reaches_nothing_there_learns_nothing_of_it(admission: RoleAdmission, world: World) -> None:
    """What does not exist and what one does not reach are refused alike; the audit log knows which it was."""
    with pytest.raises(NotFound) as unknown:
        await admission.find(CLAIMS, "web9")
    world.known["dev"] = replace(DEV, node_labels={"env": "other"})
    with pytest.raises(NotFound) as hidden:
        await admission.permit_for(CLAIMS, "root", WEB, named="web9")
    assert hidden.value.public == unknown.value.public
    assert hidden.value.reason == "no role of alice (dev) allows root on web1"
    world.known["dev"] = DEV
    with pytest.raises(Denied, match="you may not log in as nobody on web1"):
        await admission.permit_for(CLAIMS, "nobody", WEB, named="web1")


async def test_a_node_looks_itself_where_somebody_comes_from(admission: RoleAdmission, world: World) -> None:
    """It alone sees that."""
    world.known["dev"] = replace(DEV, options=RoleOptions(source_networks=("10.0.0.0/8",)))
    assert (await admission.admit(CLAIMS, "root", WEB.id)).source_networks == ("10.0.0.0/8",)
    assert (await admission.permit_for(CLAIMS, "root", WEB, source="10.0.0.7:22")).login == "root"
    with pytest.raises(Denied, match="come from this address"):
        await admission.permit_for(CLAIMS, "root", WEB, source="192.0.2.7:22")


ASKED = AccessRequest(
    "00000000-0000-4000-8000-00000000000a", "alice", ("dba",), "why", START, timedelta(minutes=10)
)


async def test_a_role_by_request_counts_while_it_is_given(
    world: World, locks: MemoryLocks, clock: FakeClock
) -> None:
    """Approved, not over, not locked, and to whoever asked: the certificate's word alone is nothing."""
    requests = MemoryRequests()
    admission = RoleAdmission(
        users=world, roles=world, targets=world, modes=world, locks=locks, clock=clock, requests=requests
    )
    world.known["dba"] = Role("dba", ("postgres",), {"env": "test"})
    identity = Identity("alice", ("dev", "dba"), "demo", requests=(ASKED.id,))
    claims = replace(CLAIMS, identity=identity, logins=("root", "postgres"))

    async def admitted() -> bool:
        try:
            await admission.permit(claims, "postgres", "web1")
        except Denied:
            return False
        return True

    assert not await admitted()
    await requests.add_request(ASKED)
    assert not await admitted()
    given = ASKED.act(Act.APPROVE, "bob", "", now=clock.now())
    await requests.replace_request(ASKED, given)
    assert await admitted()
    lock = Lock("l1", LockKind.ACCESS_REQUEST, ASKED.id, START)
    await locks.add_lock(lock)
    assert not await admitted()
    await locks.remove_lock("l1")
    requests.stored[ASKED.id] = replace(given, user="bob")
    assert not await admitted()
    requests.stored[ASKED.id] = given
    assert await admitted()
    clock.advance(600)
    assert not await admitted()
    assert (await admission.permit(claims, "root", "web1")).login == "root"


async def test_a_refusal_says_what_may_be_asked_for(admission: RoleAdmission, world: World) -> None:
    """To those who may, if it would help; others learn nothing of such a role."""
    world.known["dba"] = Role("dba", ("postgres",), {"env": "test"})
    with pytest.raises(Denied) as caught:
        await admission.permit(CLAIMS, "postgres", "web1")
    assert caught.value.public == "access denied: you may not log in as postgres on web1"
    world.known["dev"] = replace(DEV, options=RoleOptions(request_roles=("dba",)))
    with pytest.raises(Denied, match="on web1; you may ask for it: ilsh request create dba --reason"):
        await admission.permit(CLAIMS, "postgres", "web1")


async def test_of_however_many_roles_it_is_known_which_ask_for_a_second_factor(
    admission: RoleAdmission, world: World
) -> None:
    """What is remembered is bounded; a role is not forgotten while it is asked about."""
    world.known["dev"] = replace(DEV, options=RoleOptions(second_factor=SecondFactor.SESSION))
    assert await admission.asks(CLAIMS, "root", "web1")
    for number in range(MAX_HINTS):
        names = (f"role-{number}",)
        assert not await admission.asks(
            replace(CLAIMS, identity=replace(CLAIMS.identity, roles=names)), "root", ""
        )
    both = replace(CLAIMS, identity=replace(CLAIMS.identity, roles=("dev", "another")))
    assert await admission.asks(both, "root", "web1")


async def test_a_removed_user_is_denied(admission: RoleAdmission, world: World) -> None:
    """With a certificate that is valid for hours yet."""
    world.accounts.clear()
    with pytest.raises(Denied, match="no longer exists"):
        await admission.admit(CLAIMS, "root", WEB.id)


async def test_who_is_called_like_a_removed_user_is_somebody_else(
    admission: RoleAdmission, world: World, clock: FakeClock
) -> None:
    """What the earlier account was given opens nothing in the name of the new one, and what is live by it ends."""
    issued = replace(CLAIMS, valid_after=clock.now() - CLOCK_SKEW)
    clock.advance(timedelta(minutes=5))
    world.accounts["alice"] = replace(world.accounts["alice"], created=clock.now())
    with pytest.raises(Denied, match="of an earlier account of this name: run ilsh login"):
        await admission.admit(issued, "root", WEB.id)
    assert await admission.taken_away(Granted(issued)) is not None
    renewed = replace(issued, valid_after=clock.now() - CLOCK_SKEW)
    await admission.admit(renewed, "root", WEB.id)
    assert await admission.taken_away(Granted(renewed)) is None


async def test_an_expired_certificate_is_denied(admission: RoleAdmission, clock: FakeClock) -> None:
    """Also on a connection that was authenticated before."""
    clock.advance(timedelta(hours=1))
    with pytest.raises(Denied, match="expired"):
        await admission.admit(CLAIMS, "root", WEB.id)


async def test_the_answer_says_where_it_is_recorded(admission: RoleAdmission, world: World) -> None:
    """The proxy reads it off the permit, a node off the answer: the same word, so they cannot disagree."""
    assert (await admission.permit(CLAIMS, "root", "web1")).mode is RecordingMode.NODE
    world.modes = ModePolicy(RecordingMode.PROXY, (ModeRule({"env": "test"}, RecordingMode.NODE_SYNC),))
    assert (await admission.permit(CLAIMS, "root", "web1")).mode is RecordingMode.NODE_SYNC
    assert (await admission.admit(CLAIMS, "root", WEB.id)).recording == "node-sync"
    world.known["dev"] = replace(DEV, options=RoleOptions(recording="proxy-sync"))
    assert (await admission.admit(CLAIMS, "root", WEB.id)).recording == "proxy-sync"


async def test_before_a_jump_the_strictest_login_counts(admission: RoleAdmission, world: World) -> None:
    """And nobody learns anything of a node that no role reaches."""
    world.known["dev"] = replace(DEV, options=RoleOptions(recording="proxy"))
    assert await admission.mode_before_login(CLAIMS, WEB, "web1") is RecordingMode.PROXY
    world.known["dev"] = replace(DEV, node_labels={"env": "prod"})
    with pytest.raises(NotFound, match="unknown node web1: run"):
        await admission.mode_before_login(CLAIMS, WEB, "web1")


async def test_a_name_that_several_nodes_have_is_refused_with_their_ids(
    admission: RoleAdmission, world: World
) -> None:
    """Those that this person reaches; an ID is a name, too."""
    twin = replace(WEB, id=DaemonId("22222222-2222-4222-8222-222222222222"))
    hidden = replace(WEB, id=DaemonId("33333333-2222-4222-8222-222222222222"), labels={"env": "secret"})
    assert await admission.find(CLAIMS, "web1") == WEB
    world.live += [twin, hidden]
    with pytest.raises(NotFound, match=f"several nodes are called web1: .*: {WEB.id}, {twin.id}$") as refused:
        await admission.find(CLAIMS, "web1")
    assert hidden.id in refused.value.reason
    assert await admission.find(CLAIMS, twin.id) == twin
    world.live = [hidden, replace(hidden, id=twin.id)]
    with pytest.raises(NotFound, match="unknown node web1: run"):
        await admission.find(CLAIMS, "web1")


async def test_the_list_of_ids_is_short(admission: RoleAdmission, world: World) -> None:
    """It becomes the text of one SSH message."""
    world.live = [replace(WEB, id=DaemonId(f"{n:08d}-2222-4222-8222-222222222222")) for n in range(100)]
    with pytest.raises(NotFound, match="several nodes") as refused:
        await admission.find(CLAIMS, "web1")
    assert len(refused.value.public) < 500


LOCK = Lock("l1", LockKind.USER, "alice", START, "call 4711")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (LockKind.USER, "alice"),
        (LockKind.ROLE, "dev"),
        (LockKind.LOGIN, "root"),
        (LockKind.NODE, "web1"),
        (LockKind.NODE, WEB.id),
    ],
)
async def test_whoever_is_locked_out_gets_no_permit(
    admission: RoleAdmission, locks: MemoryLocks, kind: LockKind, name: str
) -> None:
    """By what is stored at that moment, whatever the view of a daemon says."""
    await locks.add_lock(replace(LOCK, kind=kind, name=name))
    with pytest.raises(Locked, match="access is locked: call 4711"):
        await admission.permit(CLAIMS, "root", "web1")
    with pytest.raises(Locked):
        await admission.admit(CLAIMS, "root", WEB.id)
    await locks.remove_lock("l1")
    await admission.permit(CLAIMS, "root", "web1")


async def test_a_lock_on_a_person_refuses_jumps_too(
    admission: RoleAdmission, locks: MemoryLocks, clock: FakeClock
) -> None:
    """They ask for roles only; and an expired lock refuses nobody."""
    await locks.add_lock(replace(LOCK, expires=START + timedelta(minutes=1)))
    with pytest.raises(Locked):
        await admission.current_roles(CLAIMS)
    clock.advance(timedelta(minutes=1))
    assert await admission.current_roles(CLAIMS) == [DEV]
    await locks.add_lock(replace(LOCK, id="l2", kind=LockKind.NODE, name="web1"))
    assert await admission.current_roles(CLAIMS) == [DEV]


HERE = Granted(CLAIMS, "root", WEB)


async def test_nothing_is_taken_from_who_has_what_it_takes(
    admission: RoleAdmission, world: World, locks: MemoryLocks, clock: FakeClock
) -> None:
    """Neither an expired certificate, nor a factor that is asked for now, nor a silent node ends anybody."""
    clock.advance(7200)
    world.known["dev"] = replace(DEV, options=RoleOptions(second_factor=SecondFactor.SESSION))
    assert await admission.taken_away(HERE) is None
    assert await admission.taken_away(Granted(replace(CLAIMS, bot=3), "root", WEB)) is None
    away = replace(WEB, id=DaemonId("99999999-0000-4000-8000-000000000009"), hostname="web9")
    assert await admission.taken_away(Granted(CLAIMS, "root", away)) is None
    await locks.add_lock(Lock("l1", LockKind.USER, "alice", START))  # whoever is watched hears of it anyway
    assert await admission.taken_away(HERE) is None


async def test_what_was_taken_from_somebody(admission: RoleAdmission, world: World) -> None:
    """A role, what it says, the account."""
    world.known["dev"] = replace(DEV, logins=("ubuntu",))
    why = await admission.taken_away(HERE)
    assert why is not None
    assert why.public == "your access to root on web1 was taken away"
    world.known["dev"] = DEV
    world.accounts["alice"] = replace(world.accounts["alice"], roles=("other",))
    assert await admission.taken_away(HERE) is not None
    del world.accounts["alice"]
    gone = await admission.taken_away(Granted(CLAIMS))
    assert gone is not None
    assert "your account no longer exists" in gone.public


async def test_access_by_a_request_counts_as_long_as_it_is_granted(world: World, locks: MemoryLocks) -> None:
    """Whatever becomes of the others."""
    requests, clock = MemoryRequests(), FakeClock()
    admission = RoleAdmission(
        users=world, roles=world, targets=world, modes=world, locks=locks, clock=clock, requests=requests
    )
    asked = AccessRequest("r1", "alice", ("dev",), "why", START, timedelta(hours=1))
    await requests.add_request(asked.act(Act.APPROVE, "bob", "", now=START))
    world.accounts["alice"] = replace(world.accounts["alice"], roles=())
    by_request = replace(CLAIMS, identity=replace(CLAIMS.identity, requests=("r1",)))
    assert await admission.taken_away(Granted(by_request, "root", WEB)) is None
    assert await admission.taken_away(HERE) is not None
    await requests.remove_request("r1")
    assert await admission.taken_away(Granted(by_request, "root", WEB)) is not None


class Keys:
    """`ports.KeySource` with one key."""

    def __init__(self, *keys: EnrolledKey) -> None:
        self.known = {key.blob: key for key in keys}

    async def enrolled_key(self, blob: bytes) -> EnrolledKey:
        if blob not in self.known:
            raise NotFound("nobody has enrolled this key")
        return self.known[blob]


@pytest.mark.parametrize(("owner", "stays"), [("alice", True), ("bob", False), (None, False)])
async def test_who_came_by_a_key_goes_with_it(
    world: World, locks: MemoryLocks, owner: str | None, stays: bool
) -> None:
    """Also if somebody else has enrolled it since; one that has expired only lets nobody in."""
    keys = Keys(*([] if owner is None else [EnrolledKey(b"key", owner, "laptop", START, START)]))
    admission = RoleAdmission(
        users=world, roles=world, targets=world, modes=world, locks=locks, clock=FakeClock(), keys=keys
    )
    enrolled = replace(CLAIMS, enrolled=True, certificate=b"key")
    why = await admission.taken_away(Granted(enrolled, "root", WEB))
    assert (why is None) == stays
    if why is not None:
        assert why.public == "the key that you came with was removed: run ilsh login"

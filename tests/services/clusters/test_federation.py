"""People of a root cluster are believed at the door for one session, and judged by this cluster's roles."""

import asyncio
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from interlock.core.errors import Denied, InterlockError, Locked, NotFound, RemoteProtocolError, Rule, StoreError
from interlock.core.ids import DaemonId
from interlock.domain.cluster import LeafPass, Relation, TrustedCluster, door_of
from interlock.domain.duties import RecordingMode
from interlock.domain.granted import Granted
from interlock.domain.identity import Claims, Forwarded, Identity
from interlock.domain.lock import Lock, LockKind
from interlock.domain.modes import ModePolicy
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.ports import Cluster, User
from interlock.services.clusters.federation import REFRESH_S, FederatedAdmission, FederatedClaims, Leaves
from interlock.services.keys.authority import Authority
from interlock.services.keys.certificates import CertificateReader
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy
from interlock.testing.limits import MemoryLocks
from interlock.testing.node import FakeAuthorityStore
from interlock.testing.stores import MemoryTrusts, VirtualSleep

HERE = Cluster("11111111-0000-4000-8000-000000000001", "leaf", RecordingMode.NODE, START)
WEB = Target(
    DaemonId("33333333-0000-4000-8000-000000000003"), "web1", "10.0.0.5", 22, SubKind.NODE, {"env": "test"}
)
LATER = START + timedelta(hours=1)


def public_key() -> str:
    """Somebody's fresh key."""
    public = Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def blob(line: str) -> bytes:
    """A certificate as it travels."""
    return b64decode(line.split()[1])


class World:
    """Accounts and roles of this cluster in memory, and two authorities: ours, and the root's."""

    def __init__(self) -> None:
        self.clock, self.entropy, self.trusts = FakeClock(), FakeEntropy(), MemoryTrusts()
        self.locks = MemoryLocks()
        self.accounts = {"alice": User("alice", ("dev",), None, must_change=False, created=START)}
        self.known = {"dev": Role("dev", ("root",), {"env": "test"}), "ops": Role("ops", ("ops",), {"*": "*"})}
        self.admission = FederatedAdmission(
            users=self,
            roles=self,
            targets=self,
            modes=self,
            locks=self.locks,
            clock=self.clock,
            cluster=HERE,
            trusts=self.trusts,
        )
        self.leaves = Leaves(self.admission, cluster=HERE, trusts=self.trusts, modes=self, clock=self.clock)

    async def authority(self, cluster: str) -> Authority:
        """A cluster's authority."""
        daemon, store = DaemonId(f"proxy-of-{cluster}"), FakeAuthorityStore()
        return await Authority.load(
            store, cluster=cluster, daemon_id=daemon, clock=self.clock, entropy=self.entropy
        )

    async def trust(self, authority: Authority, name: str = "main") -> TrustedCluster:
        """Make a cluster our root, whose developers are our operators."""
        root = TrustedCluster(
            name,
            "22222222-0000-4000-8000-000000000002",
            Relation.ROOT,
            START,
            user_cas=(authority.export("user"),),
            roles={"developer": ("ops", "gone")},
        )
        await self.trusts.put_trust(root)
        return root

    async def user(self, name: str) -> User:
        """`ports.UserSource`."""
        if name not in self.accounts:
            raise NotFound("no such user")
        return self.accounts[name]

    async def roles(self, names: Iterable[str]) -> list[Role]:
        """`ports.RoleSource`."""
        return [self.known[name] for name in names if name in self.known]

    async def target(self, name: str) -> Target:
        """`ports.TargetSource`."""
        raise NotFound(f"unknown node {name}")

    async def named(self, name: str) -> list[Target]:
        """`ports.TargetSource`."""
        return [WEB] if name == WEB.hostname else []

    async def targets(self) -> list[Target]:
        """`ports.TargetSource`."""
        return [WEB]

    async def mode_policy(self) -> ModePolicy:
        """`ports.ModeSource`."""
        return ModePolicy(RecordingMode.PROXY)


@pytest.fixture
def world() -> World:
    """A new one."""
    return World()


def leaf_pass(cluster_id: str = HERE.id, *, user: str = "alice", cluster: str = "main") -> LeafPass:
    """What the root decided on one of its users."""
    claims = Claims(Identity(user, ("developer",), cluster), ("root",), START, LATER, 1)
    leaf = TrustedCluster("leaf", cluster_id, Relation.LEAF, START, proxy="leaf:3023")
    return LeafPass.decide(claims, ("developer",), leaf, login="ops", node="web1", now=START)


async def door(world: World) -> FederatedClaims:
    """What the proxy's door believes, as it is now."""
    own = await world.authority("leaf")
    found = FederatedClaims(CertificateReader([own.export("user")]), world.trusts, HERE)
    await found.refresh()
    return found


async def test_a_roots_forwarder_is_believed(world: World) -> None:
    """Who comes, from where, with which roles at home, and whether the root would record."""
    main = await world.authority("main")
    await world.trust(main)
    made = await main.issue_for_leaf(leaf_pass(), public_key(), offers=True, client_addr="192.0.2.7:4711")
    claims = (await door(world)).read(blob(made.certificate), now=START)
    assert claims.identity == Identity("alice", ("developer",), "main")
    assert claims.logins == ("ops",)
    assert claims.forwarded == Forwarded(
        door_of(HERE.id), DaemonId("proxy-of-main"), records=True, client="192.0.2.7:4711"
    )
    assert timedelta(minutes=4) < claims.valid_before - START <= timedelta(minutes=5)


async def test_our_own_people_are_read_as_before(world: World) -> None:
    """Whatever roots there are."""
    own = await world.authority("leaf")
    await world.trust(await world.authority("main"))
    reader = FederatedClaims(CertificateReader([own.export("user")]), world.trusts, HERE)
    await reader.refresh()
    line = await own.issue_user("alice", ["dev"], ["root"], public_key(), timedelta(hours=1))
    assert reader.read(blob(line), now=START).identity == Identity("alice", ("dev",), "leaf")
    with pytest.raises(Denied, match="was not accepted"):
        reader.read(b"garbage", now=START)


async def test_a_stranger_is_not_believed(world: World) -> None:
    """An authority that nobody trusts, or nobody trusts any more."""
    main = await world.authority("main")
    made = await main.issue_for_leaf(leaf_pass(), public_key(), offers=True)
    with pytest.raises(Denied) as caught:
        (await door(world)).read(blob(made.certificate), now=START)
    assert "an authority that is not ours" in caught.value.reason


async def test_a_roots_user_comes_by_its_gateway_only(world: World) -> None:
    """His own certificate opens nothing here, and says where to go instead."""
    main = await world.authority("main")
    await world.trust(main)
    line = await main.issue_user("alice", ["developer"], ["root"], public_key(), timedelta(hours=1))
    with pytest.raises(Denied, match="is of the cluster main: connect through its gateway"):
        (await door(world)).read(blob(line), now=START)


async def test_a_certificate_for_another_leaf_is_refused(world: World) -> None:
    """Another leaf of the same root could not use it here anyway, having no key for it."""
    main = await world.authority("main")
    await world.trust(main)
    made = await main.issue_for_leaf(leaf_pass("44444444-0000-4000-8000-000000000004"), public_key(), offers=True)
    with pytest.raises(Denied, match="connect through its gateway"):
        (await door(world)).read(blob(made.certificate), now=START)


@pytest.mark.parametrize("claimed", ["leaf", "LEAF", "third"])
async def test_a_root_vouches_for_its_own_people_only(world: World, claimed: str) -> None:
    """Not for ours, whose roles would count without any mapping, nor for those of another root."""
    main = await world.authority("main")
    await world.trust(main)
    made = await main.issue_for_leaf(leaf_pass(cluster=claimed), public_key(), offers=True)
    with pytest.raises(Denied) as caught:
        (await door(world)).read(blob(made.certificate), now=START)
    assert caught.value.reason == f"the authority of main vouched for somebody of {claimed}"


async def test_a_certificate_of_yesterday_is_refused(world: World) -> None:
    """It lives for minutes."""
    main = await world.authority("main")
    await world.trust(main)
    made = await main.issue_for_leaf(leaf_pass(), public_key(), offers=True)
    with pytest.raises(Denied, match="expired"):
        (await door(world)).read(blob(made.certificate), now=START + timedelta(minutes=5))


@pytest.mark.parametrize("error", [StoreError("away"), RemoteProtocolError(Rule.MALFORMED_MESSAGE, "newer")])
async def test_the_door_keeps_up_with_what_administrators_change(world: World, error: InterlockError) -> None:
    """And goes on when who knows is away for a moment, or newer; a record with a broken key counts for nothing."""
    main = await world.authority("main")
    sleep = VirtualSleep(world.clock)
    reader = FederatedClaims(CertificateReader([]), Flaky(world.trusts, error), HERE, sleep=sleep)
    await world.trusts.put_trust(
        TrustedCluster("bad", "55555555-0000-4000-8000-000000000005", Relation.ROOT, START, user_cas=("rubbish",))
    )
    made = await main.issue_for_leaf(leaf_pass(), public_key(), offers=True)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(reader.run())
        await sleep.wait_sleeper(REFRESH_S)
        with pytest.raises(Denied):
            reader.read(blob(made.certificate), now=START)
        await world.trust(main)
        sleep.advance(REFRESH_S)
        await sleep.wait_sleeper(REFRESH_S)
        assert reader.read(blob(made.certificate), now=START).identity.user == "alice"
        running.cancel()


class Flaky(MemoryTrusts):
    """Fails at first."""

    def __init__(self, behind: MemoryTrusts, error: InterlockError) -> None:
        super().__init__()
        self.stored = behind.stored
        self._error = error
        self._failed = False

    async def trusted_clusters(self, relation: Relation | None = None) -> list[TrustedCluster]:
        """`ports.TrustStore`."""
        if not self._failed:
            self._failed = True
            raise self._error
        return await super().trusted_clusters(relation)


FOREIGN = Claims(
    Identity("alice", ("developer",), "main"),
    ("ops",),
    START,
    LATER,
    9,
    Forwarded(door_of(HERE.id), DaemonId("proxy"), records=True),
)
OURS = Claims(Identity("alice", ("dev",), "leaf"), ("root",), START, LATER, 8)


async def test_the_mapping_decides_what_somebody_is_here(world: World) -> None:
    """Of the same name as one of us, but with nothing of his: the root's developer is an operator here."""
    await world.trust(await world.authority("main"))
    permit = await world.admission.permit_for(FOREIGN, "ops", WEB)
    assert permit.identity == Identity("alice", ("ops",), "main")
    assert permit.mode is RecordingMode.PROXY
    assert await world.admission.find(FOREIGN, "web1") == WEB
    assert await world.admission.mode_before_login(FOREIGN, WEB, "web1") is RecordingMode.PROXY
    assert await world.leaves.mode() is RecordingMode.PROXY
    with pytest.raises(Denied, match="the login root was not asked for"):
        await world.admission.permit_for(FOREIGN, "root", WEB)
    with pytest.raises(Denied, match="you may not log in as root on web1"):
        await world.admission.permit_for(replace(FOREIGN, logins=("root",)), "root", WEB)


@pytest.mark.parametrize(
    ("kind", "name", "locked"),
    [
        (LockKind.USER, "alice@main", True),
        (LockKind.USER, "alice@leaf", False),
        (LockKind.USER, "alice", True),
        (LockKind.ROLE, "ops", True),
        (LockKind.ROLE, "developer", False),
        (LockKind.NODE, "web1", True),
    ],
)
async def test_locks_are_about_what_somebody_is_here(
    world: World, kind: LockKind, name: str, locked: bool
) -> None:
    """A name alone keeps all namesakes out, and roles are ours."""
    await world.trust(await world.authority("main"))
    await world.locks.add_lock(Lock("1", kind, name, START))
    if not locked:
        await world.admission.permit_for(FOREIGN, "ops", WEB)
        return
    with pytest.raises(Locked):
        await world.admission.permit_for(FOREIGN, "ops", WEB)


async def test_our_own_people_are_judged_as_before(world: World) -> None:
    """By their accounts."""
    assert (await world.admission.permit_for(OURS, "root", WEB)).identity == OURS.identity
    with pytest.raises(Denied, match="account no longer exists"):
        await world.admission.current_roles(replace(OURS, identity=Identity("bob", ("dev",), "leaf")))


async def test_a_role_of_the_same_name_means_nothing(world: World) -> None:
    """Unless the mapping says so."""
    await world.trust(await world.authority("main"))
    claims = replace(FOREIGN, identity=Identity("mallory", ("ops", "dev"), "main"))
    with pytest.raises(Denied, match="none of your roles counts in the cluster leaf") as caught:
        await world.admission.permit_for(claims, "ops", WEB)
    assert caught.value.reason == "mallory of main has ops, dev, mapped to nothing"


@pytest.mark.parametrize("enabled", [False, None])
async def test_a_root_that_is_not_trusted_any_more_is_found_out_at_once(
    world: World, enabled: bool | None
) -> None:
    """The next decision knows, whatever the door has not heard yet."""
    root = await world.trust(await world.authority("main"))
    if enabled is None:
        await world.trusts.remove_trust(Relation.ROOT, "main")
    else:
        await world.trusts.put_trust(replace(root, enabled=enabled))
    with pytest.raises(Denied, match="the cluster leaf does not trust the cluster main any more"):
        await world.admission.permit_for(FOREIGN, "ops", WEB)


BRANCH = TrustedCluster(
    "branch", "66666666-0000-4000-8000-000000000006", Relation.LEAF, START, proxy="branch:3023"
)


async def test_a_name_leads_to_a_leaf(world: World) -> None:
    """If it ends in that cluster's name."""
    await world.trusts.put_trust(BRANCH)
    assert await world.leaves.find("web1.branch") == ("web1", BRANCH)
    assert await world.leaves.find("web1") is None
    assert await world.leaves.find("web1.example.com") is None
    assert await world.leaves.leaf("BRANCH") == BRANCH
    with pytest.raises(NotFound, match="unknown cluster twig: this gateway has no such leaf cluster"):
        await world.leaves.leaf("twig")


def test_an_unknown_name_is_explained(world: World) -> None:
    """Whoever writes a dot may have meant a leaf."""
    plain = NotFound("unknown node web1")
    assert world.leaves.explained(plain, "web1") is plain
    assert "no leaf cluster" in world.leaves.explained(plain, "web1.twig").public


async def test_our_people_get_a_pass_with_their_roles_of_now(world: World) -> None:
    """Not those of the certificate; and nobody goes on from cluster to cluster."""
    await world.trusts.put_trust(BRANCH)
    claims = replace(OURS, identity=Identity("alice", ("dev", "taken-away"), "leaf"))
    granted = await world.leaves.pass_for(claims, BRANCH, login="root", node="web1")
    assert granted.identity.roles == ("dev",)
    with pytest.raises(Denied, match="from the cluster main there is no way on to other clusters"):
        await world.leaves.pass_for(FOREIGN, BRANCH, login="root", node="web1")


async def test_a_leaf_that_was_removed_meanwhile_is_closed(world: World) -> None:
    """For the next session on a connection that stays open."""
    with pytest.raises(Denied, match="branch is no leaf cluster of this gateway any more"):
        await world.leaves.pass_for(OURS, BRANCH, login="root", node="web1")


async def test_what_is_taken_from_who_comes_from_a_root(world: World) -> None:
    """The mapping, what our roles say, the trust; not what the root says of them since."""
    root = await world.trust(await world.authority("main"))
    here = Granted(FOREIGN, "ops", WEB)
    world.clock.advance(36_000)  # the forwarder's certificate is good for minutes
    assert await world.admission.taken_away(here) is None
    world.known["dev"] = Role("dev")
    assert await world.admission.taken_away(here) is None
    await world.trusts.put_trust(replace(root, roles={"developer": ("dev",)}))
    assert await world.admission.taken_away(here) is not None
    await world.trusts.put_trust(root)
    world.known["ops"] = Role("ops", ("ops",), {"env": "prod"})
    assert await world.admission.taken_away(here) is not None
    await world.trusts.put_trust(replace(root, enabled=False))
    why = await world.admission.taken_away(here)
    assert why is not None
    assert why.public == "the cluster leaf does not trust the cluster main any more"


async def test_what_is_taken_from_who_went_to_a_leaf(world: World) -> None:
    """Their account, a role of which the leaf was told, the leaf; what else changes leaves them alone."""
    await world.trusts.put_trust(BRANCH)
    there = Granted(OURS, "root", WEB, leaf="branch", told=("dev",))
    world.clock.advance(36_000)
    world.known["dev"] = Role("dev", ("root",), {"env": "other"})  # what it says here says nothing of nodes there
    assert await world.admission.taken_away(there) is None
    world.accounts["alice"] = replace(world.accounts["alice"], roles=("ops",))
    why = await world.admission.taken_away(there)
    assert why is not None
    assert (why.public, why.reason) == (
        "your roles were changed: connect again",
        "alice has lost dev, of which branch was told",
    )
    world.accounts["alice"] = replace(world.accounts["alice"], roles=("dev",))
    await world.trusts.put_trust(replace(BRANCH, enabled=False))
    closed = await world.admission.taken_away(there)
    assert closed is not None
    assert "branch is closed" in closed.public
    await world.trusts.remove_trust(Relation.LEAF, "branch")
    assert await world.admission.taken_away(there) is not None

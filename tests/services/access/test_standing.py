"""What a proxy apart keeps of auth's answers: for two seconds, and never more than so many."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.errors import Away, Denied, Locked, NotFound, StoreError
from interlock.core.ids import DaemonId
from interlock.domain.cluster import Relation, TrustedCluster
from interlock.domain.duties import RecordingMode
from interlock.domain.identity import Claims, Forwarded, Identity
from interlock.domain.lock import Lock, LockKind, LockList
from interlock.domain.modes import ModePolicy
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.services.access import offline
from interlock.services.access.standing import FRESH_S, Standing, StandingAdmission, TrustedClusters
from interlock.testing.clock import START, FakeClock
from interlock.testing.limits import FakeView

WEB = Target(DaemonId("n1"), "web1", "10.0.0.5", 22, SubKind.NODE, {"env": "test"})
LEAF = TrustedCluster("leaf", "c2", Relation.LEAF, START, proxy="l:1")


class Auth:
    """Auth's answers, counted."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.roles = [Role("access", ("root",), {"env": "test"})]
        self.away = False

    async def standing(self, certificate: bytes) -> Standing:
        """`StandingSource`."""
        self._check()
        self.asked.append(f"standing {certificate.decode()}")
        return Standing(tuple(self.roles), ModePolicy(RecordingMode.PROXY))

    async def find(self, certificate: bytes, name: str) -> Target:
        """`StandingSource`."""
        self._check()
        self.asked.append(f"find {name} {certificate.decode()}")
        return WEB

    async def trusted(self) -> tuple[TrustedCluster, ...]:
        """`TrustedSource`."""
        self._check()
        self.asked.append("trusted")
        return (LEAF,)

    def _check(self) -> None:
        if self.away:
            raise Away("auth cannot be reached")


def claims(serial: int = 1, logins: tuple[str, ...] = ("root",)) -> Claims:
    """Somebody's."""
    until = START + timedelta(hours=1)
    return Claims(Identity("alice", ("access",), "demo"), logins, START, until, serial, certificate=b"%d" % serial)


def asking(auth: Auth, clock: FakeClock | None = None, view: FakeView | None = None) -> StandingAdmission:
    """A proxy's."""
    view = view or FakeView()
    return StandingAdmission(auth, view, clock=clock or FakeClock(), told=view.told)


async def test_one_connection_asks_once_and_the_next_soon_not_at_all() -> None:
    """By the certificate; after two seconds auth is asked anew, and what has changed counts."""
    auth, clock = Auth(), FakeClock()
    admission = asking(auth, clock)
    for _ in range(3):
        target = await admission.find(claims(), "web1")
        permit = await admission.permit_for(claims(), "root", target)
        assert permit.certificate == b"1"
        assert await admission.mode_before_login(claims(), target, "web1") is RecordingMode.PROXY
    assert auth.asked == ["find web1 1", "standing 1"]
    await admission.permit_for(claims(2), "root", WEB)
    assert auth.asked[2:] == ["standing 2"]
    auth.roles = []
    clock.advance(timedelta(seconds=FRESH_S))
    with pytest.raises(Denied, match="may not log in"):
        await admission.permit_for(claims(), "root", WEB)


async def test_a_login_that_the_certificate_lacks_is_refused() -> None:
    """As auth would."""
    with pytest.raises(Denied, match="run ilsh login"):
        await asking(Auth()).permit_for(claims(logins=("bob",)), "root", WEB)


async def test_the_mode_is_known_when_somebody_was_asked_for() -> None:
    """Not before: nothing is made up."""
    admission = asking(Auth())
    with pytest.raises(StoreError):
        await admission.mode_policy()
    await admission.current_roles(claims())
    assert (await admission.mode_policy()).default is RecordingMode.PROXY


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest answer is forgotten first."""
    monkeypatch.setattr(offline, "MAX_KEPT", 2)
    auth = Auth()
    admission = asking(auth)
    for serial in (1, 2, 3, 1, 3):
        await admission.current_roles(claims(serial))
    assert auth.asked == ["standing 1", "standing 2", "standing 3", "standing 1"]


async def test_other_clusters_are_known_while_auth_is_away() -> None:
    """Once they were; else that is said."""
    auth, clock = Auth(), FakeClock()
    auth.away = True
    known = TrustedClusters(auth, clock=clock)
    with pytest.raises(StoreError):
        await known.trusted_clusters()
    auth.away = False
    assert await known.trusted_cluster(Relation.LEAF, "Leaf") == LEAF
    assert await known.trusted_clusters(Relation.ROOT) == []
    with pytest.raises(NotFound):
        await known.trusted_cluster(Relation.ROOT, "leaf")
    auth.away = True
    clock.advance(timedelta(hours=1))
    assert await known.trusted_clusters() == [LEAF]
    assert auth.asked == ["trusted"]


async def test_what_auth_said_counts_while_it_is_away_for_as_long_as_policy_says() -> None:
    """All questions about the person, each told with its login and target; not one second longer."""
    auth, clock, view = Auth(), FakeClock(), FakeView(offline_s=3600)
    admission = asking(auth, clock, view)
    target = await admission.find(claims(), "web1")
    await admission.permit_for(claims(), "root", target)
    auth.away = True
    clock.advance(timedelta(minutes=59))
    assert await admission.find(claims(), "web1") == WEB
    assert (await admission.permit_for(claims(), "root", WEB)).login == "root"
    assert await admission.mode_before_login(claims(), WEB, "web1") is RecordingMode.PROXY
    assert [(who.user, who.login, who.nodes, given) for who, given in view.judged] == [
        ("alice", "root", ("web1", "n1"), START),
        ("alice", "", ("web1", "n1"), START),
    ]
    with pytest.raises(Denied, match="may not log in"):  # what auth said is what counts
        await admission.permit_for(claims(logins=("root", "bob")), "bob", WEB)
    with pytest.raises(Away):  # of whom it said nothing
        await admission.permit_for(claims(2), "root", WEB)
    clock.advance(timedelta(minutes=1))
    for question in (admission.find(claims(), "web1"), admission.permit_for(claims(), "root", WEB)):
        with pytest.raises(Away):
            await question


async def test_a_lock_counts_whatever_auth_said() -> None:
    """On the person, a role, the login or the node; another cluster's roles are not ours."""
    auth, clock, view = Auth(), FakeClock(), FakeView(offline_s=3600)
    admission = asking(auth, clock, view)
    root = replace(claims(5), forwarded=Forwarded(DaemonId("door"), DaemonId("p2"), records=True))
    await admission.permit_for(claims(), "root", WEB)
    await admission.permit_for(root, "root", WEB)
    auth.away = True
    clock.advance(timedelta(minutes=1))
    for kind, name in ((LockKind.USER, "alice"), (LockKind.LOGIN, "root"), (LockKind.NODE, "web1")):
        view.locks = LockList((Lock("l1", kind, name, START),))
        with pytest.raises(Locked):
            await admission.permit_for(claims(), "root", WEB)
    view.locks = LockList((Lock("l1", LockKind.ROLE, "access", START),))
    with pytest.raises(Locked):
        await admission.permit_for(claims(), "root", WEB)
    assert view.judged == []
    await admission.permit_for(root, "root", WEB)

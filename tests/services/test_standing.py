"""What a proxy apart keeps of auth's answers: for two seconds, and never more than so many."""

from datetime import timedelta

import pytest

from interlock.core.errors import Denied, NotFound, StoreError
from interlock.core.ids import DaemonId
from interlock.domain.cluster import Relation, TrustedCluster
from interlock.domain.duties import RecordingMode
from interlock.domain.identity import Claims, Identity
from interlock.domain.modes import ModePolicy
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.services import standing
from interlock.services.standing import FRESH_S, Standing, StandingAdmission, TrustedClusters
from interlock.testing.clock import START, FakeClock

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
        self.asked.append(f"standing {certificate.decode()}")
        return Standing(tuple(self.roles), ModePolicy(RecordingMode.PROXY))

    async def find(self, certificate: bytes, name: str) -> Target:
        """`StandingSource`."""
        self.asked.append(f"find {name} {certificate.decode()}")
        return WEB

    async def trusted(self) -> tuple[TrustedCluster, ...]:
        """`TrustedSource`."""
        if self.away:
            raise StoreError("auth cannot be reached")
        self.asked.append("trusted")
        return (LEAF,)


def claims(serial: int = 1, logins: tuple[str, ...] = ("root",)) -> Claims:
    """Somebody's."""
    until = START + timedelta(hours=1)
    return Claims(Identity("alice", ("access",), "demo"), logins, START, until, serial, certificate=b"%d" % serial)


async def test_one_connection_asks_once_and_the_next_soon_not_at_all() -> None:
    """By the certificate; after two seconds auth is asked anew, and what has changed counts."""
    auth, clock = Auth(), FakeClock()
    admission = StandingAdmission(auth, clock=clock)
    for _ in range(3):
        target = await admission.find(claims(), "web1")
        permit = await admission.permit_for(claims(), "root", target)
        assert permit.certificate == b"1"
        assert await admission.mode_before_login(claims(), target) is RecordingMode.PROXY
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
        await StandingAdmission(Auth(), clock=FakeClock()).permit_for(claims(logins=("bob",)), "root", WEB)


async def test_the_mode_is_known_when_somebody_was_asked_for() -> None:
    """Not before: nothing is made up."""
    admission = StandingAdmission(Auth(), clock=FakeClock())
    with pytest.raises(StoreError):
        await admission.mode_policy()
    await admission.current_roles(claims())
    assert (await admission.mode_policy()).default is RecordingMode.PROXY


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest answer is forgotten first."""
    monkeypatch.setattr(standing, "MAX_KEPT", 2)
    auth = Auth()
    admission = StandingAdmission(auth, clock=FakeClock())
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

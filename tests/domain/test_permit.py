"""A permit is proof: it comes from a positive decision or not at all."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.access import Access, Deny, RoleOptions
from interlock.domain.identity import Claims, Identity
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ALICE = Identity("alice", ("ops",), "home")
CLAIMS = Claims(ALICE, ("alice",), NOW - timedelta(minutes=1), NOW + timedelta(hours=8), serial=7)
WEB = Target(DaemonId("1"), "web1", "h", 22, SubKind.NODE, labels={"env": "prod"})
OPS = Role("ops", ("root",), {"env": "prod"})


def test_a_decision() -> None:
    """Who, where, as whom, and no longer than the certificate."""
    permit = Permit.decide(CLAIMS, [OPS], "root", WEB, now=NOW)
    assert permit.identity == ALICE
    assert permit.login == "root"
    assert permit.target == WEB
    assert permit.expires == CLAIMS.valid_before


@pytest.mark.parametrize(
    ("now", "valid"),
    [
        (CLAIMS.valid_after - timedelta(microseconds=1), False),
        (CLAIMS.valid_after, True),
        (CLAIMS.valid_before - timedelta(microseconds=1), True),
        (CLAIMS.valid_before, False),
    ],
)
def test_the_certificate_must_be_valid_now(now: datetime, valid: bool) -> None:
    """From its first moment up to, and not at, its last."""
    if valid:
        Permit.decide(CLAIMS, [OPS], "root", WEB, now=now)
        return
    with pytest.raises(Denied, match="your certificate has expired: run ilsh login") as caught:
        Permit.decide(CLAIMS, [OPS], "root", WEB, now=now)
    assert caught.value.reason == "certificate 7 of alice is not valid now"


@pytest.mark.parametrize("roles", [[], [Role("ops", ("www",), {"env": "prod"})], [Role("ops", ("root",))]])
def test_no_role_no_permit(roles: list[Role]) -> None:
    """The person learns what was denied, the audit log which roles were judged."""
    with pytest.raises(Denied, match="access denied: you may not log in as root on web1") as caught:
        Permit.decide(CLAIMS, roles, "root", WEB, now=NOW)
    assert caught.value.reason == "no role of alice (ops) allows root on web1"


def test_a_denial_is_named_to_the_audit_log() -> None:
    """And not to the person, who reads what everybody reads who may not."""
    no = Role("no-root", options=RoleOptions(deny=Deny(("root",))))
    with pytest.raises(Denied, match="access denied: you may not log in as root on web1") as caught:
        Permit.decide(CLAIMS, [OPS, no], "root", WEB, now=NOW)
    assert caught.value.reason == "no-root of alice denies root on web1"


@pytest.mark.parametrize(
    ("networks", "source", "comes"),
    [
        (None, "", True),
        (("10.0.0.0/8",), "10.1.2.3:4711", True),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "[::ffff:10.1.2.3]:22", True),
        (("10.0.0.0/8", "2001:db8::/32"), "[2001:db8::7]:22", True),
        (("10.0.0.0/8",), "192.0.2.7:22", False),
        (("10.0.0.0/8",), "", False),
        (("10.0.0.0/8",), "localhost", False),
        ((), "10.1.2.3:4711", False),
        (("10.0.0.0/8",), None, True),
    ],
)
def test_where_somebody_may_come_from(networks: tuple[str, ...] | None, source: str | None, comes: bool) -> None:
    """Who does not know it refuses; None leaves it to whoever gets the permit, who learns it."""
    role = replace(OPS, options=RoleOptions(source_networks=networks))
    if comes:
        permit = Permit.decide(CLAIMS, [role], "root", WEB, now=NOW, source=source)
        assert permit.access.source_networks == networks
        return
    with pytest.raises(Denied, match="your roles do not let you come from this address"):
        Permit.decide(CLAIMS, [role], "root", WEB, now=NOW, source=source)


def test_the_logins_in_the_certificate_open_nothing() -> None:
    """Current roles decide; what the certificate says of logins was true when it was made."""
    stale = replace(CLAIMS, logins=("root",))
    with pytest.raises(Denied):
        Permit.decide(stale, [], "root", WEB, now=NOW)


def test_nobody_makes_a_permit_without_a_decision() -> None:
    """Neither from nothing nor as a changed copy of one that was decided."""
    with pytest.raises(TypeError, match=r"Permit\.decide"):
        Permit(ALICE, "root", WEB, CLAIMS.valid_before, Access(), None)
    decided = Permit.decide(CLAIMS, [OPS], "root", WEB, now=NOW)
    with pytest.raises((TypeError, ValueError)):
        replace(decided, login="admin")  # type: ignore[call-arg]  # what it must not allow
    with pytest.raises(TypeError, match=r"Permit\.decide"):
        replace(decided, login="admin", decided_by=decided)


def test_reasons_name_what_was_shown() -> None:
    """A certificate by its serial; an enrolled key, which has none, by its fingerprint."""
    assert CLAIMS.named == "certificate 7 of alice"
    key = replace(CLAIMS, enrolled=True, identity=replace(ALICE, keys=("SHA256:abc",)))
    assert key.named == "key SHA256:abc of alice"

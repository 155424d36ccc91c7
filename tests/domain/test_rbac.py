"""Roles: absent means denied, and a denial wins."""

from collections.abc import Mapping

import pytest

from interlock.core.ids import DaemonId
from interlock.domain.access import Deny, RoleOptions
from interlock.domain.rbac import Role, judge, logins_for, reaching, unreadable
from interlock.domain.target import SubKind, Target

WEB = Target(DaemonId("1"), "web1", "h", 22, SubKind.NODE, labels={"env": "prod", "tier": "web"})
BARE = Target(DaemonId("2"), "bare", "h", 22, SubKind.NODE)


@pytest.mark.parametrize(
    ("labels", "web", "bare"),
    [
        ({}, False, False),
        ({"*": "*"}, True, True),
        ({"*": "prod"}, False, False),
        ({"env": "prod"}, True, False),
        ({"env": "prod", "tier": "web"}, True, False),
        ({"env": "prod", "tier": "db"}, False, False),
        ({"env": "*"}, True, False),
        ({"env": "PROD"}, False, False),
        ({"env": ""}, False, False),
        ({"region": "*"}, False, False),
        ({"*": "*", "env": "dev"}, True, True),
        ({"env": "pr*", "tier": "db|web"}, True, False),
        ({"env": "pr*", "tier": "db|we"}, False, False),
    ],
)
def test_labels(labels: Mapping[str, str], web: bool, bare: bool) -> None:
    """Every label of the role must match; only ``{"*": "*"}`` reaches a target without labels."""
    role = Role("r", ("root",), labels)
    assert role.matches(WEB) is web
    assert role.matches(BARE) is bare


def test_logins_come_from_the_roles_that_match() -> None:
    """Together, and none from the others."""
    roles = [
        Role("a", ("alice", "www"), {"env": "prod"}),
        Role("b", ("www", "deploy"), {"tier": "web"}),
        Role("c", ("root",), {"env": "dev"}),
        Role("d", ("root",)),
        Role("e", (), {"*": "*"}),
    ]
    assert logins_for(roles, WEB) == {"alice", "www", "deploy"}
    assert logins_for(roles, BARE) == frozenset()
    assert logins_for([], WEB) == frozenset()


def test_a_login_is_taken_by_its_letters() -> None:
    """A star among the logins is a login, which no account has, and not every login."""
    assert logins_for([Role("r", ("*",), {"*": "*"})], WEB) == {"*"}


def denying(logins: tuple[str, ...] | None, labels: dict[str, str] | None) -> Role:
    """A role that only takes away."""
    return Role("no", options=RoleOptions(deny=Deny(logins, labels)))


ALL = Role("all", ("root", "www"), {"*": "*"})


@pytest.mark.parametrize(
    ("logins", "labels", "on_web", "on_bare"),
    [
        (None, None, {"root", "www"}, {"root", "www"}),
        (("root",), None, {"www"}, {"www"}),
        (("ro*",), None, {"www"}, {"www"}),
        (("*",), None, set(), set()),
        (None, {"env": "prod"}, set(), {"root", "www"}),
        (None, {"*": "*"}, set(), set()),
        (("root",), {"env": "prod"}, {"www"}, {"root", "www"}),
        (("root",), {"env": "dev"}, {"root", "www"}, {"root", "www"}),
        ((), None, {"root", "www"}, {"root", "www"}),
        ((), {"env": "prod"}, {"root", "www"}, {"root", "www"}),
        (("root",), {}, {"root", "www"}, {"root", "www"}),
    ],
)
def test_a_denial_wins(
    logins: tuple[str, ...] | None, labels: dict[str, str] | None, on_web: set[str], on_bare: set[str]
) -> None:
    """Over every role that allows, whichever has it, in either order: the decision and the list agree."""
    no = denying(logins, labels)
    both = Role("both", ALL.logins, ALL.node_labels, no.options)
    for roles in ([ALL, no], [no, ALL], [both], [both, ALL]):
        assert logins_for(roles, WEB) == on_web
        assert logins_for(roles, BARE) == on_bare
        for login in ("root", "www"):
            assert judge(roles, login, WEB).allowed is (login in on_web)
            assert judge(roles, login, BARE).allowed is (login in on_bare)


def test_a_target_that_is_denied_altogether_is_not_reached() -> None:
    """One of which a login is denied is."""
    assert reaching([ALL, denying(None, {"env": "prod"})], WEB) == []
    assert reaching([ALL, denying(("root",), {"env": "prod"})], WEB) == [ALL]


def test_a_role_that_cannot_be_read_denies_everything() -> None:
    """R6: it may have denied anything."""
    assert not judge([ALL, unreadable("x")], "www", BARE).allowed
    assert reaching([ALL, unreadable("x")], BARE) == []

"""Roles: absent means denied."""

from collections.abc import Mapping

import pytest

from interlock.core.ids import DaemonId
from interlock.domain.rbac import Role, logins_for
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

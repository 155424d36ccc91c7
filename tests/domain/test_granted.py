"""What may be taken away from whom is here, and what is looked at only when people come."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId
from interlock.domain.access import Deny, RoleOptions, SecondFactor, SessionKind
from interlock.domain.granted import Granted
from interlock.domain.identity import Claims, Identity
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.testing.clock import START

WEB = Target(
    DaemonId("11111111-0000-4000-8000-000000000001"), "web1", "10.0.0.5", 22, SubKind.NODE, {"env": "test"}
)
DEV = Role("dev", ("root", "ubuntu"), {"env": "test"})
CLAIMS = Claims(Identity("alice", ("dev",), "demo"), ("root",), START, START + timedelta(hours=1), 1)
HERE = Granted(CLAIMS, "root", WEB)
JOINING = Granted(CLAIMS, "root", WEB, owner="bob", mode=JoinMode.PEER)
JOINER = replace(DEV, options=RoleOptions(join_sessions=(JoinMode.PEER,)))
IN_LEAF = Granted(CLAIMS, "root", WEB, leaf="leaf", told=("dev",))

STAY = {
    "as it was": (HERE, [DEV]),
    "by another role": (HERE, [replace(DEV, name="ops")]),
    "one of two": (HERE, [DEV, Role("other")]),
    "another login gone": (HERE, [replace(DEV, logins=("root",))]),
    "an option": (HERE, [replace(DEV, options=RoleOptions(client_idle_timeout=60))]),
    "a second factor from now on": (HERE, [replace(DEV, options=RoleOptions(second_factor=SecondFactor.SIGN_IN))]),
    "another network": (HERE, [replace(DEV, options=RoleOptions(source_networks=("10.9.0.0/16",)))]),
    "kinds of sessions": (HERE, [replace(DEV, options=RoleOptions(session_kinds=(SessionKind.SFTP,)))]),
    "others' login denied": (HERE, [DEV, Role("no", options=RoleOptions(deny=Deny(logins=("ubuntu",))))]),
    "the gateway alone": (Granted(CLAIMS), []),
    "who joins": (JOINING, [JOINER]),
    "who joins from another network": (
        JOINING,
        [replace(JOINER, options=RoleOptions(join_sessions=(JoinMode.PEER,), source_networks=("10.9.0.0/16",)))],
    ),
    "who looks at their own": (replace(JOINING, owner="alice"), []),
    "in a leaf": (IN_LEAF, [DEV]),
    "in a leaf, with one more": (IN_LEAF, [DEV, Role("other")]),
}

GO = {
    "no role": (HERE, []),
    "the login": (HERE, [replace(DEV, logins=("ubuntu",))]),
    "the labels": (HERE, [replace(DEV, node_labels={"env": "prod"})]),
    "a denied login": (HERE, [DEV, Role("no", options=RoleOptions(deny=Deny(logins=("ro*",))))]),
    "a denied target": (HERE, [DEV, Role("no", options=RoleOptions(deny=Deny(node_labels={"env": "*"})))]),
    "who may join no more": (JOINING, [DEV]),
    "who may join otherwise": (
        JOINING,
        [replace(DEV, options=RoleOptions(join_sessions=(JoinMode.OBSERVER,)))],
    ),
    "whose target is denied to them": (
        JOINING,
        [JOINER, Role("no", options=RoleOptions(deny=Deny(logins=("root",))))],
    ),
    "a role of which a leaf was told": (IN_LEAF, [Role("other")]),
}


@pytest.mark.parametrize("case", STAY)
def test_who_stays(case: str) -> None:
    """What only narrows how people come, or what begins, ends nothing; certificates may have expired."""
    what, roles = STAY[case]
    assert what.taken_away(roles) is None


@pytest.mark.parametrize("case", GO)
def test_who_goes(case: str) -> None:
    """In words, with the cause for the audit log alone."""
    what, roles = GO[case]
    why = what.taken_away(roles)
    assert why is not None
    assert why.reason != why.public


def test_labels_of_now_count() -> None:
    """A node that has got others is another place."""
    assert HERE.taken_away([DEV], replace(WEB, labels={"env": "prod"})) is not None
    assert HERE.taken_away([DEV], WEB) is None

"""What explains a decision is what decides it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.access import Deny, RoleOptions
from interlock.domain.explain import Effect, explain
from interlock.domain.identity import Claims, Identity
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role, logins_for, unreadable
from interlock.domain.target import SubKind, Target
from interlock.domain.traits import Filled, fill

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
WEB = Target(DaemonId("1"), "web1", "h", 22, SubKind.NODE, labels={"env": "prod", "tier": "web"})

LOGINS = st.sampled_from(["root", "www", "al"])
LABELS = st.dictionaries(
    st.sampled_from(["env", "tier", "*"]), st.sampled_from(["prod", "w*", "*", "x|web"]), max_size=2
)
DENIES = st.none() | st.builds(
    Deny, st.none() | st.lists(LOGINS | st.just("r*"), max_size=2).map(tuple), st.none() | LABELS
)
ROLES = st.builds(
    lambda logins, labels, deny: Role("", tuple(logins), labels, RoleOptions(deny=deny)),
    st.lists(LOGINS | st.just("{{trait.x}}"), max_size=3),
    LABELS,
    DENIES,
)


@given(st.lists(ROLES, max_size=4), LOGINS, st.lists(LOGINS, max_size=2))
def test_the_explanation_and_the_decision_are_one(roles: list[Role], login: str, trait: list[str]) -> None:
    """Whatever the roles: a permit if one allows and none denies, and every role's part is told with a reason."""
    named = [Role(f"r{n}", role.logins, role.node_labels, role.options) for n, role in enumerate(roles)]
    filled = [fill(role, {"x": tuple(trait)}) for role in named]
    judged, findings = explain(filled, login, WEB)
    claims = Claims(Identity("alice", (), "home"), (login,), NOW, NOW + timedelta(hours=1), 1)
    try:
        Permit.decide(claims, [each.role for each in filled], login, WEB, now=NOW)
        permitted = True
    except Denied:
        permitted = False
    effects = [each.effect for each in findings]
    assert judged.allowed is permitted
    assert permitted is (Effect.ALLOWS in effects and Effect.DENIES not in effects)
    assert permitted is (login in logins_for([each.role for each in filled], WEB))
    assert all(each.why for each in findings)


@pytest.mark.parametrize(
    ("role", "effect", "why"),
    [
        (Role("r", ("root",), {"env": "prod"}), Effect.ALLOWS, "root is one of its logins, and its labels match"),
        (Role("r", ("www",), {"env": "prod"}), Effect.NOTHING, "its logins are www"),
        (Role("r"), Effect.NOTHING, "it has no logins; it has no labels, or one that can have no value"),
        (
            Role("r", ("root",), {"env": "dev", "zone": "*"}),
            Effect.NOTHING,
            "the label env of web1 is prod, not dev; web1 has no label zone",
        ),
        (Role("r", options=RoleOptions(deny=Deny(("ro*",)))), Effect.DENIES, "it denies the login ro*"),
        (
            Role("r", options=RoleOptions(deny=Deny(("root",), {"env": "prod"}))),
            Effect.DENIES,
            "it denies the login root on nodes with env=prod",
        ),
        (unreadable("r"), Effect.DENIES, "it denies every node"),
    ],
)
def test_the_words(role: Role, effect: Effect, why: str) -> None:
    """For administrators."""
    _, [finding] = explain([Filled(role)], "root", WEB)
    assert (finding.effect, finding.why) == (effect, why)

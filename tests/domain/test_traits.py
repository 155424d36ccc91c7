"""Templates in roles: what traits yield, and what counts for nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.ids import DaemonId, parse_login
from interlock.domain.access import Deny, RoleOptions
from interlock.domain.rbac import Role, judge, logins_for
from interlock.domain.target import SubKind, Target
from interlock.domain.traits import MAX_LOGINS, MAX_TRAITS, check_role, check_traits, fill, filled

WEB = Target(DaemonId("1"), "web1", "h", 22, SubKind.NODE, labels={"env": "prod", "team": "web"})
MINE = Role("mine", ("{{trait.logins}}", "www"), {"team": "{{trait.teams}}"})


def test_a_role_is_filled_with_the_users_own() -> None:
    """Every value of the trait counts, beside what is written there."""
    made = fill(MINE, {"logins": ("alice", "al"), "teams": ("db", "web")})
    assert made.role == Role("mine", ("alice", "al", "www"), {"team": "db|web"})
    assert made.notes == ()
    assert logins_for([made.role], WEB) == {"alice", "al", "www"}


@pytest.mark.parametrize(
    "word", ["{{trait.logins}}", "{{internal.logins}}", "{{external.logins}}", "{{ trait.logins }}"]
)
def test_the_words_of_the_field_do(word: str) -> None:
    """With spaces as people write them."""
    assert fill(Role("r", (word,), {"*": "*"}), {"logins": ("alice",)}).role.logins == ("alice",)


def test_a_template_may_stand_in_a_word() -> None:
    """Before it and behind it is text."""
    role = Role("r", ("svc-{{trait.app}}-run",), {"app": "{{trait.app}}-*|all"})
    assert fill(role, {"app": ("crm",)}).role == Role("r", ("svc-crm-run",), {"app": "crm-*|all"})


def test_a_template_that_yields_nothing_allows_nothing() -> None:
    """Neither logins nor, in place of a label, everything."""
    made = fill(MINE, {"logins": ("alice",)})
    assert made.notes == ("{{trait.teams}} is nothing: the user has no trait teams",)
    assert logins_for([made.role], WEB) == frozenset()
    assert fill(MINE, {"teams": ("web",)}).role.logins == ("www",)


@pytest.mark.parametrize(
    "value", ["root,admin", "-oProxyCommand=x", "a b", "a\nb", "", "{{trait.x}}", "x" * 65, "é", "*"]
)
def test_what_is_no_login_counts_for_nothing(value: str) -> None:
    """R14: whoever sets a trait makes no principal of it that OpenSSH reads as something else."""
    made = fill(Role("r", ("{{trait.logins}}",), {"*": "*"}), {"logins": (value, "alice")})
    assert made.role.logins == ("alice",)
    assert len(made.notes) == 1
    assert repr(value) in made.notes[0]


@pytest.mark.parametrize("value", ["*", "prod|web", "w*"])
def test_a_trait_is_no_pattern(value: str) -> None:
    """What a sign-in elsewhere says of somebody opens no nodes that its letters do not name."""
    made = fill(MINE, {"logins": ("alice",), "teams": (value,)})
    assert logins_for([made.role], WEB) == frozenset()


def test_what_was_not_filled_matches_nothing() -> None:
    """Not even a node whose label has the same letters."""
    odd = Target(DaemonId("2"), "odd", "h", 22, SubKind.NODE, labels={"team": "{{trait.teams}}"})
    assert logins_for([MINE], odd) == frozenset()


def test_denials_are_filled_too() -> None:
    """There a pattern may come from a trait: it takes away."""
    deny = Deny(("{{trait.not_as}}",), {"team": "{{trait.not_in}}"})
    role = Role("r", ("www", "root"), {"*": "*"}, RoleOptions(deny=deny))
    [made] = filled([role], {"not_as": ("ro*",), "not_in": ("web",)})
    assert logins_for([made], WEB) == {"www"}
    [made] = filled([role], {"not_as": ("root",)})
    assert judge([made], "root", WEB).allowed
    [made] = filled([role], {"not_in": ("web",)})
    assert judge([made], "root", WEB).allowed


def test_filling_is_bounded() -> None:
    """Each login becomes a principal."""
    role = Role("r", tuple(f"x{n}-{{{{trait.many}}}}" for n in range(10)), {"*": "*"})
    made = fill(role, {"many": tuple(f"v{n}" for n in range(64))})
    assert len(made.role.logins) == MAX_LOGINS
    assert made.notes == (f"only the first {MAX_LOGINS} logins count",)


@given(st.dictionaries(st.just("logins"), st.lists(st.text(max_size=70), max_size=5).map(tuple)))
def test_filled_logins_are_logins(traits: dict[str, tuple[str, ...]]) -> None:
    """Whatever the traits are."""
    for login in fill(Role("r", ("a{{trait.logins}}",), {}), traits).role.logins:
        assert parse_login(login) == login


@pytest.mark.parametrize(
    "role",
    [
        Role("r", ("{{trait.x",), {"*": "*"}),
        Role("r", ("{{env.HOME}}",), {"*": "*"}),
        Role("r", ("{{trait.a}}{{trait.b}}",), {"*": "*"}),
        Role("r", ("a*",), {"*": "*"}),
        Role("r", ("root",), {"env": "{{trait.x}} or {{"}),
        Role("r", ("root",), {"env": "x" * 600}),
        Role("r", options=RoleOptions(deny=Deny(("{{x}}",)))),
        Role("r", options=RoleOptions(deny=Deny(None, {"a": "{{x}}"}))),
    ],
)
def test_roles_that_cannot_be(role: Role) -> None:
    """A template that is none is not taken for text."""
    with pytest.raises(ValueError, match=r"not a|at most"):
        check_role(role)


@pytest.mark.parametrize(
    "traits",
    [
        {f"t{n}": ("x",) for n in range(MAX_TRAITS + 1)},
        {"a": ("x",) * 65},
        {"a": ("x" * 129,)},
        {"a": ("\x1b[0m",)},
        {"a.b": ("x",)},
    ],
)
def test_traits_are_bounded(traits: dict[str, tuple[str, ...]]) -> None:
    """Many may come from elsewhere."""
    with pytest.raises(ValueError, match="trait"):
        check_traits(traits)

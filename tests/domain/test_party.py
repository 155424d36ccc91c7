"""Who may take part in whose session, and what a moderated one needs."""

import pytest

from interlock.core.errors import Denied
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.access import Access, Deny, OnLeave, RoleOptions
from interlock.domain.identity import Identity
from interlock.domain.party import (
    OWN_MODES,
    Moderation,
    Participant,
    Wish,
    choose_mode,
    counted,
    joinable_modes,
    parse_wish,
)
from interlock.domain.rbac import Role
from interlock.domain.target import Route, SubKind, Target

SID = SessionId("d46d710b-24b9-4f86-af68-d7755636b94b")
WEB = Target(DaemonId("1"), "web1", "10.0.0.5", 22, SubKind.NODE, labels={"env": "test"})
PEER, OBSERVER, MODERATOR = JoinMode.PEER, JoinMode.OBSERVER, JoinMode.MODERATOR


def role(labels: dict[str, str], *modes: JoinMode) -> Role:
    """A role that lets others' sessions be joined in these modes."""
    return Role("r", (), labels, RoleOptions(join_sessions=modes))


@pytest.mark.parametrize(
    ("login", "target", "wish"),
    [
        ("join", SID, Wish(SID, None)),
        ("join-peer", SID, Wish(SID, PEER)),
        ("join-observer", SID.upper(), Wish(SID, OBSERVER)),
        ("join-moderator", SID, Wish(SID, MODERATOR)),
        ("join-boss", SID, None),
        ("join", "web1", None),
        ("root", SID, None),
        ("joiner", SID, None),
    ],
)
def test_a_route_to_a_session(login: str, target: str, wish: Wish | None) -> None:
    """Only a session's ID behind the one login is a wish to join; all else leads to hosts."""
    assert parse_wish(Route(login, target)) == wish


def test_nobody_joins_without_a_role_that_says_so() -> None:
    """Deny by default; a role counts where it reaches the target, and grants add up."""
    assert joinable_modes("bob", [], owner="alice", target=WEB, login="root") == ()
    bare = Role("r", ("root",), {"*": "*"})
    assert joinable_modes("bob", [bare], owner="alice", target=WEB, login="root") == ()
    assert joinable_modes("bob", [role({"env": "prod"}, PEER)], owner="alice", target=WEB, login="root") == ()
    assert joinable_modes("bob", [role({"*": "*"}, PEER)], owner="alice", target=None, login="root") == ()
    both = [role({"env": "test"}, MODERATOR), role({"*": "*"}, PEER)]
    assert joinable_modes("bob", both, owner="alice", target=WEB, login="root") == (PEER, MODERATOR)


@pytest.mark.parametrize(
    ("deny", "modes"),
    [
        (Deny(("root",)), ()),
        (Deny(None, {"env": "test"}), ()),
        (Deny(("root",), {"env": "prod"}), (PEER,)),
        (Deny(("www",)), (PEER,)),
    ],
)
def test_who_is_denied_a_login_does_not_type_into_its_sessions(deny: Deny, modes: tuple[JoinMode, ...]) -> None:
    """Nor looks: a denial wins here, too."""
    roles = [role({"*": "*"}, PEER), Role("no", options=RoleOptions(deny=deny))]
    assert joinable_modes("bob", roles, owner="alice", target=WEB, login="root") == modes


def test_where_somebody_may_join_from() -> None:
    """The roles that let one join say so."""
    options = RoleOptions(join_sessions=(PEER,), source_networks=("10.0.0.0/8",))
    roles = [Role("r", (), {"*": "*"}, options)]
    for source, modes in (("10.0.0.7:22", (PEER,)), ("192.0.2.7:22", ()), ("", ())):
        assert joinable_modes("bob", roles, owner="alice", target=WEB, login="root", source=source) == modes


def test_ones_own_sessions_may_be_joined_but_not_moderated() -> None:
    """Whatever the roles say."""
    every = [role({"*": "*"}, *JoinMode)]
    assert joinable_modes("alice", [], owner="alice", target=None, login="root") == OWN_MODES
    assert joinable_modes("alice", every, owner="alice", target=WEB, login="root") == (PEER, OBSERVER)


def test_the_mode_of_those_who_do_not_say() -> None:
    """Observer if they may, else what they may."""
    assert choose_mode("bob", tuple(JoinMode), None, owner="alice") is OBSERVER
    assert choose_mode("bob", (PEER, MODERATOR), None, owner="alice") is PEER
    assert choose_mode("bob", (MODERATOR,), None, owner="alice") is MODERATOR
    assert choose_mode("bob", tuple(JoinMode), MODERATOR, owner="alice") is MODERATOR


@pytest.mark.parametrize(
    ("user", "allowed", "wanted", "public"),
    [
        ("bob", (), None, "access denied: no role of yours lets you join this session"),
        ("bob", (), PEER, "access denied: no role of yours lets you join this session"),
        (
            "bob",
            (OBSERVER, MODERATOR),
            PEER,
            "access denied: you may join this session as observer or moderator only",
        ),
        ("alice", OWN_MODES, MODERATOR, "access denied: nobody moderates their own session"),
    ],
)
def test_a_mode_that_is_not_allowed(
    user: str, allowed: tuple[JoinMode, ...], wanted: JoinMode | None, public: str
) -> None:
    """Refused with the modes that would do."""
    with pytest.raises(Denied) as refused:
        choose_mode(user, allowed, wanted, owner="alice")
    assert refused.value.public == public
    assert user in refused.value.reason


def test_people_moderate() -> None:
    """Not terminals, not the owner, and not observers."""

    def present(user: str, mode: JoinMode) -> Participant:
        return Participant(Identity(user, (), "demo"), mode, "")

    moderation = Moderation.by(Access(require_moderators=2, on_leave=OnLeave.TERMINATE))
    assert moderation == Moderation(2, OnLeave.TERMINATE)
    bob, twice, carol = present("bob", MODERATOR), present("bob", MODERATOR), present("carol", MODERATOR)
    assert moderation.missing("alice", []) == 2
    assert moderation.missing("alice", [bob, twice, present("dora", OBSERVER), present("alice", MODERATOR)]) == 1
    assert moderation.missing("alice", [bob, carol]) == 0
    assert Moderation().missing("alice", []) == 0
    assert (counted(1), counted(2)) == ("1 moderator", "2 moderators")

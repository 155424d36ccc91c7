"""What roles ask of a second factor is asked wherever a permit is made, and no permit is made without."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.errors import Denied
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.access import HardwareKey, RoleOptions, SecondFactor
from interlock.domain.bounds import Bounds, Permission
from interlock.domain.cluster import LeafPass, Relation, TrustedCluster
from interlock.domain.factor import hardware_required_by, required_by
from interlock.domain.identity import RECOVERY, Claims, Identity, Joining
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.testing.clock import START

WEB = Target(DaemonId("11111111-0000-4000-8000-000000000001"), "web1", "10.0.0.5", 22, SubKind.NODE)
LEAF = TrustedCluster("leaf", "11111111-0000-4000-8000-00000000000f", Relation.LEAF, START, proxy="leaf:3022")
JOINING = Joining(SessionId("aaaaaaaa-0000-4000-8000-000000000001"), (JoinMode.OBSERVER,))
PLAIN = Role("plain", ("root",), {"*": "*"})
SIGN_IN = Role("in", ("root",), {"*": "*"}, RoleOptions(second_factor=SecondFactor.SIGN_IN))
SESSION = Role("each", ("root",), {"*": "*"}, RoleOptions(second_factor=SecondFactor.SESSION))
TOUCH = Role("touch", ("root",), {"*": "*"}, RoleOptions(hardware_key=HardwareKey.TOUCH))
PIN = Role("pin", ("root",), {"*": "*"}, RoleOptions(hardware_key=HardwareKey.PIN))
ELSEWHERE = Role("other", ("nobody",), {"env": "other"}, RoleOptions(second_factor=SecondFactor.SESSION))


def claims(device: str = "", confirmed: str = "", hardware: HardwareKey | None = None) -> Claims:
    """Alice, who has shown these."""
    identity = Identity("alice", ("any",), "demo", device, confirmed, hardware=hardware)
    return Claims(identity, ("root",), START, START + timedelta(hours=1), 7)


def login(roles: list[Role], shown: Claims) -> Permit:
    """To a target here."""
    return Permit.decide(shown, roles, "root", WEB, now=START)


def join(roles: list[Role], shown: Claims) -> Permit:
    """A session."""
    return Permit.to_join(shown, roles, WEB, JOINING, now=START)


def leaf(roles: list[Role], shown: Claims) -> LeafPass:
    """A target in a leaf."""
    names, required, hardware = [role.name for role in roles], required_by(roles), hardware_required_by(roles)
    return LeafPass.decide(
        shown, names, LEAF, login="root", node="web1", now=START, required=required, hardware=hardware
    )


def test_who_may_run_one_command_joins_nothing() -> None:
    """Nor who may have no terminal; what else is withheld does not matter there."""
    for bounds in (Bounds("ls"), Bounds(None, (Permission.PTY,))):
        with pytest.raises(Denied, match="restricted to less than a session"):
            join([PLAIN], replace(claims(), bounds=bounds))
    join([PLAIN], replace(claims(), bounds=Bounds(None, (Permission.PORTS,))))


Way = Callable[[list[Role], Claims], Permit | LeafPass]
WAYS: tuple[Way, ...] = (login, join, leaf)


@pytest.mark.parametrize("way", WAYS, ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    ("roles", "shown", "text"),
    [
        ([PLAIN], None, None),
        ([TOUCH], None, "which you touch: make one with ssh-keygen -t ed25519-sk"),
        ([TOUCH], HardwareKey.TOUCH, None),
        ([TOUCH], HardwareKey.PIN, None),
        ([PIN], HardwareKey.TOUCH, "its PIN or your finger.*-O verify-required"),
        ([PIN], HardwareKey.PIN, None),
        ([PLAIN, TOUCH, PIN], HardwareKey.TOUCH, "its PIN"),
    ],
)
def test_keys_on_hardware(way: Way, roles: list[Role], shown: HardwareKey | None, text: str | None) -> None:
    """By every way that a permit or pass is made, and by the strictest role."""
    who = claims(hardware=shown)
    if text is None:
        permit = way(roles, who)
        assert not isinstance(permit, Permit) or permit.access.hardware_key is None
        return
    with pytest.raises(Denied, match=text) as caught:
        way(roles, who)
    assert "alice has signed with" in caught.value.reason


@pytest.mark.parametrize("way", WAYS, ids=lambda each: each.__name__)
@pytest.mark.parametrize(
    ("roles", "device", "confirmed", "text"),
    [
        ([PLAIN], "", "", None),
        ([SIGN_IN], "", "", "run ilsh login"),
        ([PLAIN, SIGN_IN], "", "", "run ilsh login"),
        ([SIGN_IN], "d1", "", None),
        ([SIGN_IN], RECOVERY, "", None),
        ([SIGN_IN], "", "d1", None),
        ([SESSION], "", "", "each connection"),
        ([SESSION], "d1", "", "each connection"),
        ([PLAIN, SIGN_IN, SESSION], "d1", "", "each connection"),
        ([SIGN_IN, SESSION], "", "d1", None),
    ],
)
def test_no_permit_without(way: Way, roles: list[Role], device: str, confirmed: str, text: str | None) -> None:
    """A role that allows the same without one takes nothing back: the strictest counts."""
    shown = claims(device, confirmed)
    if text is None:
        made = way(roles, shown)
        assert made.identity.devices == shown.identity.devices
    else:
        with pytest.raises(Denied, match=text):
            way(roles, shown)


def test_what_is_asked_elsewhere_is_not_asked_here_but_for_joining_and_leaves() -> None:
    """These are about whatever there is: any role counts."""
    assert login([PLAIN, ELSEWHERE], claims()).access.second_factor is None
    for way in (join, leaf):
        with pytest.raises(Denied):
            way([PLAIN, ELSEWHERE], claims())


def test_a_permit_says_nothing_of_it_to_nodes() -> None:
    """It is satisfied, and an older node would not know the option."""
    assert login([SESSION], claims(confirmed="d1")).access.second_factor is None

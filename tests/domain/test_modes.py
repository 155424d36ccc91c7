"""Which mode a session has, by default, rules and roles."""

from itertools import product

import pytest

from interlock.core.ids import DaemonId
from interlock.domain.access import RECORDING_ORDER, RoleOptions
from interlock.domain.duties import RecordingMode
from interlock.domain.modes import ModePolicy, ModeRule, mode_at_node, strictest
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target

OFF, NODE, PROXY, NODE_SYNC, PROXY_SYNC = RecordingMode
WEB = Target(DaemonId("w"), "web1", "10.0.0.1", 22, SubKind.NODE, {"env": "prod", "team": "a"})
PAIRS = list(product(RecordingMode, RecordingMode))
PROD = ModeRule({"env": "prod"}, PROXY_SYNC)


def test_the_order_knows_every_mode() -> None:
    """The words of roles and the enumeration are the same."""
    assert tuple(mode.value for mode in RecordingMode) == RECORDING_ORDER


@pytest.mark.parametrize("default", RecordingMode)
def test_the_default_counts_where_nothing_else_is_said(default: RecordingMode) -> None:
    """Neither a rule for other nodes nor a role that says nothing changes it."""
    policy = ModePolicy(default, (ModeRule({"env": "test"}, PROXY_SYNC), ModeRule({}, PROXY_SYNC)))
    assert policy.mode_for(WEB) is default
    assert policy.mode_for(WEB, None) is default


@pytest.mark.parametrize(("default", "said"), PAIRS)
def test_what_is_more_specific_counts_instead_of_the_default(default: RecordingMode, said: RecordingMode) -> None:
    """A role alone, or a rule alone: up and down, as an administrator wants it."""
    assert ModePolicy(default).mode_for(WEB, said.value) is said
    assert ModePolicy(default, (ModeRule({"env": "prod"}, said),)).mode_for(WEB) is said


@pytest.mark.parametrize(("ruled", "said"), PAIRS)
def test_of_rules_and_roles_the_strictest_wins(ruled: RecordingMode, said: RecordingMode) -> None:
    """So a rule is a floor that no role goes below, and a role one that no rule goes below."""
    floor = ModePolicy(OFF, (ModeRule({"*": "*"}, ruled), ModeRule({"team": "a"}, OFF)))
    wanted = max(ruled, said, key=lambda mode: RECORDING_ORDER.index(mode.value))
    assert floor.mode_for(WEB, said.value) is wanted


def test_all_matching_rules_count() -> None:
    """Whatever their order."""
    rules = (ModeRule({"team": "*"}, NODE), PROD, ModeRule({"env": "prod", "team": "b"}, OFF))
    for order in (rules, rules[::-1]):
        assert ModePolicy(PROXY, order).mode_for(WEB) is PROXY_SYNC


def test_before_the_login_is_known_the_strictest_of_all_roles_counts() -> None:
    """A jump is bridged only if no login that it might turn out to be is recorded at the proxy."""
    quiet = Role("quiet", ("app",), {"*": "*"})
    strict = Role("strict", ("root",), {"env": "prod"}, RoleOptions(recording="proxy"))
    other = Role("other", ("root",), {"env": "test"}, RoleOptions(recording="proxy-sync"))
    assert ModePolicy(NODE).mode_before_login(WEB, [quiet, strict, other]) is PROXY
    assert ModePolicy(NODE).mode_before_login(WEB, [quiet, other]) is NODE
    assert ModePolicy(PROXY).mode_before_login(WEB, [quiet]) is PROXY


@pytest.mark.parametrize("mode", RecordingMode)
def test_a_node_keeps_the_level_that_no_forwarder_keeps(mode: RecordingMode) -> None:
    """Off stays off by auth's word alone; a proxy mode becomes the node's own of the same strength."""
    assert mode_at_node(mode.value, relieved=True) is mode
    alone = mode_at_node(mode.value, relieved=False)
    assert not alone.at_proxy
    assert alone.sync is mode.sync
    assert (alone is OFF) == (mode is OFF)


def test_a_node_that_is_told_nothing_records() -> None:
    """Unless its forwarder does."""
    assert mode_at_node(None, relieved=False) is NODE
    assert mode_at_node(None, relieved=True) is PROXY
    with pytest.raises(ValueError, match="nowhere"):
        mode_at_node("nowhere", relieved=False)


def test_strictest_of_nothing_is_a_bug() -> None:
    """Nobody may get a mode out of nothing."""
    with pytest.raises(ValueError, match="empty"):
        strictest([])

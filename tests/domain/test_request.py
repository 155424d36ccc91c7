"""Requests for access: one table of what becomes of them, and who may do what."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.access import RoleOptions
from interlock.domain.rbac import Role
from interlock.domain.request import (
    DEFAULT_TTL,
    MAX_TTL,
    NEXT,
    PENDING_FOR,
    AccessRequest,
    Act,
    RequestState,
    approvals_for,
    check_reason,
    hint,
    may_ask,
    may_review,
    named_askable,
    ttl_for,
)
from interlock.domain.target import SubKind, Target
from interlock.testing.clock import START

ASKED = AccessRequest("r1", "alice", ("dba",), "incident 4711", START, timedelta(hours=2))
LATER = START + timedelta(minutes=5)


def at(state: RequestState) -> AccessRequest:
    """A request that stands there."""
    if state is RequestState.EXPIRED:
        return replace(ASKED, created=START - PENDING_FOR)
    until = LATER + ASKED.ttl if state is RequestState.APPROVED else None
    return replace(ASKED, decided=state, until=until)


@pytest.mark.parametrize(("state", "act"), list(product(RequestState, Act)))
def test_what_becomes_of_a_request(state: RequestState, act: Act) -> None:
    """Every state and every act: as the table has it, or refused."""
    became = NEXT.get((state, act))
    if became is None:
        with pytest.raises(Denied, match=f"this request is {state.value}"):
            at(state).act(act, "bob", "", now=LATER)
        return
    done = at(state).act(act, "bob", "because", now=LATER)
    assert done.state(LATER) is became
    assert done.grants("alice", LATER) is (became is RequestState.APPROVED)


def test_access_lasts_as_long_as_was_asked_for() -> None:
    """From the decision on, and for whoever asked alone."""
    done = ASKED.act(Act.APPROVE, "bob", "", now=LATER)
    assert done.until == LATER + ASKED.ttl
    assert done.grants("alice", LATER + ASKED.ttl - timedelta(microseconds=1))
    assert not done.grants("alice", LATER + ASKED.ttl)
    assert done.state(LATER + ASKED.ttl) is RequestState.EXPIRED
    assert not done.grants("bob", LATER)


def test_nobody_decides_in_time() -> None:
    """Then it is over."""
    assert ASKED.state(START + PENDING_FOR) is RequestState.EXPIRED


def test_some_roles_take_several_approvals() -> None:
    """Of different people; one no is enough."""
    two = replace(ASKED, approvals=2)
    once = two.act(Act.APPROVE, "bob", "", now=LATER)
    assert once.state(LATER) is RequestState.PENDING
    with pytest.raises(Denied, match="you have reviewed this request already"):
        once.act(Act.APPROVE, "bob", "", now=LATER)
    assert once.act(Act.APPROVE, "carol", "", now=LATER).grants("alice", LATER)
    assert once.act(Act.DENY, "carol", "", now=LATER).state(LATER) is RequestState.DENIED
    assert once.act(Act.DENY, "bob", "I was wrong", now=LATER).state(LATER) is RequestState.DENIED
    assert two.act(Act.APPROVE, "root", "", now=LATER, alone=True).grants("alice", LATER)


def asking(*patterns: str) -> Role:
    """A role that may ask for these."""
    return Role("dev", options=RoleOptions(request_roles=patterns))


def reviewing(*patterns: str) -> Role:
    """A role that may decide on these."""
    return Role("lead", options=RoleOptions(review_roles=patterns))


def test_who_may_ask_for_what() -> None:
    """By name or by pattern; by default nobody for anything."""
    assert may_ask([asking("dba", "web-*")], "web-admin")
    assert not may_ask([asking("dba")], "dba2")
    assert not may_ask([Role("dev")], "dba")
    assert named_askable([asking("dba|ops", "web-*"), asking("dba")]) == ["dba", "ops"]


def test_who_may_decide() -> None:
    """On every role that is asked for, and never on one's own request."""
    both = replace(ASKED, roles=("dba", "ops"))
    assert may_review([reviewing("dba"), reviewing("ops")], "bob", both)
    assert not may_review([reviewing("dba")], "bob", both)
    assert not may_review([reviewing("*")], "alice", both)
    assert not may_review([asking("*")], "bob", both)


def test_how_many_and_how_long() -> None:
    """The role that asks for most approvals, and the one that gives the least time."""
    short = Role("a", options=RoleOptions(max_request_ttl=3600, approvals=2))
    assert approvals_for([short, Role("b")]) == 2
    assert approvals_for([Role("b")]) == 1
    assert ttl_for([short, Role("b")], None) == timedelta(hours=1)
    assert ttl_for([Role("b")], None) == DEFAULT_TTL
    assert ttl_for([Role("b")], MAX_TTL) == MAX_TTL
    for asked in (timedelta(hours=2), timedelta(0)):
        with pytest.raises(Denied, match="at most 1 h at a time"):
            ttl_for([short], asked)


@pytest.mark.parametrize("text", ["two\nlines", "x" * 501, "\x1b[2J"])
def test_reasons_are_for_terminals(text: str) -> None:
    """One printable line."""
    with pytest.raises(ValueError, match="a reason is one line"):
        check_reason(text)


def test_the_hint_names_a_role_that_helps() -> None:
    """And is silent if none does."""
    web = Target(DaemonId("1"), "web1", "h", 22, SubKind.NODE, labels={"env": "prod"})
    dba = Role("dba", ("root",), {"env": "prod"})
    assert hint([dba, Role("ops", ("www",), {"*": "*"})], "root", web).endswith(
        "ilsh request create dba --reason TEXT"
    )
    assert hint([dba], "www", web) == ""

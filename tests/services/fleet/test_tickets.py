"""A ticket is good for the proxy that it was given to, as it was given, and for minutes."""

from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.identity import Claims, Identity
from interlock.services.fleet.tickets import LIFE, FactorTickets, Tickets
from interlock.testing.clock import START

PROXY, OTHER = DaemonId("p1"), DaemonId("p2")
KEY = b"k" * 32


def test_every_auth_of_the_cluster_reads_it() -> None:
    """Who signed in, and when."""
    ticket = Tickets(lambda: [KEY]).give("alice", PROXY, START)
    assert Tickets(lambda: [KEY]).read(ticket, PROXY, START) == ("alice", START, "")
    ticket = Tickets(lambda: [KEY]).give("alice", PROXY, START, device="d1")
    assert Tickets(lambda: [KEY]).read(ticket, PROXY, START) == ("alice", START, "d1")


def test_nobody_else_makes_or_uses_one() -> None:
    """Not by another key, another proxy, another name, cut or lengthened."""
    tickets = Tickets(lambda: [KEY])
    ticket = tickets.give("alice", PROXY, START)
    with pytest.raises(Denied):
        tickets.read(ticket, OTHER, START)
    for forged in (
        Tickets(lambda: [b"x" * 32]).give("alice", PROXY, START),
        ticket.replace(b"alice", b"admin"),
        ticket[:-1],
        ticket + b"\0",
        ticket[:32],
        b"",
    ):
        with pytest.raises(Denied):
            tickets.read(forged, PROXY, START)


def test_it_is_no_standing_key() -> None:
    """Whoever keeps one can do nothing with it a few minutes later, whatever the person could still read then."""
    tickets = Tickets(lambda: [KEY])
    ticket = tickets.give("alice", PROXY, START)
    assert tickets.read(ticket, PROXY, START + LIFE)
    with pytest.raises(Denied, match="sign in again"):
        tickets.read(ticket, PROXY, START + LIFE + timedelta(seconds=1))


CLAIMS = Claims(Identity("alice", ("dev",), "demo"), ("root",), START, START + timedelta(hours=1), serial=7)
HERE, ELSEWHERE = b"digest of a session", b"digest of another one"


def test_a_confirmation_is_for_one_certificate_one_connection_and_one_proxy() -> None:
    """A proxy that has seen one code cannot use it for anybody else, or for another connection."""
    tickets = FactorTickets(lambda: [KEY])
    ticket = tickets.give(CLAIMS, "d1", HERE, PROXY, START)
    assert FactorTickets(lambda: [KEY]).read(ticket, CLAIMS, HERE, PROXY, START) == "d1"
    assert tickets.read(ticket, CLAIMS, None, PROXY, START) == "d1"  # where no presence is asked for
    bob = replace(CLAIMS, identity=replace(CLAIMS.identity, user="bob"))
    for claims, session, proxy, shown in (
        (bob, HERE, PROXY, ticket),
        (replace(CLAIMS, serial=8), HERE, PROXY, ticket),
        (CLAIMS, ELSEWHERE, PROXY, ticket),
        (CLAIMS, HERE, OTHER, ticket),
        (CLAIMS, HERE, PROXY, ticket.replace(b"d1", b"d2")),
        (CLAIMS, HERE, PROXY, b""),
    ):
        with pytest.raises(Denied, match="connect again"):
            tickets.read(shown, claims, session, proxy, START)
    with pytest.raises(Denied, match="connect again"):
        tickets.read(ticket, CLAIMS, HERE, PROXY, START + LIFE + timedelta(seconds=1))

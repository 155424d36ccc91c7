"""A ticket is good for the proxy that it was given to, as it was given, and for minutes."""

from datetime import timedelta

import pytest

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.services.tickets import LIFE, Tickets
from interlock.testing.clock import START

PROXY, OTHER = DaemonId("p1"), DaemonId("p2")
KEY = b"k" * 32


def test_every_auth_of_the_cluster_reads_it() -> None:
    """Who signed in, and when."""
    ticket = Tickets(KEY).give("alice", PROXY, START)
    assert Tickets(KEY).read(ticket, PROXY, START) == ("alice", START, "")
    ticket = Tickets(KEY).give("alice", PROXY, START, device="d1")
    assert Tickets(KEY).read(ticket, PROXY, START) == ("alice", START, "d1")


def test_nobody_else_makes_or_uses_one() -> None:
    """Not by another key, another proxy, another name, cut or lengthened."""
    tickets = Tickets(KEY)
    ticket = tickets.give("alice", PROXY, START)
    with pytest.raises(Denied):
        tickets.read(ticket, OTHER, START)
    for forged in (
        Tickets(b"x" * 32).give("alice", PROXY, START),
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
    tickets = Tickets(KEY)
    ticket = tickets.give("alice", PROXY, START)
    assert tickets.read(ticket, PROXY, START + LIFE)
    with pytest.raises(Denied, match="sign in again"):
        tickets.read(ticket, PROXY, START + LIFE + timedelta(seconds=1))

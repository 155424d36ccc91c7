"""Connections that have not authenticated."""

from interlock.adapters.ssh.strangers import Strangers


def test_within_the_limit_nobody_is_closed() -> None:
    """And who has left makes room."""
    strangers = Strangers[int](2)
    assert strangers.arrived(1, "192.0.2.1") is None
    assert strangers.arrived(2, "192.0.2.1") is None
    strangers.left(1)
    assert strangers.arrived(3, "192.0.2.1") is None
    assert len(strangers) == 2


def test_a_flood_costs_only_its_own_source() -> None:
    """A single client from elsewhere stays, however many others come."""
    strangers = Strangers[int](10)
    strangers.arrived(0, "198.51.100.7")
    closed = [strangers.arrived(number, "192.0.2.1") for number in range(1, 1001)]
    assert 0 not in closed
    assert [each for each in closed if each is not None] == list(range(1, 992))
    assert len(strangers) == 10


def test_a_newcomer_gets_in_while_a_flood_lasts() -> None:
    """What is closed for it belongs to the flood."""
    strangers = Strangers[int](10)
    for number in range(100):
        strangers.arrived(number, "192.0.2.1")
    assert strangers.arrived(1000, "198.51.100.7") == 90


def test_leaving_twice_is_harmless() -> None:
    """A connection leaves when it authenticates and again when it ends."""
    strangers = Strangers[int](10)
    strangers.arrived(1, "192.0.2.1")
    strangers.left(1)
    strangers.left(1)
    assert len(strangers) == 0

"""What is said in a tunnel beyond SSH is read strictly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import Denied, RemoteProtocolError
from interlock.core.ids import parse_name
from interlock.core.tunnel import JOIN_USER, TUNNEL_USER, Listener, Visit
from interlock.core.wire import string
from interlock.domain.target import parse_route


@given(st.text(), st.integers(0, 2**32 - 1))
def test_a_visit_is_read_as_it_was_written(host: str, port: int) -> None:
    """Whatever the address looks like."""
    assert Visit.decode(Visit(host, port).encode()) == Visit(host, port)


def test_a_visit_on_the_wire() -> None:
    """PROTOCOL.md §2.8, byte for byte."""
    assert Visit("192.0.2.7", 50022).encode() == b"\0\0\0\x09192.0.2.7\0\0\xc3\x66"


@given(st.binary())
def test_any_bytes_are_a_visit_or_an_offence(payload: bytes) -> None:
    """Nothing else is raised, and nothing is left over."""
    try:
        visit = Visit.decode(payload)
    except RemoteProtocolError:
        return
    assert visit.encode() == payload


@pytest.mark.parametrize("listener", Listener)
def test_a_listener_is_read_as_it_was_written(listener: Listener) -> None:
    """By its name."""
    assert Listener.decode(listener.encode()) is listener


@pytest.mark.parametrize("payload", [b"", string("admin"), string("join") + b"x", string(b"\xff")])
def test_there_are_no_other_listeners(payload: bytes) -> None:
    """A node gets to auth's two, by name, and never to an address that it says."""
    with pytest.raises((ValueError, RemoteProtocolError)):
        Listener.decode(payload)


@pytest.mark.parametrize("name", [TUNNEL_USER, JOIN_USER])
def test_the_nodes_user_names_are_nobody_elses(name: str) -> None:
    """They are no names of people, and no routes."""
    with pytest.raises(ValueError, match="not a valid name"):
        parse_name(name)
    for route in (f"{name}%web1", f"{name}+web1"):
        with pytest.raises(Denied):
            parse_route(route)
    assert parse_route(name) is None

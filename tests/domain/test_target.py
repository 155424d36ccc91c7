"""Targets and routes: how people name them and how events show them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.target import ROUTE_SEPARATORS, Route, SubKind, Target, parse_route


@pytest.mark.parametrize(
    ("user_name", "route"),
    [
        ("root%web1", Route("root", "web1")),
        ("root+web1", Route("root", "web1")),
        ("svc$%db.lan", Route("svc$", "db.lan")),
        ("alice%web@eu", Route("alice", "web@eu")),
        ("alice", None),
        ("alice@example.com", None),
        ("", None),
    ],
)
def test_routes(user_name: str, route: Route | None) -> None:
    """Login and target, or no route at all: then it is the name of a gateway user."""
    assert parse_route(user_name) == route


@pytest.mark.parametrize(
    "user_name",
    [
        "root%",
        "%web1",
        "%",
        "a%b%c",
        "a%b+c",
        "a+b%c",
        "-l%web",
        "root%-oProxyCommand=x",
        "a b%c",
        "a%b\n",
        "r@x%web",
    ],
)
def test_a_malformed_route_is_denied_with_help(user_name: str) -> None:
    """The person sees how to write one; what was wrong is for the audit log."""
    with pytest.raises(Denied) as caught:
        parse_route(user_name)
    assert caught.value.public == "malformed route: use login%node, for example root%web1"
    assert "not a valid" in caught.value.reason


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_user_name_is_a_route_or_none_or_denied(user_name: str) -> None:
    """What comes from the wire raises nothing else, and a route is never half of one."""
    try:
        route = parse_route(user_name)
    except Denied:
        return
    if route is None:
        assert not set(user_name) & set(ROUTE_SEPARATORS)
    else:
        assert user_name in {f"{route.login}{separator}{route.target}" for separator in ROUTE_SEPARATORS}


@pytest.mark.parametrize(("host", "addr"), [("10.0.0.5", "10.0.0.5:22"), ("web1", "web1:22"), ("::1", "[::1]:22")])
def test_addresses(host: str, addr: str) -> None:
    """IPv6 in brackets, as everywhere."""
    target = Target(DaemonId("x"), "web1", host, 22, SubKind.AGENTLESS)
    assert target.addr == addr

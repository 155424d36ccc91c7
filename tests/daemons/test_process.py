"""Roles, logs and errors of one process."""

from typing import Any

import pytest

from interlock.core.errors import ConfigError, InterlockError, StoreError
from interlock.daemons.log import set_up_log
from interlock.daemons.process import _join_by, first, parse_roles


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("auth,proxy", {"auth", "proxy"}),
        ("proxy, auth", {"auth", "proxy"}),
        ("node", {"node"}),
        ("auth,proxy,node", {"auth", "proxy", "node"}),
    ],
)
def test_roles(text: str, roles: set[str]) -> None:
    """In any order."""
    assert parse_roles(text) == roles


@pytest.mark.parametrize("text", ["", "proxy,node", "auth,proxy,web"])
def test_roles_that_cannot_run(text: str) -> None:
    """Two daemons apart in one process, and unknown roles, are refused."""
    with pytest.raises(ConfigError):
        parse_roles(text)


def test_an_unknown_log_level_is_refused() -> None:
    """By its name."""
    with pytest.raises(ConfigError, match="loud"):
        set_up_log("loud")


def test_the_first_error_of_a_group_is_told() -> None:
    """However deep it is."""
    error = StoreError("no database")
    inner: ExceptionGroup[InterlockError] = ExceptionGroup("inner", [error])
    mixed: list[Any] = [inner, ConfigError("x")]
    nested: ExceptionGroup[InterlockError] = ExceptionGroup("tasks", mixed)
    assert first(nested) is error


TOKEN = "ilj1.0123456789abcdef.{}.{}".format("s" * 43, "p" * 43)


@pytest.mark.parametrize(
    ("auth", "proxy", "address", "tunnel"),
    [("a:1", "", "a:1", False), ("", "p:2", "p:2", True), ("", "p", "p", True)],
)
def test_a_node_joins_at_auth_or_through_a_proxy(auth: str, proxy: str, address: str, *, tunnel: bool) -> None:
    """By what it was given."""
    found = _join_by(TOKEN, auth, proxy)
    assert found is not None
    assert (found.address, found.tunnel) == (address, tunnel)
    assert _join_by("", auth if not proxy else "", "") is None


@pytest.mark.parametrize(("token", "auth", "proxy"), [(TOKEN, "", ""), (TOKEN, "a:1", "p:2"), ("", "", "p:2")])
def test_options_of_joining_that_do_not_fit_together(token: str, auth: str, proxy: str) -> None:
    """In a sentence that names them."""
    with pytest.raises(ConfigError, match="--proxy"):
        _join_by(token, auth, proxy)

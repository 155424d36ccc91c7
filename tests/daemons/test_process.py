"""Roles, logs and errors of one process."""

from typing import Any

import pytest

from interlock.core.errors import ConfigError, InterlockError, StoreError
from interlock.daemons.process import first, parse_roles, set_up_log


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


@pytest.mark.parametrize("text", ["", "auth", "proxy", "proxy,node", "auth,proxy,web"])
def test_roles_that_cannot_run(text: str) -> None:
    """Halves of the gateway and unknown roles are refused."""
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

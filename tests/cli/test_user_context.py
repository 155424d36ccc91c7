"""Arguments that ilsh's commands share."""

import pytest
import typer

from interlock.cli.user_context import proxy_address, user_name


def test_names_and_addresses_are_parsed_at_the_edge() -> None:
    """R26: before anything else sees them."""
    assert user_name("alice") == "alice"
    assert str(proxy_address("gw:22")) == "gw:22"
    for bad in ("-oX", "a b", ""):
        with pytest.raises(typer.BadParameter):
            user_name(bad)
        with pytest.raises(typer.BadParameter):
            proxy_address(bad)

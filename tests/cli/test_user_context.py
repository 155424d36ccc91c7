"""Arguments that ilsh's commands share."""

from datetime import timedelta

import pytest
import typer

from interlock.cli.user_context import duration, proxy_address, user_name


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("8h", 28_800), ("1d", 86_400)]
)
def test_durations_have_units(text: str, seconds: int) -> None:
    """Seconds unless it says otherwise."""
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "0", "0h", "-1h", "1.5h", "8 h", "1w", "٣h", "9" * 30])
def test_what_is_no_duration_is_wrong_usage(text: str) -> None:
    """No certificate of no life, and none by accident."""
    with pytest.raises(typer.BadParameter):
        duration(text)


def test_names_and_addresses_are_parsed_at_the_edge() -> None:
    """R26: before anything else sees them."""
    assert user_name("alice") == "alice"
    assert str(proxy_address("gw:22")) == "gw:22"
    for bad in ("-oX", "a b", ""):
        with pytest.raises(typer.BadParameter):
            user_name(bad)
        with pytest.raises(typer.BadParameter):
            proxy_address(bad)

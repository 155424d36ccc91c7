"""One grammar of options for both programs."""

import subprocess
import sys
from datetime import timedelta

import pytest
import typer

from interlock.cli.options import choice, duration
from interlock.cli.play import PlayFormat


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


def test_a_choice_names_what_there_is() -> None:
    """And no class of ours."""
    assert choice(PlayFormat, "text") is PlayFormat.TEXT
    with pytest.raises(typer.BadParameter, match=r"^'y' is none of pty, text, json$"):
        choice(PlayFormat, "y")


@pytest.mark.parametrize("module", ["run", "admin", "user"])
def test_starting_a_program_loads_nothing_that_its_command_may_not_need(module: str) -> None:
    """Tables, databases, SSH and event loops are loaded by the commands that use them."""
    heavy = (
        "rich",
        "asyncio",
        "sqlalchemy",
        "asyncssh",
        "structlog",
        "grpc",
        "cryptography.hazmat.primitives.asymmetric",
    )
    program = f"import sys, interlock.cli.{module}; print([each for each in {heavy} if each in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

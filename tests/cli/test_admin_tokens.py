"""``ilctl tokens`` as an administrator and as a script use it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.services.keys.joining import TokenText
from interlock.testing.procs import run

ILCTL = Path(sys.executable).with_name("ilctl")

Ilctl = Callable[..., Any]


def test_a_token_is_made_listed_and_withdrawn(ilctl: Ilctl) -> None:
    """The token is the only line on stdout; the list has its ID and never its secret."""
    made = ilctl("tokens", "add", "--ttl", "5m", "--uses", "2")
    assert made.code == 0
    token = TokenText.parse(made.out)
    assert made.out == f"{token}\n"
    assert "--join TOKEN" in made.err
    listing = ilctl("tokens", "ls", "--format", "json")
    assert [(row["id"], row["uses"], row["valid"]) for row in listing.json()] == [(token.id, 2, True)]
    assert token.secret not in listing.out
    assert ilctl("tokens", "rm", token.id).code == 0
    assert ilctl("tokens", "ls", "--format", "json").json() == []


@pytest.mark.slow
def test_a_token_for_a_program_is_json(tmp_path: Path) -> None:
    """With everything a script wants to know; from the real program, in a directory without a gateway."""
    (tmp_path / "data").mkdir(mode=0o700)
    made = json.loads(
        run([ILCTL, "--data-dir", tmp_path / "data", "tokens", "add", "--format", "json"]).check().stdout
    )
    assert made["token"].startswith(f"ilj1.{made['id']}.")
    assert (made["ttl_s"], made["uses"]) == (3600, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("add", "--ttl", "soon"), 2, "not a duration"),
        (("add", "--ttl", "9d"), 1, "at most 7 days"),
        (("add", "--uses", "0"), 2, "uses"),
        (("rm", "0123456789abcdef"), 3, "no join token"),
    ],
)
def test_mistakes_are_one_sentence(ilctl: Ilctl, arguments: tuple[str, ...], code: int, text: str) -> None:
    """On stderr, with the documented exit code."""
    done = ilctl("tokens", *arguments)
    assert done.code == code
    assert text in done.err
    assert done.err.count("\n") == 1

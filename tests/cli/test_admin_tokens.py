"""``ilctl tokens`` as an administrator and as a script use it."""

import json
import sys
from pathlib import Path

import pytest

from interlock.services.joining import TokenText
from interlock.testing.procs import Completed, run

ILCTL = Path(sys.executable).with_name("ilctl")


def ilctl(directory: Path, *arguments: str) -> Completed:
    """Run the real program on a data directory."""
    return run([ILCTL, "--data-dir", directory, "tokens", *arguments])


def test_a_token_is_made_listed_and_withdrawn(tmp_path: Path) -> None:
    """The token is the only line on stdout; the list has its ID and never its secret."""
    made = ilctl(tmp_path / "data", "add", "--ttl", "5m", "--uses", "2").check()
    token = TokenText.parse(made.stdout)
    assert made.stdout == f"{token}\n"
    assert "--join TOKEN" in made.stderr
    listing = ilctl(tmp_path / "data", "ls", "--format", "json").check().stdout
    rows = json.loads(listing)
    assert [(row["id"], row["uses"], row["valid"]) for row in rows] == [(token.id, 2, True)]
    assert token.secret not in listing
    ilctl(tmp_path / "data", "rm", token.id).check()
    assert json.loads(ilctl(tmp_path / "data", "ls", "--format", "json").check().stdout) == []


def test_a_token_for_a_program_is_json(tmp_path: Path) -> None:
    """With everything a script wants to know."""
    made = json.loads(ilctl(tmp_path / "data", "add", "--format", "json").check().stdout)
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
def test_mistakes_are_one_sentence(tmp_path: Path, arguments: tuple[str, ...], code: int, text: str) -> None:
    """On stderr, with the documented exit code."""
    done = ilctl(tmp_path / "data", *arguments)
    assert done.rc == code
    assert text in done.stderr
    assert done.stderr.count("\n") == 1

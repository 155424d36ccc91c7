"""``ilctl oidc``."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Ilctl = Callable[..., Any]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The client secret."""
    path = tmp_path / "secret"
    path.write_text("s3cret\nnot this\n")
    return path


def add(ilctl: Ilctl, secret: Path, *more: str, issuer: str = "https://id.example") -> Any:
    """A connector."""
    words = ("--issuer", issuer, "--client-id", "us", "--client-secret-file", secret)
    return ilctl("oidc", "add", "company", *words, *more)


def test_a_connector_from_its_beginning_to_its_end(ilctl: Ilctl, secret: Path) -> None:
    """Each deed is told, with nothing of the secret."""
    assert "was added" in add(ilctl, secret, "--map", "groups=staff:dev", "--trait", "team=groups").out
    [row] = ilctl("oidc", "ls", "--format", "json").json()
    assert (row["rules"], row["traits"], row["scopes"]) == (
        ["groups=staff:dev"],
        {"team": "groups"},
        ["openid", "profile", "email"],
    )
    assert "already" in add(ilctl, secret).err
    ilctl("oidc", "set", "company", "--map", "groups=a:dev", "--map", "groups=b:ops")
    [row] = ilctl("oidc", "ls", "--format", "json").json()
    assert (row["rules"], row["traits"]) == (["groups=a:dev", "groups=b:ops"], {"team": "groups"})
    assert "no provider has vouched" in ilctl("oidc", "forget", "erin").err
    ilctl("oidc", "rm", "company")
    assert ilctl("oidc", "ls", "--format", "json").json() == []
    told = ilctl("events", "ls", "--format", "json").json()
    assert [each["code"] for each in told] == ["T8100I", "T8102I", "T8101I"]
    assert "s3cret" not in str(told)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--map", "groups"), "claim=value:role"),
        (("--trait", "x"), "trait=claim"),
        (("--scopes", "profile"), "openid"),
    ],
)
def test_what_cannot_be_is_refused(ilctl: Ilctl, secret: Path, more: tuple[str, ...], named: str) -> None:
    """In words that say how to write it."""
    shown = add(ilctl, secret, *more)
    assert shown.code == 2
    assert named in shown.err


def test_wrong_addresses_and_files_are_refused(ilctl: Ilctl, secret: Path, tmp_path: Path) -> None:
    """An issuer without TLS, no secret, a name that there is not."""
    assert "https://" in add(ilctl, secret, issuer="http://id.example").err
    secret.write_text("\n")
    assert "is empty" in add(ilctl, secret).err
    assert "cannot read" in add(ilctl, tmp_path / "none").err
    for command in ("rm", "set", "test"):
        assert "no OIDC connector" in ilctl("oidc", command, "nobody").err


def test_a_provider_that_does_not_answer_is_told(ilctl: Ilctl, secret: Path) -> None:
    """By ``ilctl oidc test``."""
    add(ilctl, secret, issuer="http://127.0.0.1:1")
    assert "cannot be asked" in ilctl("oidc", "test", "company").err

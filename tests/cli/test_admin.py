"""``ilctl`` as a whole: help, exit codes, and errors of one sentence."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Ilctl = Callable[..., Any]


def test_help_names_every_group_and_the_exit_codes(ilctl: Ilctl) -> None:
    """The README's table is here too."""
    shown = ilctl("--help")
    assert shown.code == 0
    for group in ("users", "roles", "nodes", "tokens", "auth", "events", "sessions", "recordings", "mode"):
        assert f" {group} " in shown.out
    assert "Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 not found, 4 denied." in shown.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["nonsense"], 2),
        (["users", "ls", "--format", "yaml"], 2),
        (["users", "add", "a,b"], 2),
        (["users", "add", "-x"], 2),
        (["users", "add", "bob", "--password-file", "/nonexistent"], 1),
        (["users", "rm", "nobody"], 3),
        (["roles", "rm", "nothing"], 3),
        (["roles", "add", "r", "--logins", "root;id", "--labels", "a=b"], 2),
        (["roles", "add", "r", "--logins", "root", "--labels", "a"], 2),
        (["roles", "add", "r", "--logins", "", "--labels", "a=b"], 2),
        (["nodes", "rm", "nowhere"], 3),
        (["nodes", "add", "n", "--addr", "h:22"], 2),
        (["nodes", "add", "n", "--addr", "h:99999", "--host-ca"], 2),
        (["nodes", "add", "n", "--addr", "-oProxyCommand=x:22", "--host-ca"], 2),
        (["nodes", "add", "n", "--addr", "h:22", "--host-key", "/nonexistent"], 2),
        (["recordings", "download", "not-a-sid", "--out", "x"], 2),
        (["recordings", "export", "00000000-0000-4000-8000-000000000000"], 3),
        (["mode", "set", "elsewhere"], 2),
        (["auth", "export", "--type", "x509"], 2),
    ],
)
def test_an_error_is_one_sentence_on_stderr(ilctl: Ilctl, arguments: list[str], code: int) -> None:
    """With its documented exit code, and nothing on stdout that a script could take for a result."""
    ended = ilctl(*arguments)
    assert (ended.code, ended.out) == (code, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1


def test_a_data_directory_that_others_may_enter_is_refused(first_ilctl: Ilctl, tmp_path: Path) -> None:
    """The sentence says what to do."""
    (tmp_path / "data").mkdir(mode=0o755)
    ended = first_ilctl("users", "ls")
    assert ended.code == 1
    assert f"chmod 700 {tmp_path / 'data'}" in ended.err
    assert list((tmp_path / "data").iterdir()) == []


def test_the_data_directory_can_be_named(ilctl: Ilctl, tmp_path: Path) -> None:
    """The option wins over the environment, and a mistyped path becomes no gateway."""
    assert ilctl("users", "ls").code == 0
    ended = ilctl("--data-dir", tmp_path / "other", "users", "ls")
    assert (ended.code, ended.out) == (1, "")
    assert f"there is no directory {tmp_path / 'other'}" in ended.err
    assert not (tmp_path / "other").exists()

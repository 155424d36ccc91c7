"""What administrators do is in the audit log."""

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.testing.auth import HOST_KEY

Ilctl = Callable[..., Any]

PREPARED = {
    "users": ("users", "add", "eve"),
    "roles": ("roles", "add", "ops", "--logins", "root", "--labels", "*"),
    "nodes": ("nodes", "add", "db1", "--addr", "10.0.0.8:22", "--host-ca"),
}
DEEDS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (
        ("users", "add", "alice", "--roles", "dev"),
        {"event": "user.create", "code": "T1002I", "name": "alice", "roles": ["dev"]},
    ),
    (("users", "rm", "eve"), {"event": "user.delete", "code": "T1004I", "name": "eve"}),
    (
        ("roles", "add", "dev", "--logins", "root", "--labels", "env=test"),
        {
            "event": "role.created",
            "code": "T9000I",
            "name": "dev",
            "logins": ["root"],
            "node_labels": {"env": "test"},
        },
    ),
    (
        ("roles", "set", "ops", "--option", "max_sessions=2"),
        {"event": "role.updated", "code": "T9002I", "name": "ops", "options": '{"max_sessions":2}'},
    ),
    (("roles", "rm", "ops"), {"event": "role.deleted", "code": "T9001I", "name": "ops"}),
    (
        ("nodes", "add", "web1", "--addr", "[::1]:22", "--host-ca"),
        {"event": "node.create", "code": "ILN00I", "name": "web1", "addr": "[::1]:22"},
    ),
    (("nodes", "rm", "db1"), {"event": "node.delete", "code": "ILN01I", "name": "db1"}),
    (("tokens", "add", "--uses", "2"), {"event": "join_token.create", "code": "TJT00I", "uses": 2}),
    (
        ("mode", "set", "proxy"),
        {"event": "session_recording_config.update", "code": "TCREC003I", "session_recording": "proxy"},
    ),
]


def events(ilctl: Ilctl) -> list[dict[str, Any]]:
    """The whole audit log."""
    found: list[dict[str, Any]] = ilctl("events", "ls", "--format", "json").json()
    return found


@pytest.mark.parametrize(("arguments", "wanted"), DEEDS, ids=[" ".join(deed[0][:2]) for deed in DEEDS])
def test_a_change_names_who_made_it(ilctl: Ilctl, arguments: tuple[str, ...], wanted: dict[str, Any]) -> None:
    """The account that runs ilctl, and what was changed to what; once, after it was done."""
    if prepared := PREPARED.get(arguments[0]):
        assert ilctl(*prepared).code == 0
    before = len(events(ilctl))
    assert ilctl(*arguments).code == 0
    [event] = events(ilctl)[before:]
    assert wanted.items() <= event.items()
    assert (event["user"], event["method"]) == (getpass.getuser(), "ilctl")
    assert "sid" not in event


def test_a_withdrawn_token_is_named_by_its_id(ilctl: Ilctl) -> None:
    """The audit log never has the secret."""
    made = ilctl("tokens", "add", "--format", "json").json()
    ilctl("tokens", "rm", made["id"])
    created, deleted = events(ilctl)
    assert created["name"] == deleted["name"] == made["id"]
    assert (deleted["event"], deleted["code"]) == ("join_token.delete", "ILT01I")
    assert made["token"] not in str((created, deleted))


def test_a_signed_host_key_is_an_event(ilctl: Ilctl, tmp_path: Path) -> None:
    """A host certificate makes a machine trusted: cert.create, for these names, until then."""
    key, out = tmp_path / "key.pub", tmp_path / "cert.pub"
    key.write_text(HOST_KEY)
    assert ilctl("auth", "sign", "--host", "web1,10.0.0.7", "--public-key", key, "--out", out).code == 0
    [event] = events(ilctl)
    assert (event["event"], event["code"], event["cert_type"]) == ("cert.create", "TC000I", "host")
    assert event["identity"]["principals"] == "web1,10.0.0.7"


def test_what_was_not_done_is_not_told(ilctl: Ilctl) -> None:
    """A refused command leaves no event of a change."""
    for arguments in (("users", "rm", "ghost"), ("roles", "rm", "ghost"), ("tokens", "rm", "ghost")):
        assert ilctl(*arguments).code == 3
    assert events(ilctl) == []


def test_looking_is_no_deed(ilctl: Ilctl) -> None:
    """Lists and exports of public keys are not events."""
    for arguments in (
        ("users", "ls"),
        ("auth", "export", "--type", "host"),
        ("mode", "show"),
        ("recordings", "ls"),
    ):
        assert ilctl(*arguments).code == 0
    assert events(ilctl) == []

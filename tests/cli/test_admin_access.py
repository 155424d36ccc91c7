"""``ilctl users`` and ``ilctl roles``."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.daemons.local import open_local
from interlock.domain.audit import AuditEvent
from interlock.services.signin.signin import SignInResult

Ilctl = Callable[..., Any]


class Sink:
    """`ports.EventSink` that keeps nothing."""

    def emit(self, event: AuditEvent) -> None:
        """Forget it."""


def sign_in(data: Path, user: str, password: str) -> SignInResult:
    """Sign in on the data directory."""

    async def run() -> SignInResult:
        async with open_local(data) as local:
            return (await local.sign_in(Sink()).check(user, password, source="127.0.0.1")).result

    return asyncio.run(run())


def test_a_new_user_gets_a_one_time_password_that_works(ilctl: Ilctl, tmp_path: Path) -> None:
    """It is printed once, and the first sign-in has to change it."""
    shown = ilctl("users", "add", "alice", "--roles", "dev,ops")
    [password] = [line.split()[-1] for line in shown.out.splitlines() if line.startswith("One-time password: ")]
    assert sign_in(tmp_path / "data", "alice", password) is SignInResult.MUST_CHANGE
    [row] = ilctl("users", "ls", "--format", "json").json()
    assert (row["name"], row["roles"], row["must_change_password"]) == ("alice", ["dev", "ops"], True)
    assert password not in ilctl("users", "ls").out


def test_roles_that_do_not_exist_yet_are_pointed_out(ilctl: Ilctl) -> None:
    """A typing error would otherwise show as a refusal much later."""
    ilctl("roles", "add", "dev", "--logins", "root", "--labels", "*")
    out = ilctl("users", "add", "alice", "--roles", "dev,opps").out
    assert "no role called opps" in out
    assert "no role called dev" not in out


def test_a_password_from_a_file_is_a_lasting_one(ilctl: Ilctl, tmp_path: Path) -> None:
    """Its first line; a short one is denied."""
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery\nnot this\n")
    assert ilctl("users", "add", "alice", "--password-file", secret).out == "User alice was created.\n"
    assert sign_in(tmp_path / "data", "alice", "correct horse battery") is SignInResult.OK
    secret.write_text("short\n")
    assert ilctl("users", "add", "bob", "--password-file", secret).code == 4


def test_a_bot_is_not_removed_like_a_person(ilctl: Ilctl) -> None:
    """Its own command is named."""
    ilctl("roles", "add", "dev", "--logins", "root", "--labels", "*")
    ilctl("bots", "add", "robot", "--roles", "dev", "--logins", "root")
    refused = ilctl("users", "rm", "robot")
    assert (refused.code, refused.err) == (1, "error: robot is a bot: ilctl bots rm robot removes it\n")
    assert ilctl("bots", "rm", "robot").code == 0


def test_users_can_be_removed_and_names_are_taken_once(ilctl: Ilctl) -> None:
    """0, then 1 for the second of that name, then gone."""
    assert ilctl("users", "add", "alice").code == 0
    assert ilctl("users", "add", "alice").code == 1
    assert ilctl("users", "rm", "alice").code == 0
    assert ilctl("users", "ls", "--format", "json").json() == []


def test_roles_are_listed_as_they_were_made(ilctl: Ilctl) -> None:
    """Text and JSON; a lone asterisk means every node."""
    assert ilctl("roles", "add", "dev", "--logins", "root,ubuntu", "--labels", "env=test,tier=*").code == 0
    assert ilctl("roles", "add", "all", "--logins", "root", "--labels", "*").code == 0
    assert ilctl("roles", "add", "all", "--logins", "root", "--labels", "*").code == 1
    assert ilctl("roles", "ls", "--format", "json").json() == [
        {"name": "all", "logins": ["root"], "node_labels": {"*": "*"}, "deny": {}, "options": {}},
        {
            "name": "dev",
            "logins": ["root", "ubuntu"],
            "node_labels": {"env": "test", "tier": "*"},
            "deny": {},
            "options": {},
        },
    ]
    assert "dev   root,ubuntu  env=test,tier=*" in ilctl("roles", "ls").out
    assert ilctl("roles", "rm", "dev").code == 0


def test_roles_deny_and_have_templates(ilctl: Ilctl) -> None:
    """What is not said is kept; what is said empty is taken back."""
    arguments = ("--logins", "{{trait.logins}},www", "--labels", "env=prod|test-*", "--deny-logins", "root")
    assert ilctl("roles", "add", "mine", *arguments).code == 0
    assert ilctl("roles", "add", "no-db", "--deny-labels", "tier=db").code == 0
    mine, no_db = ilctl("roles", "ls", "--format", "json").json()
    assert (mine["logins"], mine["node_labels"]) == (["{{trait.logins}}", "www"], {"env": "prod|test-*"})
    assert (mine["deny"], no_db["deny"]) == ({"logins": "root"}, {"node_labels": "tier=db"})
    done = ilctl("roles", "set", "mine", "--deny-labels", "env=prod", "--option", "max_sessions=2")
    assert done.out == (
        "Role mine now says: logins={{trait.logins}},www labels=env=prod|test-* max_sessions=2 denies logins=root "
        "node_labels=env=prod\n"
    )
    assert ilctl("roles", "set", "mine", "--deny-logins", "", "--deny-labels", "").code == 0
    [mine, _] = ilctl("roles", "ls", "--format", "json").json()
    assert (mine["deny"], mine["options"], mine["logins"]) == (
        {},
        {"max_sessions": "2"},
        ["{{trait.logins}}", "www"],
    )


def test_verbs_of_a_role(ilctl: Ilctl) -> None:
    """Somebody who watches needs no login."""
    arguments = ("--labels", "env=prod", "--option", "allow=recordings:list,recordings:play")
    assert ilctl("roles", "add", "auditor", *arguments, "--deny-verbs", "recordings:own").code == 0
    [row] = ilctl("roles", "ls", "--format", "json").json()
    assert row["options"] == {"allow": "recordings:list,recordings:play"}
    assert row["deny"] == {"verbs": "recordings:own"}
    assert ilctl("roles", "set", "auditor", "--deny-verbs", "sessions:begin").code == 2
    assert ilctl("roles", "set", "auditor", "--option", "allow=everything").code == 2


def test_a_change_of_a_role_says_what_was_before(ilctl: Ilctl) -> None:
    """Of what has changed."""
    ilctl("roles", "add", "dev", "--logins", "root", "--labels", "*")
    ilctl("roles", "set", "dev", "--logins", "www")
    [event] = [
        each for each in ilctl("events", "ls", "--format", "json").json() if each["event"] == "role.updated"
    ]
    assert (event["logins"], event["logins_before"]) == (["www"], ["root"])
    assert "node_labels_before" not in event


@pytest.mark.parametrize(
    "arguments",
    [
        ("roles", "add", "r", "--logins", "{{trait.x", "--labels", "*"),
        ("roles", "add", "r", "--logins", "{{env.HOME}}", "--labels", "*"),
        ("roles", "add", "r"),
        ("users", "add", "bob", "--trait", "logins"),
        ("users", "add", "bob", "--trait", "a b=c"),
        ("users", "set", "alice"),
    ],
)
def test_what_cannot_be_is_said_at_once(ilctl: Ilctl, arguments: tuple[str, ...]) -> None:
    """Exit code 2, and nothing is stored."""
    assert ilctl(*arguments).code == 2


def test_roles_and_traits_of_a_user_change(ilctl: Ilctl) -> None:
    """Each alone; an empty trait is taken back; the event says what was before."""
    ilctl("users", "add", "alice", "--roles", "dev", "--trait", "logins=al,alice", "--trait", "team=db")
    [row] = ilctl("users", "ls", "--format", "json").json()
    assert (row["roles"], row["traits"]) == (["dev"], {"logins": "al,alice", "team": "db"})
    done = ilctl("users", "set", "alice", "--roles", "ops", "--trait", "team=")
    assert done.out.splitlines()[-1] == "User alice has the roles ops and the traits logins=al,alice."
    [event] = [each for each in ilctl("events", "ls", "--format", "json").json() if each["event"] == "user.update"]
    assert (event["roles"], event["roles_before"], event["traits"]) == (["ops"], ["dev"], {"logins": "al,alice"})
    assert ilctl("users", "set", "ghost", "--roles", "").code == 3

"""``ilctl access explain``."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from interlock.daemons.local import open_local
from interlock.domain.request import AccessRequest, Act

Ilctl = Callable[..., Any]

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZha2UgaG9zdCBrZXkgZm9yIHRlc3RzIG9ubHkhISEh"


@pytest.fixture
def world(ilctl: Ilctl) -> Ilctl:
    """Alice, whose roles allow, deny and do nothing, and a host."""
    ilctl("nodes", "add", "web1", "--addr", "10.0.0.8:22", "--labels", "env=prod", "--host-key", KEY)
    ilctl(
        "roles", "add", "own", "--logins", "{{trait.logins}}", "--labels", "env=prod", "--option", "max_sessions=3"
    )
    ilctl("roles", "add", "no-root", "--deny-logins", "root", "--deny-labels", "env=prod")
    ilctl("roles", "add", "dev", "--logins", "al,root", "--labels", "env=dev", "--option", "recording=proxy")
    ilctl("users", "add", "alice", "--roles", "own,no-root,dev,gone", "--trait", "logins=al,root,a b")
    return ilctl


def test_why_somebody_may(world: Ilctl) -> None:
    """Every role's part, the options that count and from where they are, and where it is recorded."""
    done = world("access", "explain", "alice", "al", "web1")
    assert done.code == 0
    assert done.out.splitlines() == [
        "alice may log in as al on web1.",
        "  role dev does nothing: the label env of web1 is prod, not dev",
        "  role no-root does nothing: what it denies is something else",
        "  role own allows: al is one of its logins, and its labels match",
        "    {{trait.logins}}: 'a b' cannot stand there, and counts for nothing",
        "  role gone does nothing: it does not exist",
        "  recording node: the cluster says node",
        "  max_sessions 3: from own",
    ]


def test_why_somebody_may_not(world: Ilctl) -> None:
    """What the audit log says, and what the person reads, which is less."""
    done = world("access", "explain", "alice", "root", "web1", "--format", "json")
    assert done.code == 4
    said = done.json()
    assert (said["allowed"], said["reason"]) == (False, "no-root of alice denies root on web1")
    assert said["message"] == "access denied: you may not log in as root on web1"
    effects = {each["name"]: (each["effect"], each["why"]) for each in said["roles"]}
    assert effects["no-root"] == ("denies", "it denies the login root on nodes with env=prod")
    assert effects["own"][0] == "allows"


def test_where_somebody_would_come_from(world: Ilctl) -> None:
    """If it is said."""
    world("roles", "set", "own", "--option", "source_networks=10.0.0.0/8,192.0.2.0/24")
    assert (
        "source_networks 10.0.0.0/8,192.0.2.0/24: from own"
        in world("access", "explain", "alice", "al", "web1").out
    )
    assert world("access", "explain", "alice", "al", "web1", "--from", "10.0.0.7").code == 0
    done = world("access", "explain", "alice", "al", "web1", "--from", "198.51.100.7")
    assert (done.code, "your roles do not let you come from this address" in done.out) == (4, True)
    assert world("roles", "set", "own", "--option", "source_networks=everywhere").code == 2


def test_the_way_by_a_request(world: Ilctl, tmp_path: Path) -> None:
    """What the user may ask for, and what a request gives."""
    world(
        "roles", "add", "dba", "--logins", "root,pg", "--labels", "env=prod", "--option", "second_factor=session"
    )
    world("roles", "set", "dev", "--option", "request_roles=dba")
    refused = world("access", "explain", "alice", "pg", "web1")
    assert (refused.code, "the user may ask for dba, which would allow it" in refused.out) == (4, True)
    request_id = "00000000-0000-4000-8000-00000000000a"

    async def given() -> None:
        async with open_local(tmp_path / "data") as local:
            now = local.clock.now()
            asked = AccessRequest(request_id, "alice", ("dba",), "why", now, timedelta(hours=1))
            await local.requests.add_request(asked.act(Act.APPROVE, "bob", "", now=now))

    asyncio.run(given())
    done = world("access", "explain", "alice", "pg", "web1")
    assert done.code == 0
    assert f"request {request_id} gives dba until" in done.out
    assert "  role dba allows: pg is one of its logins, and its labels match" in done.out
    assert "  second_factor session: from dba" in done.out
    world("locks", "add", "--access-request", request_id)
    assert world("access", "explain", "alice", "pg", "web1").code == 4


def test_a_lock_is_named(world: Ilctl) -> None:
    """It refuses whatever the roles say."""
    world("locks", "add", "--user", "alice")
    done = world("access", "explain", "alice", "al", "web1")
    assert done.code == 4
    assert "on the user alice is in force" in done.out


def test_who_or_what_is_not_there(world: Ilctl) -> None:
    """Not found, which is not the same as denied."""
    assert world("access", "explain", "ghost", "al", "web1").code == 3
    assert world("access", "explain", "alice", "al", "web9").code == 3

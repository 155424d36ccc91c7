"""Roles for a while, with the real ssh: asked for, given by somebody else, used on every road, and taken back."""

from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

PROMISE = timedelta(seconds=2)


@pytest.fixture
def people(cluster: Cluster) -> tuple[Person, Person]:
    """One who may ask and has no login anywhere, and one who decides."""
    if "on-call" not in {role["name"] for role in cluster.json("roles", "ls")}:
        cluster.admin("roles", "add", "on-call", "--logins", cluster.login_name, "--labels", "env=test")
        cluster.admin("roles", "add", "asks", "--option", "request_roles=on-call")
        cluster.admin("roles", "add", "decides", "--option", "review_roles=on-*")
    cluster.add_user_once("rita", "asks")
    cluster.add_user_once("dick", "decides")
    return cluster.login("rita"), cluster.login("dick")


def moment(event: dict[str, Any]) -> datetime:
    """When it happened."""
    return datetime.fromisoformat(event["time"])


def test_access_is_asked_for_given_used_and_taken_back(cluster: Cluster, people: tuple[Person, Person]) -> None:
    """Whoever records, sessions by it end within two seconds when it is taken back, and nothing new begins."""
    rita, dick = people
    witness = Witness(cluster)
    routes = [cluster.route(name) for name in (cluster.node_name, cluster.agentless_name)]
    jumps = [cluster.jump(name) for name in (cluster.node_name, cluster.agentless_name)]
    refused = cluster.client("asks", rita).run(*routes[0], "true")
    assert refused.rc == 255
    assert "you may ask for it: ilsh request create on-call" in refused.stderr
    asked = cluster.ilsh(
        rita.home, "request", "create", "on-call", "--reason", "incident 4711", "--for", "1h"
    ).check()
    request_id = asked.stdout.split()[1]
    own = cluster.ilsh(rita.home, "request", "review", request_id, "--approve")
    assert (own.rc, "nobody decides on a request of their own" in own.stderr) == (4, True)
    assert request_id in cluster.ilsh(dick.home, "request", "ls").check().stdout
    assert cluster.ilsh(rita.home, "request", "use", request_id).rc == 4
    cluster.ilsh(dick.home, "request", "review", request_id, "--approve", "--reason", "go").check()
    cluster.ilsh(rita.home, "request", "use", request_id).check()
    client = cluster.client("asks", rita)
    with ExitStack() as stack:
        for road in (*routes, *jumps):
            terminal = stack.enter_context(Terminal(client.argv("-tt", *road)))
            terminal.send("echo hel''lo\r")
            terminal.expect("hello")
        live = witness.wait_live(4)
        cluster.ilsh(dick.home, "request", "review", request_id, "--deny", "--reason", "it is over").check()
        ends = [witness.wait_event("session.end", sid=sid) for sid in live]
    denied = witness.wait_event("access_request.review", proposed_state="DENIED")
    assert max(map(moment, ends)) - moment(denied) <= PROMISE
    for road in (routes[0], jumps[0]):
        assert client.run(*road, "true").rc == 255


def test_who_waits_gets_it(cluster: Cluster, people: tuple[Person, Person]) -> None:
    """By an administrator's word, too."""
    rita, _ = people
    witness = Witness(cluster)
    argv = [str(cluster.programs / "ilsh"), "request", "create", "on-call", "--reason", "x", "--wait"]
    with Terminal(argv, env=cluster.env() | {"ILSH_HOME": str(rita.home), "HOME": str(rita.home)}) as waiting:
        request_id = witness.wait_event("access_request.create", user="rita", state="PENDING")["id"]
        cluster.admin("requests", "approve", request_id)
        waiting.expect("You have on-call until")
    assert cluster.client("asks", rita).run(*cluster.route(cluster.node_name), "true").rc == 0
    cluster.admin("requests", "rm", request_id)  # the other test begins without access, whichever comes first

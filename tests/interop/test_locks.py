"""Locks with the real ssh: what is live ends in words and in time, what is new is refused in the same words."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.openssh import SshClient
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

PROMISE = timedelta(seconds=2)
"""From the lock to the end of what it is about."""

ROADS = [
    ("route", Cluster.node_name),
    ("jump", Cluster.node_name),
    ("route", Cluster.agentless_name),
    ("jump", Cluster.agentless_name),
]


@pytest.fixture
def locked_person(cluster: Cluster) -> Person:
    """Somebody whose lock hurts nobody else."""
    if "lockable" not in {role["name"] for role in cluster.json("roles", "ls")}:
        cluster.admin("roles", "add", "lockable", "--logins", cluster.login_name, "--labels", "env=test")
    cluster.add_user_once("locke", "lockable")
    return cluster.login("locke")


def way(cluster: Cluster, road: str, target: str) -> tuple[str, ...]:
    """The arguments for ssh."""
    return cluster.jump(target) if road == "jump" else cluster.route(target)


@contextmanager
def locked(cluster: Cluster, *what: str, message: str = "call the security desk") -> Iterator[dict[str, Any]]:
    """A lock while the block runs; it returns when the gateway and the node have taken notice of its end."""
    lock: dict[str, Any] = cluster.json("locks", "add", *what, "--message", message)
    try:
        yield lock
    finally:
        cluster.admin("locks", "rm", lock["id"])
        client = cluster.client("unlocked", cluster.login("locke"))
        for target in (cluster.node_name, cluster.agentless_name):
            _wait_admitted(client, cluster.jump(target))


def _wait_admitted(client: SshClient, to: tuple[str, ...]) -> None:
    poll_until(lambda: client.run(*to, "true").rc == 0 or None, "the end of the lock")


def moment(event: dict[str, Any]) -> datetime:
    """When it happened."""
    return datetime.fromisoformat(event["time"])


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_a_lock_ends_a_live_session(cluster: Cluster, locked_person: Person, road: str, target: str) -> None:
    """Within two seconds, with the message on the terminal and the reason in a complete record."""
    witness = Witness(cluster)
    client = cluster.client("locks", locked_person)
    with Terminal(client.argv("-tt", *way(cluster, road, target))) as terminal:
        sid = witness.wait_live()[0]
        terminal.send("echo hel''lo\r")
        terminal.expect("hello")
        with locked(cluster, "--user", locked_person.name) as lock:
            terminal.expect("access is locked: call the security desk")
            terminal.wait()
            refused = client.run(*way(cluster, road, target), "true")
    assert refused.rc == 255
    assert "access is locked: call the security desk" in refused.stderr
    created = witness.wait_event("lock.created")
    assert created["target"] == {"user": locked_person.name}
    assert created["name"] == lock["id"]
    end = witness.wait_event("session.end", sid=sid)
    reason = witness.wait_event("client.disconnect", sid=sid)
    assert "call the security desk" in reason["reason"]
    assert moment(end) - moment(created) <= PROMISE
    witness.wait_event("session.upload", sid=sid)
    assert client.run(*way(cluster, road, target), "true").rc == 0


@pytest.mark.parametrize("kind", ["role", "login", "node"])
def test_what_a_lock_may_be_about(cluster: Cluster, locked_person: Person, kind: str) -> None:
    """Each kind ends what it is about and nothing else."""
    about = {"role": "lockable", "login": cluster.login_name, "node": cluster.agentless_name}[kind]
    client = cluster.client("locks", locked_person)
    with Terminal(client.argv("-tt", *cluster.route(cluster.agentless_name))) as terminal:
        terminal.send("echo hel''lo\r")
        terminal.expect("hello")
        with locked(cluster, f"--{kind}", about, message=""):
            terminal.expect(f"access is locked for the {kind} {about}")
            terminal.wait()
            refused = client.run(*cluster.route(cluster.agentless_name), "true")
            other = client.run(*cluster.route(cluster.node_name), "true")
    assert f"access is locked for the {kind} {about}" in refused.stderr
    assert other.rc == (0 if kind == "node" else 255)


def test_a_lock_ends_a_connection_without_sessions(cluster: Cluster, locked_person: Person) -> None:
    """A ControlMaster, or -N, that nothing runs on at the moment."""
    witness = Witness(cluster)
    client = cluster.client("locks-idle", locked_person)
    socket = client.directory / "control"
    master = (*cluster.route(cluster.agentless_name), "-o", f"ControlPath={socket}")
    with Terminal(client.argv("-M", "-N", *master)) as terminal:
        poll_until(lambda: client.run("-O", "check", *master).rc == 0, "the master")
        with locked(cluster, "--user", locked_person.name):
            terminal.expect("access is locked: call the security desk")
            terminal.wait()
    event = witness.wait_event("client.disconnect", user=locked_person.name)
    assert "call the security desk" in event["reason"]


def test_a_locked_user_cannot_sign_in(cluster: Cluster, locked_person: Person) -> None:
    """Whoever knows the password may know of the lock; whoever does not learns nothing."""
    home = cluster.directory / "home-locked"
    with locked(cluster, "--user", locked_person.name):
        refused = cluster.try_login(home, locked_person.name, "correct horse battery staple")
        stranger = cluster.try_login(home, locked_person.name, "wrong")
    assert refused.rc != 0
    assert "access is locked: call the security desk" in refused.stderr
    assert "locked" not in stranger.stderr


def test_a_lock_that_expires_admits_again(cluster: Cluster, locked_person: Person) -> None:
    """Nobody has to remember it."""
    client = cluster.client("locks", locked_person)
    cluster.admin("locks", "add", "--user", locked_person.name, "--ttl", "2s", "--message", "a moment")
    assert "a moment" in client.run(*cluster.route(cluster.node_name), "true").stderr
    poll_until(lambda: client.run(*cluster.route(cluster.node_name), "true").rc == 0, "the lock's expiry")


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_an_administrator_ends_one_session(
    cluster: Cluster, locked_person: Person, road: str, target: str
) -> None:
    """`ilctl sessions terminate`: this one and no other of the same user, wherever it is recorded."""
    witness = Witness(cluster)
    client = cluster.client("locks", locked_person)
    with Terminal(client.argv("-tt", *way(cluster, road, target))) as first:
        sid = witness.wait_live()[0]
        with Terminal(client.argv("-tt", *way(cluster, road, target))) as second:
            witness.wait_live()
            assert f"{sid} has ended" in cluster.admin("sessions", "terminate", sid, "--message", "work begins")
            first.expect("this session was ended: work begins")
            first.wait()
            second.send("echo still $((20+1))\r")
            second.expect("still 21")
            second.send("exit\r")
            second.wait()
    event = witness.wait_event("client.disconnect", sid=sid)
    assert "work begins" in event["reason"]
    witness.wait_event("session.upload", sid=sid)

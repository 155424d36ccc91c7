"""Limits and deadlines with the real ssh: refusals and ends in words; a killed gateway blocks nobody."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.openssh import SshClient
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

TARGETS = Cluster.targets
ROADS = [("route", Cluster.node_name), ("jump", Cluster.node_name), ("route", Cluster.agentless_name)]


@pytest.fixture
def limited(cluster: Cluster) -> Person:
    """Somebody whose role each test limits as it needs."""
    if "limited" not in {role["name"] for role in cluster.json("roles", "ls")}:
        cluster.admin("roles", "add", "limited", "--logins", cluster.login_name, "--labels", "env=test")
    cluster.add_user_once("lin", "limited")
    return cluster.login("lin")


@contextmanager
def options(cluster: Cluster, **values: object) -> Iterator[None]:
    """The role says this while the block runs."""
    said = [f"{name}={value}" for name, value in values.items()]
    cluster.admin("roles", "set", "limited", *(each for setting in said for each in ("--option", setting)))
    try:
        yield
    finally:
        taken = [each for name in values for each in ("--option", f"{name}=")]
        cluster.admin("roles", "set", "limited", *taken)


def way(cluster: Cluster, road: str, target: str) -> tuple[str, ...]:
    """The arguments for ssh."""
    return cluster.jump(target) if road == "jump" else cluster.route(target)


@contextmanager
def shell(client: SshClient, *arguments: str) -> Iterator[Terminal]:
    """A shell that has answered once."""
    with Terminal(client.argv("-tt", *arguments)) as terminal:
        terminal.send("echo hel''lo\r")
        terminal.expect("hello")
        yield terminal


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_a_second_connection_is_refused(cluster: Cluster, limited: Person, road: str, target: str) -> None:
    """Counted once, wherever it leads; the end of the first makes room at once."""
    client = cluster.client("limits", limited)
    witness = Witness(cluster)
    with options(cluster, max_connections=1):
        with shell(client, *way(cluster, road, target)) as first:
            done = client.run(*way(cluster, road, target), "true")
            first.send("echo still $((20+1))\r")
            first.expect("still 21")
            first.send("exit\r")
            first.wait()
        again = client.run(*way(cluster, road, target), "true")
    assert done.rc == 255
    assert 'too many concurrent ssh connections for user "lin" (max=1)' in done.stderr
    assert again.rc == 0
    event = witness.wait_event("session.rejected", user="lin")
    assert (event["code"], event["reason"], event["max"]) == ("T1006W", "max_connections limit reached", 1)


@pytest.mark.parametrize("target", TARGETS)
def test_a_third_session_on_a_shared_connection_is_refused(cluster: Cluster, limited: Person, target: str) -> None:
    """ssh shows the text of the refusal on the master's terminal; the connection and the other sessions stay.

    The client that was refused would go on to a connection of its own, which is another matter.
    """
    client = cluster.client("limits-shared", limited)
    shared = (*cluster.route(target), "-o", f"ControlPath={client.directory / 'control'}")
    witness = Witness(cluster)
    with (
        options(cluster, max_sessions=2),
        shell(client, "-M", *shared) as master,
        shell(client, *shared) as second,
    ):
        done = client.run("-o", "ProxyCommand=false", *shared, "true")
        second.send("exit\r")
        second.wait()
        assert client.run(*shared, "echo room").stdout == "room\n"
        master.send("exit\r")
        master.wait()
    assert done.rc != 0
    event = witness.wait_event("session.rejected", user="lin")
    assert (event["reason"], event["max"]) == ("max_sessions limit reached", 2)
    assert 'too many session channels for user "lin" (max=2)' in master.text


@pytest.mark.parametrize(("road", "target"), ROADS)
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("client_idle_timeout", "2s", "nothing was sent for 2 seconds"),
        ("max_session_ttl", "3s", "this connection has lasted 3 seconds"),
    ],
)
def test_a_deadline_ends_a_session(
    cluster: Cluster, limited: Person, road: str, target: str, option: str, value: str, words: str
) -> None:
    """The person reads why, and the record is complete."""
    client = cluster.client("limits", limited)
    witness = Witness(cluster)
    with options(cluster, **{option: value}), shell(client, *way(cluster, road, target)) as terminal:
        terminal.expect(words)
        terminal.wait()
    event = witness.wait_event("client.disconnect", user="lin")
    assert words in event["reason"]
    sid = event["sid"]
    witness.wait_event("session.upload", sid=sid)
    names = [event["event"] for event in cluster.events(sid)]
    assert all(
        names.count(name) == 1 for name in ("session.start", "session.end", "session.leave", "session.data")
    )


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_a_certificate_that_expires_ends_a_session(
    cluster: Cluster, limited: Person, road: str, target: str, tmp_path: Path
) -> None:
    """If the role says so: nobody stays longer than he may sign in."""
    del tmp_path
    brief = cluster.login(limited.name, options=["--ttl", "8s"])
    client = cluster.client("limits-brief", brief)
    with options(cluster, disconnect_expired_cert="yes"), shell(client, *way(cluster, road, target)) as terminal:
        terminal.expect("your certificate has expired: run ilsh login")
        terminal.wait()


@pytest.mark.slow
def test_a_killed_gateway_blocks_nobody(tmp_path: Path) -> None:
    """Its places are free when it is back, and those of a killed node when their leases have expired."""
    with Cluster(tmp_path / "cluster", mode="node") as cluster:
        cluster.admin("roles", "set", "access", "--option", "max_connections=1")
        client = cluster.client("limits", cluster.person)
        to_node, to_plain = cluster.jump(cluster.node_name), cluster.route(cluster.agentless_name)

        def enters(*arguments: str) -> bool:
            return client.run(*arguments, "true").rc == 0

        with shell(client, *to_plain):
            assert not enters(*to_plain)
            cluster.gateway.kill()
        cluster.gateway = cluster.start_gateway()
        poll_until(lambda: enters(*to_plain), "the place of the killed gateway")
        poll_until(lambda: enters(*to_node), "the node to be listed again")
        with shell(client, *to_node):
            assert not enters(*to_plain)
            cluster.node.kill()
        refused = client.run(*to_plain, "true")
        assert "too many concurrent ssh connections" in refused.stderr
        poll_until(lambda: enters(*to_plain), "the lease of the killed node to expire", timeout=60.0)

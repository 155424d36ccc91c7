"""A node behind NAT, as a process: what it opens, how it comes back, and what people see meanwhile."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import BIN, Cluster, Mode, Person
from interlock.testing.openssh import clean_env
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

LISTEN = "0A"
"""State of a listening socket in /proc/net/tcp."""


def sockets(pid: int) -> list[tuple[str, int]]:
    """State and remote port of all TCP sockets of a process."""
    held = {
        match[1]
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if (match := re.fullmatch(r"socket:\[(\d+)\]", str(fd.readlink())))
    }
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in held:
                found.append((fields[3], int(fields[2].rpartition(":")[2], 16)))
    return found


def test_the_node_has_one_connection_and_listens_nowhere(cluster: Cluster, person: Person) -> None:
    """To the proxy's one port, with a session running, its events and heartbeats included."""
    with cluster.terminal(person, *cluster.route(cluster.tunnel_name), "echo up; read go") as terminal:
        terminal.expect("up")
        found = sockets(cluster.tunnel_node.pid)
        terminal.send("go\r")
        assert terminal.wait() == 0
    assert LISTEN not in {state for state, _ in found}
    assert [port for _, port in found] == [cluster.port]
    [row] = [row for row in cluster.json("nodes", "ls") if row["hostname"] == cluster.tunnel_name]
    assert (row["addr"], row["tunnel"]) == ("tunnel", True)


def test_events_name_the_person_and_no_address_of_the_node(cluster: Cluster, person: Person) -> None:
    """By either road, whoever records: the client's own address, and no local one."""
    witness = Witness(cluster)
    client = cluster.client("addresses", person)
    for to in (cluster.route(cluster.tunnel_name), cluster.jump(cluster.tunnel_name)):
        said = client.run(*to, "echo $SSH_SESSION_ID $SSH_CLIENT; sleep 0.1").check().stdout.split()
        witness.wait_settled([said[0]])
        [start] = [event for event in cluster.events(said[0]) if event["event"] == "session.start"]
        assert start["addr.remote"] == f"{said[1]}:{said[2]}"
        assert start["addr.remote"].startswith(f"{cluster.host}:")
        assert not {"addr.local", "server_addr"} & start.keys()


@pytest.mark.parametrize("road", ["route", "jump"])
def test_a_broken_tunnel_is_told_to_the_person(cluster: Cluster, person: Person, road: str) -> None:
    """Not a hang, and not a riddle; afterwards the node is there again."""
    witness = Witness(cluster)
    to = cluster.jump(cluster.tunnel_name) if road == "jump" else cluster.route(cluster.tunnel_name)
    with cluster.terminal(person, "-tt", *to) as terminal:
        terminal.send("unset HISTFILE; echo was-$((40+2))\r")
        terminal.expect("was-42")
        live = witness.wait_live()
        cluster.tunnel_node.kill()
        terminal.expect("its tunnel to the gateway was lost")
        assert terminal.wait() == 255
    cluster.start_again(cluster.tunnel_name)
    evidence = witness.evidence(cluster.tunnel_name, seen=None, live=live)
    assert evidence.count("session.start") == evidence.count("session.end") == 1
    done = cluster.client("again", person).run(*cluster.route(cluster.tunnel_name), "echo again").check()
    assert done.stdout == "again\n"


def test_a_node_that_was_stopped_says_so_to_its_sessions(cluster: Cluster, person: Person) -> None:
    """SIGTERM: the sessions end in words before the tunnel does, and their records arrive through it."""
    witness = Witness(cluster)
    with cluster.terminal(person, "-tt", *cluster.route(cluster.tunnel_name)) as terminal:
        terminal.send("unset HISTFILE; echo was-$((40+2))\r")
        terminal.expect("was-42")
        live = witness.wait_live()
        cluster.tunnel_node.stop()
        terminal.expect("the node is being stopped")
        terminal.wait()
    try:
        evidence = witness.evidence(cluster.tunnel_name, seen=None, live=live)
    finally:
        cluster.start_again(cluster.tunnel_name)
    assert evidence.problems() == []
    assert "was-42" in cluster.recording_text(evidence.sid)


# --- nodes of one name ----------------------------------------------------------------------------


@pytest.fixture
def twin(cluster: Cluster, tmp_path: Path) -> Iterator[str]:
    """Another node with the name of the cluster's own one, behind a tunnel of its own; its ID."""
    before = {row["id"] for row in cluster.json("nodes", "ls")}
    config = tmp_path / "twin.toml"
    config.write_text(cluster.outbound_config(cluster.tunnel_name, tmp_path / "twin"))
    token = cluster.admin("tokens", "add").split()[-1]
    argv: list[str | Path] = [BIN / "interlock", "start", "--roles", "node", "-c", config]
    argv += ["--join", token, "--proxy", f"{cluster.host}:{cluster.port}"]
    daemon = cluster.start_outbound(argv, tmp_path / "twin.log")
    number = ""
    try:
        number = poll_until(
            lambda: next((row["id"] for row in cluster.json("nodes", "ls") if row["id"] not in before), None),
            "the second node",
        )
        yield number
    finally:
        daemon.stop()
        if number:
            cluster.admin("nodes", "rm", number)


def test_nodes_of_one_name_are_told_apart(cluster: Cluster, person: Person, twin: str, tmp_path: Path) -> None:
    """The name is refused with both IDs, by either road; an ID leads to the node that has it."""
    ids = {row["id"] for row in cluster.json("nodes", "ls") if row["hostname"] == cluster.tunnel_name}
    assert len(ids) == 2
    assert twin in ids
    client = cluster.client("twins", person)
    for to in (cluster.route(cluster.tunnel_name), cluster.jump(cluster.tunnel_name)):
        refused = client.run(*to, "true")
        assert refused.rc == 255
        assert "several nodes are called" in refused.stderr
        assert all(number in refused.stderr for number in ids)
    for number in ids:
        for to in (cluster.route(number), cluster.jump(number)):
            assert client.run(*to, "interlock status").check().stdout.count(number) == 1
    listed = cluster.ilsh(person.home, "ls").check().stdout
    assert all(number in listed for number in ids)
    config = tmp_path / "config"
    config.write_text(cluster.ilsh(person.home, "config").check().stdout)
    argv = ["ssh", "-F", str(config), "-o", "BatchMode=yes", "-o", "IdentityAgent=none"]
    for name in (f"{cluster.login_name}@{twin}.demo", f"{cluster.login_name}.{twin}.demo"):
        with Terminal([*argv, name, "interlock status"], env=clean_env()) as terminal:
            terminal.expect(twin)
            assert terminal.wait() == 0


@pytest.mark.parametrize("mode", ["proxy", "node"])
def test_nodes_come_back_after_the_gateway(mode: Mode, tmp_path: Path) -> None:
    """By themselves, with what they were given when they joined; the first session waits for them if it must."""
    with Cluster(tmp_path / "own", mode=mode) as cluster:
        person = cluster.person
        cluster.gateway.kill()
        cluster.gateway = cluster.start_gateway()
        done = cluster.client("back", person).run(*cluster.route(cluster.tunnel_name), "echo back")
        assert done.check().stdout == "back\n"

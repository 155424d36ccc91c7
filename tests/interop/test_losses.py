"""Somebody vanishes mid-session: exactly one end, a readable recording, nothing left over."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from interlock.domain.audit import rfc3339
from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]


@pytest.fixture
def client(cluster: Cluster, person: Person) -> SshClient:
    """The stock client with the user's certificate."""
    return cluster.client("losses", person)


def open_shell(client: SshClient, to: tuple[str, ...], mark: Path) -> Terminal:
    """A shell that has written something, with a child that would leave ``mark`` if it were not ended."""
    terminal = Terminal(client.argv("-tt", *to), env=clean_env())
    terminal.send(f"echo it-was-$((40+2)); (trap 'echo hup >{mark}; exit' HUP; sleep 600) & wait\r")
    terminal.expect("it-was-42")
    return terminal


@pytest.mark.parametrize("target", Cluster.targets)
def test_killed_client_ends_its_session_once(
    cluster: Cluster, client: SshClient, target: str, tmp_path: Path
) -> None:
    """The session ends without its client, is recorded up to there, and its processes are hung up on."""
    witness = Witness(cluster)
    with open_shell(client, cluster.route(target), tmp_path / "mark") as terminal:
        live = witness.wait_live()
        terminal.hang_up()
    evidence = witness.evidence(target, seen=None, live=live)
    assert evidence.problems() == []
    assert evidence.count("client.disconnect") == 1
    assert "it-was-42" in cluster.recording_text(evidence.sid)


@pytest.mark.parametrize("target", Cluster.our_names)
def test_killed_node_ends_its_session_once(
    cluster: Cluster, client: SshClient, target: str, tmp_path: Path
) -> None:
    """Whoever records, a node that dies leaves one session with one end and its recording up to there."""
    witness = Witness(cluster)
    with open_shell(client, cluster.route(target), tmp_path / "mark") as terminal:
        live = witness.wait_live()
        cluster.wait_kept(live, "it-was-42")
        try:
            cluster.daemon_of(target).kill()
            assert terminal.wait() != 0
        finally:
            cluster.start_again(target)
    evidence = witness.evidence(target, seen=None, live=live)
    assert evidence.count("session.start") == evidence.count("session.end") == 1
    assert len(evidence.recordings) == 1
    assert evidence.ids_equal
    assert "it-was-42" in cluster.recording_text(evidence.sid)


RECORDS_IN = {"gateway": "proxy", "node": "node"}
"""In which mode the daemon is the one that records, so that the session ends with it."""


@pytest.mark.parametrize("kind", ["shell", "exec"])
@pytest.mark.parametrize("victim", ["gateway", "node"])
def test_a_daemon_that_is_killed_at_a_sessions_start(
    cluster: Cluster, client: SshClient, victim: str, kind: str
) -> None:
    """The first thing that runs kills auth and proxy, or the node: the session appears all the same, once."""
    witness = Witness(cluster)
    daemon = cluster.gateway if victim == "gateway" else cluster.node
    kill = f"kill -9 {daemon.pid}"
    to = cluster.route(cluster.node_name)
    try:
        argv = client.argv(*to, kill) if kind == "exec" else client.argv("-tt", *to)
        with Terminal(argv, env=clean_env()) as terminal:
            if kind == "shell":
                terminal.send(f"{kill}\r")
            assert terminal.wait() != 0
        daemon.wait()
        killed = rfc3339(datetime.now(UTC))
    finally:
        daemon.kill()
        if victim == "gateway":
            cluster.gateway = cluster.start_gateway()
        else:
            cluster.node = cluster.start_node()
        cluster.wait_listed()
    sid = witness.wait_event("session.upload", server_hostname=cluster.node_name)["sid"]
    evidence = witness.evidence(cluster.node_name, seen=None, live=[sid])
    assert [evidence.count(f"session.{name}") for name in ("start", "end", "leave", "upload")] == [1, 1, 1, 1]
    assert evidence.ids_equal
    [end] = [event for event in evidence.events if event["event"] == "session.end"]
    assert end["session_start"] <= end["session_stop"]
    if cluster.mode == RECORDS_IN[victim]:
        assert end["session_stop"] <= killed
    [row] = [row for row in cluster.json("recordings", "ls") if row["sid"] == sid]
    assert row["state"] in ("complete", "cut off")


@pytest.mark.slow
def test_a_node_that_stays_away(node_cluster: Cluster, tmp_path: Path) -> None:
    """Auth ends its session, and says where the recording is; when the node is back there is one of everything."""
    cluster = node_cluster
    witness = Witness(cluster)
    client = cluster.client("away", cluster.person)
    with open_shell(client, cluster.route(cluster.node_name), tmp_path / "mark") as terminal:
        [sid] = witness.wait_live()
        cluster.wait_kept([sid], "it-was-42")
        cluster.node.kill()
        try:
            assert terminal.wait() != 0
            end = witness.wait_event("session.end", sid=sid, within=90)
            assert end["synthesized"] == "auth"
            [row] = [row for row in cluster.json("recordings", "ls") if row["sid"] == sid]
            assert row["state"] == "on node"
        finally:
            cluster.node = cluster.start_node()
            cluster.wait_listed()
    evidence = witness.evidence(cluster.node_name, seen=None, live=[sid])
    assert [evidence.count(f"session.{name}") for name in ("start", "end", "leave", "upload")] == [1, 1, 1, 1]
    [row] = [row for row in cluster.json("recordings", "ls") if row["sid"] == sid]
    assert row["state"] == "cut off"
    assert "it-was-42" in cluster.recording_text(sid)


def test_killed_target_server_ends_the_session_once(cluster: Cluster, client: SshClient, tmp_path: Path) -> None:
    """A plain sshd's session process that dies is no different."""
    witness = Witness(cluster)
    with open_shell(client, cluster.route(cluster.agentless_name), tmp_path / "mark") as terminal:
        live = witness.wait_live()
        cluster.agentless.stop()
        try:
            assert terminal.wait() != 0
        finally:
            cluster.agentless.start()
    evidence = witness.evidence(cluster.agentless_name, seen=None, live=live)
    assert evidence.problems() == []


@pytest.mark.parametrize("target", Cluster.our_names)
def test_twenty_sessions_on_one_connection(cluster: Cluster, client: SshClient, target: str) -> None:
    """Channels that share a connection have an ID, a recording and a set of events each."""
    control = f"ControlPath={client.directory}/m"
    to = cluster.route(target)
    witness = Witness(cluster)
    with Terminal(client.argv("-M", "-N", "-o", control, *to), env=clean_env()) as _:
        poll_until((client.directory / "m").exists, "socket of the master")
        twenty(witness, client, ("-o", control, *to))


@pytest.mark.parametrize("target", [Cluster.tunnel_name, Cluster.agentless_name])
def test_twenty_connections_at_once(cluster: Cluster, client: SshClient, target: str) -> None:
    """So have sessions that are opened at the same moment."""
    twenty(Witness(cluster), client, cluster.route(target))


def twenty(witness: Witness, client: SshClient, to: tuple[str, ...]) -> None:
    """Open twenty sessions, end them, and look at each."""
    terminals = [Terminal(client.argv(*to, f"echo here-{n}; read go"), env=clean_env()) for n in range(20)]
    try:
        for n, terminal in enumerate(terminals):
            terminal.expect(f"here-{n}")
        live = witness.wait_live(20)
        for terminal in terminals:
            terminal.send("go\r")
            assert terminal.wait() == 0
    finally:
        for terminal in terminals:
            terminal.close()
    assert len(set(live)) == 20
    witness.wait_settled(live)
    for name in ("session.start", "session.end", "session.data", "session.upload"):
        sids = sorted(e["sid"] for e in witness.new_events() if e["event"] == name)
        assert sids == sorted(live), name

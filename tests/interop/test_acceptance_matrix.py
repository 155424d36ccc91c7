"""The acceptance matrix: recording mode x target x route x shell or exec, with the real OpenSSH client.

Each cell is one session, and every place that shows an ID must show the same one; see testing.evidence.
"""

import pytest

from interlock.testing.evidence import Evidence, Witness
from interlock.testing.gateway import Cluster, Person
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TARGETS = Cluster.targets

SHOW = 'echo "sid=[$SSH_SESSION_ID]"; read go; exit 6'


@pytest.fixture
def client(cluster: Cluster, person: Person) -> SshClient:
    """The stock client with the user's certificate."""
    return cluster.client("matrix", person)


def destination(cluster: Cluster, target: str, route: str) -> tuple[str, ...]:
    """The arguments of ssh that lead to the target."""
    return cluster.jump(target) if route == "jump" else cluster.route(target)


def look(cluster: Cluster, target: str, argv: list[str], typed: str = "") -> Evidence:
    """One session from its start to the stored recording."""
    witness = Witness(cluster)
    with Terminal(argv, env=clean_env()) as terminal:
        terminal.send(typed)
        printed = terminal.expect(r"sid=\[([0-9a-f-]*)\]").group(1).decode()
        live = witness.wait_live()
        terminal.send("go\r")
        assert terminal.wait() == 6
    assert bool(printed) == cluster.is_ours(target), "our node tells the ID; a plain sshd knows of none"
    return witness.evidence(target, seen=printed or None, live=live)


@pytest.mark.parametrize("route", ["user%node", "jump"])
@pytest.mark.parametrize("target", TARGETS)
def test_shell_has_one_id_everywhere(cluster: Cluster, client: SshClient, target: str, route: str) -> None:
    """An interactive shell is recorded once, under one ID, with one set of events."""
    argv = client.argv("-tt", *destination(cluster, target, route))
    evidence = look(cluster, target, argv, typed=f"{SHOW}\r")
    assert evidence.problems() == []
    assert evidence.count("client.disconnect") == 0
    assert evidence.count("exec") == 0
    assert "sid=[" in cluster.recording_text(evidence.sid)


@pytest.mark.parametrize("route", ["user%node", "jump"])
@pytest.mark.parametrize("target", TARGETS)
def test_exec_has_one_id_everywhere(cluster: Cluster, client: SshClient, target: str, route: str) -> None:
    """A command without a terminal is recorded with its output, and its exit code is in the audit log."""
    argv = client.argv(*destination(cluster, target, route), SHOW)
    evidence = look(cluster, target, argv)
    assert evidence.problems() == []
    assert evidence.count("client.disconnect") == 0
    [executed] = [e for e in evidence.events if e["event"] == "exec"]
    assert (executed["command"], executed["exitCode"]) == (SHOW, "6")
    assert "sid=[" in cluster.recording_text(evidence.sid)


def test_two_channels_on_one_connection_are_two_sessions(cluster: Cluster, client: SshClient) -> None:
    """ControlMaster shares the connection, never the session."""
    witness = Witness(cluster)
    control = f"ControlPath={client.directory}/master"
    to = cluster.route(cluster.node_name)
    with Terminal(client.argv("-M", "-o", control, *to, SHOW), env=clean_env()) as first:
        first.expect(r"sid=")
        with Terminal(client.argv("-o", control, *to, SHOW), env=clean_env()) as second:
            second.expect(r"sid=")
            live = witness.wait_live(2)
            for terminal in (second, first):
                terminal.send("go\r")
                assert terminal.wait() == 6
    events = witness.wait_settled(live)
    assert sorted(e["sid"] for e in events if e["event"] == "session.end" and e["sid"] in live) == sorted(live)
    assert len(set(live)) == 2

"""One connection of ssh shared by many (ControlMaster), kept in the background, or left in the middle."""

import os
import signal
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster, Person, Road
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.procs import Completed, poll_until, run
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TARGETS = Cluster.targets
ROADS: list[Road] = ["route", "jump"]


@pytest.fixture(params=[(target, road) for target in TARGETS for road in ROADS], ids="-".join)
def place(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """Each target by each road."""
    target, road = request.param
    return cluster.place(target, road)


@pytest.fixture
def client(cluster: Cluster, person: Person, place: str) -> Iterator[SshClient]:
    """A stock client that shares its connections, the jump's too; what is in the background then is ended."""
    with TemporaryDirectory(prefix="cm-") as short:  # a socket's path has 107 characters at most
        options = {"ControlPath": f"{short}/%C", "ControlMaster": "auto"}
        shared = cluster.client("shared", person, options)
        yield shared
        for host in (place, "gateway"):
            told(shared, "exit", host)


def told(client: SshClient, command: str, place: str) -> Completed:
    """What the master says to ``ssh -O command``."""
    return client.run("-O", command, place)


def go_to_background(client: SshClient, place: str) -> None:
    """``ssh -f -N``, which holds the outputs that it was given for as long as it lives."""
    silently = ["sh", "-c", 'exec "$@" >/dev/null 2>&1', "sh"]
    run([*silently, *client.argv("-f", "-N", "-M", place)], env=clean_env()).check()


def test_sessions_of_one_connection_have_ids_of_their_own(cluster: Cluster, client: SshClient, place: str) -> None:
    """``ssh -fNM``, commands through it, ``-O check``, ``-O exit``: one connection, a session for each command."""
    witness = Witness(cluster)
    go_to_background(client, place)
    assert "Master running" in told(client, "check", place).stderr
    for number in range(3):
        assert client.run(place, f"echo {number}").check().stdout == f"{number}\n"
    assert "Exit request sent" in told(client, "exit", place).check().stderr

    def started() -> list[str] | None:
        events = witness.new_events()
        ended = {e["sid"] for e in events if e["event"] == "session.end" and e.get("initial_command")}
        return sorted(ended) if len(ended) >= 3 else None

    assert len(poll_until(started, "three sessions")) == 3
    assert "No such file" in told(client, "check", place).stderr


def test_connection_persists_for_the_next_command(client: SshClient, place: str) -> None:
    """ControlPersist: the first command leaves a master behind that the second one uses; ``-O stop`` ends it."""
    options = ("-o", "ControlPersist=60")
    assert client.run(*options, place, "echo one; exit 3").rc == 3
    assert "Master running" in told(client, "check", place).stderr
    assert client.run("-o", "ControlMaster=no", place, "cat", stdin=b"two").check().stdout == "two"
    told(client, "stop", place).check()
    poll_until(lambda: "No such file" in told(client, "check", place).stderr, "end of the master")


def test_killed_background_connection(client: SshClient, place: str) -> None:
    """``ssh -f -N`` that somebody kills leaves nothing, which the fixture for all tests here asserts."""
    go_to_background(client, place)
    words = told(client, "check", place).stderr  # Master running (pid=123)
    pid = int(words.partition("pid=")[2].split(")")[0])
    os.kill(pid, signal.SIGKILL)
    assert "Connection refused" in told(client, "check", place).stderr


def test_escape_ends_a_session_that_hangs(client: SshClient, place: str) -> None:
    """``~.`` leaves a session whose command never ends."""
    with Terminal(client.argv("-tt", "-S", "none", place, "echo up; sleep 600"), env=clean_env()) as terminal:
        terminal.expect("up")
        terminal.send("\r~.")
        terminal.expect("Connection to .* closed")
        assert terminal.wait() == 255


def test_interrupted_command(client: SshClient, place: str) -> None:
    """Ctrl-C at a command without a terminal ends ssh at once, and the command with its session."""
    with Terminal(client.argv("-T", "-S", "none", place, "echo up; sleep 600"), env=clean_env()) as terminal:
        terminal.expect("up")
        terminal.send("\x03")
        assert terminal.wait() != 0

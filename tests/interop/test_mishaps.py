"""What goes wrong at a person's end: wrong names, keys pressed in the middle, programs and hosts that die."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from interlock.testing.gateway import Cluster, Person, Road
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.ports import LOOPBACK
from interlock.testing.procs import descendants, poll_until, run
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

TARGETS = Cluster.targets
ROADS: list[Road] = ["route", "jump"]
UNKNOWN = "nosuch"
SILENT = "silent1"
ONCE = pytest.mark.xdist_group("proxy-mode")
"""For what does not depend on the recording mode, and so uses one cluster of the two."""
COPIES = {
    "scp": ["scp", "{place}:/etc/hostname", "{here}"],
    "old scp": ["scp", "-O", "{place}:/etc/hostname", "{here}"],
    "sftp": ["sftp", "{place}:/etc/hostname", "{here}"],
    "rsync": ["rsync", "{place}:/etc/hostname", "{here}"],
    "git": ["git", "clone", "-q", "{place}:/srv/nothing.git", "{here}/clone"],
}


@pytest.fixture
def client(cluster: Cluster, person: Person) -> SshClient:
    """The stock client with the user's certificate."""
    return cluster.client("mishaps", person)


@pytest.fixture
def silent(proxy_cluster: Cluster) -> Iterator[socket.socket]:
    """A target that takes connections and never says a word; the gateway's is the next that `accept` returns."""
    key = proxy_cluster.agentless.host_key.path.with_name("host_key.pub")
    with socket.create_server((LOOPBACK, 0)) as listener:
        addr = f"{LOOPBACK}:{listener.getsockname()[1]}"
        proxy_cluster.admin("nodes", "add", SILENT, "--addr", addr, "--labels", "env=test", "--host-key", key)
        listener.settimeout(30)
        yield listener
        proxy_cluster.admin("nodes", "rm", SILENT)


@ONCE
@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("tool", COPIES)
def test_misspelled_node_is_named_by_every_tool(
    proxy_cluster: Cluster, tool: str, road: Road, tmp_path: Path
) -> None:
    """Whatever the tool makes of it, the person reads which name is unknown."""
    client = proxy_cluster.client("misspelled", proxy_cluster.person)
    client.blocks = [*client.blocks, f"Host {UNKNOWN}\n  ProxyJump gateway"]
    client.write()
    place = proxy_cluster.place(UNKNOWN, road)
    program, *arguments = [word.format(place=place, here=tmp_path) for word in COPIES[tool]]
    argv = [program, *arguments] if program in {"rsync", "git"} else client.argv(*arguments, program=program)
    done = run(argv, env={**client.env(), "HOME": str(tmp_path)})
    assert done.rc != 0
    assert f"unknown node {UNKNOWN}" in done.stderr


def test_jump_to_another_port_is_refused(client: SshClient, cluster: Cluster) -> None:
    """A jump leads to SSH and nothing else; what is wrong is named."""
    done = client.run("-p", "2222", *cluster.jump(cluster.agentless_name), "true")
    assert done.rc == 255
    assert f"only the SSH port of {cluster.agentless_name} can be reached through this gateway" in done.stderr


@ONCE
def test_person_without_certificate_is_told_to_sign_in(proxy_cluster: Cluster) -> None:
    """In a terminal, ssh shows what a stranger should do."""
    person = proxy_cluster.person
    stranger = proxy_cluster.client("stranger", person, {"BatchMode": "no"})
    stranger.keys = []
    stranger.write()
    place = proxy_cluster.place(proxy_cluster.node_name, "route")
    with Terminal(stranger.argv(place), env=clean_env()) as terminal:
        terminal.expect(
            "This gateway admits by certificate or enrolled key, and yours is missing or not valid: run ilsh login"
        )
        terminal.expect("Permission denied")
        assert terminal.wait() == 255


@ONCE
def test_impatient_person_at_a_silent_target(proxy_cluster: Cluster, silent: socket.socket) -> None:
    """Ctrl-C ends ssh while the gateway still dials, and the gateway gives up after its time for that."""
    with proxy_cluster.terminal(proxy_cluster.person, *proxy_cluster.route(SILENT)) as terminal:
        dialled, _ = silent.accept()
        with dialled:
            terminal.send("\x03")
            assert terminal.wait() != 0
            dialled.settimeout(30)
            while dialled.recv(4096):
                pass


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("target", TARGETS)
def test_flood_is_stopped_by_the_keyboard(client: SshClient, cluster: Cluster, target: str, road: Road) -> None:
    """Ctrl-C reaches a command that fills the screen."""
    place = cluster.place(target, road)
    with Terminal(
        client.argv("-tt", place, "trap : INT; yes; echo stopped-$((1+1))"), env=clean_env()
    ) as terminal:
        terminal.expect(b"y\r\n" * 10_000)
        terminal.send("\x03")
        terminal.expect("stopped-2")
        assert terminal.wait() == 0


@contextmanager
def slow_copy(client: SshClient, place: str, directory: Path) -> Iterator[Terminal]:
    """scp in the middle of a file that would take it a minute."""
    here, there = directory / "here", directory / "there"
    here.write_bytes(os.urandom(8_000_000))
    with Terminal(client.argv("-l", "1000", str(here), f"{place}:{there}", program="scp"), env=clean_env()) as scp:
        poll_until(lambda: there.exists() and there.stat().st_size > 0, "first bytes of the copy")
        yield scp
    assert there.stat().st_size < here.stat().st_size


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("target", TARGETS)
def test_copy_that_is_interrupted(
    client: SshClient, cluster: Cluster, target: str, road: Road, tmp_path: Path
) -> None:
    """Ctrl-C ends scp, which leaves a part of the file and nothing else."""
    with slow_copy(client, cluster.place(target, road), tmp_path) as scp:
        scp.send("\x03")
        assert scp.wait() != 0


@pytest.mark.parametrize("target", TARGETS)
def test_copy_whose_program_is_killed(client: SshClient, cluster: Cluster, target: str, tmp_path: Path) -> None:
    """So does a copy that vanishes without a word."""
    with slow_copy(client, cluster.place(target, "route"), tmp_path) as scp:
        for pid in [scp.pid, *descendants(scp.pid)]:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("road", ROADS)
def test_target_that_dies_under_a_copy(client: SshClient, cluster: Cluster, road: Road, tmp_path: Path) -> None:
    """scp fails and says that the connection was closed; what becomes of a shell is in test_losses."""
    with slow_copy(client, cluster.place(cluster.agentless_name, road), tmp_path) as scp:
        cluster.agentless.stop()
        try:
            scp.expect("the target closed the connection" if road == "route" else "closed")
            assert scp.wait() != 0
        finally:
            cluster.agentless.start()

"""Dropbear, as client and as target: it knows no certificates, so it gets no further than words that say so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import PASSWORD, Cluster, Person, Road
from interlock.testing.openssh import clean_env
from interlock.testing.ports import LOOPBACK, free_port
from interlock.testing.procs import Daemon, run
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120), pytest.mark.xdist_group("proxy-mode")]

NAME = "drop1"


@pytest.fixture
def cluster(proxy_cluster: Cluster) -> Cluster:
    """The door is the same in both recording modes."""
    return proxy_cluster


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Where dbclient looks for keys and known hosts, and has none."""
    return {**clean_env(), "HOME": str(tmp_path)}


@pytest.fixture
def dropbear(cluster: Cluster, tmp_path: Path, env: dict[str, str]) -> Iterator[str]:
    """A Dropbear server that is registered as a target."""
    key, public, port = tmp_path / "host", tmp_path / "host.pub", free_port()
    made = run(["dropbearkey", "-t", "ed25519", "-f", key], env=env).check().stdout
    public.write_text(next(line for line in made.splitlines() if line.startswith("ssh-ed25519")) + "\n")
    argv: list[str | Path] = [
        "dropbear",
        "-F",
        "-E",
        "-r",
        key,
        "-p",
        f"{LOOPBACK}:{port}",
        "-P",
        tmp_path / "pid",
    ]
    with Daemon(argv, log=tmp_path / "log", env={**env, "PATH": f"{env['PATH']}:/usr/sbin"}) as server:
        server.wait_port(LOOPBACK, port)
        add: list[str | Path] = ["--addr", f"{LOOPBACK}:{port}", "--labels", "env=test", "--host-key", public]
        cluster.admin("nodes", "add", NAME, *add)
        yield NAME
        cluster.admin("nodes", "rm", NAME)


def dbclient(cluster: Cluster, user: str, *arguments: str | Path) -> list[str | Path]:
    """The command line of dbclient towards the gateway, whose host certificate it cannot judge."""
    return ["dbclient", "-y", "-y", *arguments, "-p", str(cluster.port), f"{user}@{cluster.host}"]


@pytest.mark.parametrize("road", ["route", "jump"])
def test_dropbear_as_target_is_refused_by_name(
    cluster: Cluster, person: Person, dropbear: str, road: Road
) -> None:
    """The person learns what is wrong with the host, not that an account might be missing."""
    witness = Witness(cluster)
    to = cluster.jump(dropbear) if road == "jump" else cluster.route(dropbear)
    done = cluster.client("dropbear", person).run(*to, "true")
    assert done.rc == 255
    assert f"{dropbear} cannot be reached: its SSH server, Dropbear, knows no certificates" in done.stderr
    event = witness.wait_event("session.rejected", server_hostname=dropbear)
    assert "Dropbear" in event["message"]


def test_dbclient_is_told_that_it_needs_a_certificate(
    cluster: Cluster, person: Person, env: dict[str, str], tmp_path: Path
) -> None:
    """The right key without its certificate, which Dropbear's key files cannot hold, opens nothing."""
    key = tmp_path / "id"
    run(["dropbearconvert", "openssh", "dropbear", person.key.path, key], env=env).check()
    witness = Witness(cluster)
    [user] = [place.partition("@")[0] for place in cluster.route(cluster.node_name)]
    done = run([*dbclient(cluster, user, "-i", key), "true"], env=env)
    assert done.rc == 1
    assert (
        "This gateway admits by certificate or enrolled key, and yours is missing or not valid: run ilsh login."
        in done.stderr
    )
    event = witness.wait_event("auth", user=user)
    assert event["error"] == "a key without a certificate was offered"


def test_dbclient_signs_in_by_password_and_is_told_the_way_on(cluster: Cluster, env: dict[str, str]) -> None:
    """The portal opens to a password; it says that a node is reached by another user name."""
    with Terminal(dbclient(cluster, cluster.user), env=env) as terminal:
        terminal.expect("Password: ")
        terminal.send(PASSWORD + "\r")
        terminal.expect("to reach a node use: ssh LOGIN%NODE@GATEWAY")
        assert terminal.wait() == 1


def test_jump_by_dbclient_is_refused_and_told_to_the_log(cluster: Cluster, env: dict[str, str]) -> None:
    """``dbclient -B``: Dropbear shows its user only that the connection ended; the log has the reason."""
    witness = Witness(cluster)
    command = dbclient(cluster, cluster.user, "-B", f"{cluster.node_name}:22")
    done = run(command, env={**env, "DROPBEAR_PASSWORD": PASSWORD})
    assert "closed" in done.stderr
    event = witness.wait_event("port", user=cluster.user)
    assert (event["code"], event["error"]) == ("T3003E", "direct-tcpip after a sign-in by password")


def test_dbclient_without_a_common_cipher_says_so(cluster: Cluster, env: dict[str, str]) -> None:
    """A gateway's own choice is AES-GCM alone, which Debian's Dropbear lacks: ``[proxy] ciphers`` can add more."""
    done = run(dbclient(cluster, cluster.user, "-c", "aes128-ctr"), env=env)
    assert done.rc == 1
    assert "No matching algo enc c->s" in done.stderr

"""Roles that say what a session may begin, and from where somebody may come, with the real tools on every road."""

from pathlib import Path

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster
from interlock.testing.openssh import SshClient
from interlock.testing.procs import run

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180)]

ROADS = [(road, target) for road in ("route", "jump") for target in Cluster.targets]


def client_of(cluster: Cluster, name: str, *options: str) -> SshClient:
    """Somebody whose role has these options."""
    if name not in {role["name"] for role in cluster.json("roles", "ls")}:
        said = [word for option in options for word in ("--option", option)]
        cluster.admin("roles", "add", name, "--logins", cluster.login_name, "--labels", "env=test", *said)
        cluster.add_user(name, name)
    return cluster.client(name, cluster.login(name))


def way(cluster: Cluster, road: str, target: str) -> tuple[tuple[str, ...], str]:
    """Options of the tools, and the host."""
    if road == "route":
        return (), cluster.route(target)[0]
    *options, host = cluster.jump(target)
    return tuple(options), host


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_commands_only(cluster: Cluster, road: str, target: str, tmp_path: Path) -> None:
    """No shell, no sftp, and so no scp but by -O; each refusal in words, and in the audit log."""
    client = client_of(cluster, "kinds-exec", "session_kinds=exec")
    options, host = way(cluster, road, target)
    witness, there = Witness(cluster), tmp_path / "there"
    assert client.run(*options, host, "echo hello").check().stdout == "hello\n"
    client.run(*options, "-O", __file__, f"{host}:{there}", program="scp").check()
    assert there.read_bytes() == Path(__file__).read_bytes()
    shell = client.run(*options, "-tt", host, stdin=b"exit\n")
    sftp = client.run(*options, host, program="sftp")
    scp = client.run(*options, "-s", __file__, f"{host}:{tmp_path}/other", program="scp")
    for done, words in ((shell, "shells"), (sftp, "sftp"), (scp, "sftp")):
        assert done.rc != 0
        assert f"your role does not allow {words}" in done.stdout + done.stderr
    assert not (tmp_path / "other").exists()
    witness.wait_event("session.rejected", server_hostname=target)
    witness.wait_event("sftp", code="TS020E", server_hostname=target)


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_sftp_only(cluster: Cluster, road: str, target: str, tmp_path: Path) -> None:
    """No command, whatever it is called, with and without a terminal."""
    client = client_of(cluster, "kinds-sftp", "session_kinds=sftp")
    options, host = way(cluster, road, target)
    witness, there = Witness(cluster), tmp_path / "there"
    client.run(*options, "-b", "-", host, stdin=f"put {__file__} {there}\n".encode(), program="sftp").check()
    assert there.read_bytes() == Path(__file__).read_bytes()
    made = tmp_path / "made"
    attempts = [
        client.run(*options, host, f"touch {made}"),
        client.run(*options, "-tt", host, f"touch {made}"),
        client.run(*options, host, f"rsync --server . {made}"),
        client.run(*options, "-O", __file__, f"{host}:{made}", program="scp"),
    ]
    for done in attempts:
        assert done.rc != 0
        assert "your role does not allow commands" in done.stdout + done.stderr
    assert not made.exists()
    witness.wait_event("exec", code="T3002E", server_hostname=target)


@pytest.mark.parametrize(("road", "target"), ROADS)
def test_where_somebody_comes_from(cluster: Cluster, road: str, target: str) -> None:
    """By the person's own address on every road, never by the proxy's, which is near to every node."""
    options, host = way(cluster, road, target)
    home = client_of(cluster, "from-here", "source_networks=127.0.0.0/8")
    assert home.run(*options, host, "echo hello").check().stdout == "hello\n"
    away = client_of(cluster, "from-elsewhere", "source_networks=192.0.2.0/24")
    refused = away.run(*options, host, "true")
    assert refused.rc != 0
    assert "your roles do not let you come from this address" in refused.stderr


def test_a_node_that_is_reached_directly_looks_itself(node_cluster: Cluster) -> None:
    """It asks auth what the roles say."""
    [addr] = [row["addr"] for row in node_cluster.json("nodes", "ls") if row["hostname"] == node_cluster.node_name]
    host, _, port = addr.rpartition(":")
    direct = (
        "-p",
        port,
        "-o",
        f"HostKeyAlias={node_cluster.node_name}",
        f"{node_cluster.login_name}@{host}",
        "true",
    )
    for name, networks, code in (("from-here", "127.0.0.0/8", 0), ("from-elsewhere", "192.0.2.0/24", 255)):
        done = client_of(node_cluster, name, f"source_networks={networks}").run(*direct)
        assert (done.rc, "come from this address" in done.stderr) == (code, code != 0)


@pytest.mark.parametrize("road", ["route", "jump"])
def test_a_certificate_that_is_bound_to_an_address_is_good_on_every_road(node_cluster: Cluster, road: str) -> None:
    """Also behind a jump, where the node would see another one; stock tools see the option."""
    client = client_of(node_cluster, "pinned", "pin_source_ip=yes")
    options, host = way(node_cluster, road, node_cluster.node_name)
    client.run(*options, host, "true").check()
    certificate = next((node_cluster.directory / "home-pinned").rglob("id-cert.pub"))
    shown = run(["ssh-keygen", "-L", "-f", certificate]).check().stdout
    assert "source-address 127.0.0.1/32" in shown

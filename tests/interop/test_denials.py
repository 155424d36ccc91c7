"""What a role denies is denied with every tool on every road, from the moment when somebody gets the role."""

from pathlib import Path

import pytest

from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.timeout(180), pytest.mark.xdist_group("node-mode")]


def test_a_denied_login(node_cluster: Cluster, tmp_path: Path) -> None:
    """By route and jump, to all kinds of targets, and to the node directly; nobody has to sign in again for it."""
    cluster, there = node_cluster, tmp_path / "there"
    joins = ["--option", "join_sessions=peer,observer"]
    cluster.admin("roles", "add", "helper", "--logins", cluster.login_name, "--labels", "env=test", *joins)
    cluster.admin("roles", "add", "not-that", "--deny-logins", cluster.login_name, "--deny-labels", "env=tes*")
    cluster.add_user("denise", "helper")
    client = cluster.client("denise", cluster.login("denise"))
    [addr] = [row["addr"] for row in cluster.json("nodes", "ls") if row["hostname"] == cluster.node_name]
    host, _, port = addr.rpartition(":")
    direct = ("-p", port, "-o", f"HostKeyAlias={cluster.node_name}", f"{cluster.login_name}@{host}")
    roads = [road(name) for road in (cluster.route, cluster.jump) for name in cluster.targets]
    for road in (roads[0], direct):
        client.run(*road, "true").check()
    cluster.admin("users", "set", "denise", "--roles", "helper,not-that")
    poll_until(lambda: client.run(*roads[0], "true").rc == 255 or None, "the denial")
    for *options, where in (*roads, direct):
        attempts = [
            client.run(*options, where, f"touch {there}"),
            client.run(*options, "-W", "127.0.0.1:22", where),
        ]
        if where != direct[-1]:  # whose port the others would write otherwise
            attempts += [
                client.run(*options, "-b", "-", where, stdin=f"put {__file__} {there}\n".encode(), program="sftp"),
                client.run(*options, "-O", __file__, f"{where}:{there}", program="scp"),
            ]
        for done in attempts:
            assert (done.rc != 0, "access denied: you may not log in as" in done.stderr) == (True, True), (
                done.stderr
            )
    assert not there.exists()
    witness = Witness(cluster)
    with Terminal(cluster.client("owner", cluster.person).argv("-tt", *roads[0])) as owner:
        owner.send("echo hel''lo\r")
        owner.expect("hello")
        [sid] = witness.wait_live()
        joined = client.run("-tt", f"join%{sid}@gateway")
        assert (joined.rc, "no role of yours lets you join" in joined.stderr) == (255, True)
        owner.send("exit\r")
        owner.wait()
    cluster.admin("users", "set", "denise", "--roles", "helper")
    poll_until(lambda: client.run(*roads[0], "true").rc == 0 or None, "the end of the denial")

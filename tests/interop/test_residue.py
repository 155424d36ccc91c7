"""The check that ends every test here would notice what is left: a live session is found in every place."""

import pytest

from interlock.testing.gateway import Cluster, Person
from interlock.testing.procs import poll_until
from interlock.testing.residue import Residue

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]


@pytest.mark.parametrize("target", Cluster.targets)
def test_live_session_is_residue(cluster: Cluster, person: Person, target: str) -> None:
    """Its tracker, its sockets and its processes are named, and are gone when it has ended."""
    residue = Residue(cluster)
    with cluster.terminal(person, *cluster.route(target), "echo up; read go") as terminal:
        terminal.expect("up")
        poll_until(lambda: cluster.json("sessions", "ls") or None, "the session in the list")  # written behind
        found = "\n".join(residue.found())
        terminal.send("go\r")
        assert terminal.wait() == 0
    server = {cluster.node_name: "node", cluster.tunnel_name: "tunnel node"}.get(target, "sshd")
    sockets = 1 if target == cluster.tunnel_name else 2  # the client's, and the one to the target if it is dialled
    for what in ("live tracker", f"gateway: {sockets} more of socket", f"{server}: child process"):
        assert what in found
    residue.wait_none()
    assert residue.found() == []

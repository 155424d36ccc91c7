"""The authority of the daemons changes under two auths, two proxies and their nodes, while people work."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from interlock.testing.machines import Machines
from interlock.testing.openssh import SshClient, clean_env
from interlock.testing.postgres import PostgresServer
from interlock.testing.procs import poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(240)]

PHASES = ("init", "update_clients", "update_servers", "standby")


@pytest.fixture
def machines(postgres: PostgresServer, tmp_path: Path) -> Iterator[Machines]:
    """Two auths on one PostgreSQL, two proxies that reach each other, and nodes of both kinds."""
    with (
        postgres.database() as name,
        Machines(tmp_path, database=postgres.url(name, tcp=True), auths=2, proxies=2) as cluster,
    ):
        yield cluster


def _standing(cluster: Machines) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {each["type"]: each for each in cluster.json("auth", "status")}
    return found["daemon"]


def _rotate(cluster: Machines, *options: str) -> None:
    cluster.admin("auth", "rotate", "--type", "daemon", *options)


def _ready(cluster: Machines) -> None:
    """All daemons are, of whom each is asked by name."""
    poll_until(lambda: not _standing(cluster)["waiting_for"] or None, "daemons to be ready", 15.0)


def _works(cluster: Machines, client: SshClient) -> None:
    """By either proxy, to every kind of target: the node that dials out has its tunnel at the first one."""
    for number in range(len(cluster.ports)):
        cluster.through(number)
        for target in cluster.targets:
            poll_until(partial(_admitted, cluster, client, target), f"a session at {target} by proxy {number}")
    cluster.through(0)


def _admitted(cluster: Machines, client: SshClient, target: str) -> bool | None:
    done = client.run("-p", str(cluster.port), *cluster.route(target), "echo here")
    return (done.rc, done.stdout) == (0, "here\n") or None


def test_nobody_notices(machines: Machines) -> None:
    """No daemon starts again, a session goes on, the peers' ways, tunnels and both auths work in each phase."""
    client = machines.client("works", machines.person)
    pins = set()
    with Terminal(
        machines.client("stays", machines.person).argv("-tt", *machines.route("node1")), env=clean_env()
    ) as session:
        session.send("echo be''gun\r")
        session.expect("begun")
        for phase in PHASES:
            _rotate(machines, *(["--force"] if phase == "standby" else []))  # ten minutes are for beacons
            standing = _standing(machines)
            assert standing["phase"] == phase
            pins |= set(standing["keys"])
            if phase != "standby":
                _ready(machines)
            _works(machines, client)
        [pin] = _standing(machines)["keys"]
        assert len(pins) == 2
        poll_until(lambda: _all_by(machines, pin), "daemons that trust the new authority alone", 15.0)
        session.send("echo still he''re\r")
        session.expect("still here")
    for name in ("gateway", "auth1", "proxy0", "proxy1", "node", "tunnel"):
        log = (machines.directory / f"{name}.log").read_text()
        assert "Traceback" not in log, name


def _all_by(cluster: Machines, pin: str) -> bool | None:
    found = _standing(cluster)["daemons"]
    return all((each["trusts"], each["shows"]) == ([pin], pin) for each in found) or None


def _advised(log: Path) -> bool | None:
    return "let it join again" in log.read_text() or None


def test_nodes_that_were_away(machines: Machines) -> None:
    """The gateway works on without them; they say what to do in their logs, and join again with a token."""
    machines.node.stop()
    machines.tunnel_node.stop()
    for _ in PHASES:
        _rotate(machines, "--force")
        client = machines.client("works", machines.person)
        poll_until(partial(_admitted, machines, client, machines.agentless_name), "a session without them")
    machines.node, machines.tunnel_node = machines.start_node(), machines.start_tunnel_node()
    for name in ("node", "tunnel"):
        poll_until(partial(_advised, machines.directory / f"{name}.log"), f"advice of {name}", 30.0)
    machines.node.stop()
    machines.tunnel_node.stop()
    for each in machines.json("nodes", "ls"):
        if each["hostname"] in machines.our_names:
            machines.admin("nodes", "rm", each["id"])
    machines.node, machines.tunnel_node = machines.start_node(join=True), machines.start_tunnel_node(join=True)
    machines.wait_listed()
    _works(machines, machines.client("works", machines.person))

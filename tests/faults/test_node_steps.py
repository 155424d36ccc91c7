"""A node that records is killed at the n-th call about a recording, for n = 1, 2, …"""

import contextlib
from collections.abc import Iterator

import pytest

from interlock.services.fleet.redialling import LONGEST_WINDOW_S
from interlock.testing.aftermath import COUNTING, Aftermath, Counting
from interlock.testing.gateway import Cluster
from interlock.testing.injection import ALL, Fault, traced
from interlock.testing.procs import KitError
from interlock.testing.strikes import Strikes

pytestmark = pytest.mark.skipif(not ALL, reason="make faults; test_random_kills.py kills nodes in make test")

CALLS = ("write", "unlink")
"""Those that every recording gets, however short; its syncs are the same code as a gateway's."""

MOST = 50
"""More calls of a kind than are made about one recording."""


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Node mode."""
    with Cluster(tmp_path_factory.mktemp("node-steps"), mode="node") as made:
        assert made.person.key.path.exists()
        yield made


@pytest.mark.parametrize("target", Cluster.our_names)
@pytest.mark.parametrize("call", CALLS)
def test_a_node_killed_at_a_step(recording: Cluster, call: str, target: str, strikes: Strikes) -> None:
    """Its next start brings what it has to auth: one session, as far as its person saw."""
    for nth in range(1, MOST):
        with strikes.at(f"{call} number {nth}"):
            struck = _strike(recording, target, Fault(call, nth, "signal=KILL"))
            strikes.happened(really=struck)
        if not struck:
            break
    assert strikes.count


def _strike(cluster: Cluster, target: str, fault: Fault) -> bool:
    """One session; whether the fault came about."""
    aftermath = Aftermath(cluster)
    with cluster.terminal(cluster.person, "-tt", *cluster.route(target), COUNTING) as terminal:
        person = Counting(terminal)
        assert person.say(1), terminal.output
        [sid] = aftermath.begun(1)
        [part] = cluster.directory.rglob(f"{sid}.part")
        node = cluster.daemon_of(target)
        with traced(node.pid, fault, calls=[fault.call], options=("-P", str(part))) as tracer:
            person.say(3)
            with contextlib.suppress(KitError, OSError):
                terminal.send("\x04")
            terminal.wait()
            struck = aftermath.wait_either(tracer.struck)
    if struck:
        node.wait()
        cluster.start_again(target)
        cluster.wait_listed(LONGEST_WINDOW_S)
    aftermath.check(person)
    return struck

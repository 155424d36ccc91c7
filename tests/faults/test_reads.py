"""What a gateway that was killed has left cannot be read at first: nothing is given up, and nobody has to wait."""

import pytest

from interlock.testing.aftermath import COUNTING, Aftermath, Counting
from interlock.testing.gateway import Cluster
from interlock.testing.injection import ALL, Fault, traced_start, wait_struck
from interlock.testing.strikes import Strikes

AT = range(1, 5)
"""A recording of one piece is read to its end twice, which is two reads: to tell of it, and to finish it."""


def killed(cluster: Cluster, aftermath: Aftermath) -> tuple[Counting, str]:
    """Somebody whose gateway was killed, and his session."""
    with cluster.terminal(cluster.person, "-tt", *cluster.route(Cluster.agentless_name), COUNTING) as terminal:
        person = Counting(terminal)
        assert person.say(3), terminal.output
        [sid] = aftermath.begun(1)
        cluster.wait_kept([sid], "said-3-")
        cluster.gateway.kill()
        terminal.wait()
    return person, sid


@pytest.mark.skipif(not ALL, reason="make faults; the other test strikes as well, and longer")
@pytest.mark.parametrize("nth", AT)
def test_a_read_that_fails(cluster: Cluster, nth: int, strikes: Strikes) -> None:
    """Once: at each place where a recording is looked at before it is stored."""
    aftermath = Aftermath(cluster)
    person, sid = killed(cluster, aftermath)
    part = cluster.data / "recordings" / "live" / f"{sid}.part"
    with traced_start(cluster, Fault("read", nth, "error=EIO"), of=part) as trace:
        strikes.happened(really=aftermath.wait_either(trace.struck))
    aftermath.check(person)


def test_a_disk_that_cannot_be_read_for_a_while(cluster: Cluster, strikes: Strikes) -> None:
    """The gateway starts, and others work; when the disk can be read again the recording appears."""
    aftermath = Aftermath(cluster)
    person, sid = killed(cluster, aftermath)
    part = cluster.data / "recordings" / "live" / f"{sid}.part"
    with traced_start(cluster, Fault("read", 1, "error=EIO", "+"), of=part) as trace:
        wait_struck(trace, "failing read")
        strikes.happened()
        client = cluster.client("reads", cluster.person)
        assert client.run(*cluster.route(Cluster.agentless_name), "echo here").check().stdout == "here\n"
        assert part.exists()
    aftermath.check(person)

"""A gateway's clock is set by hours while people work: what lives goes on, and is told once, in a sensible way."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from interlock.testing.aftermath import COUNTING, Aftermath, Counting
from interlock.testing.gateway import Cluster
from interlock.testing.injection import ALL
from interlock.testing.procs import KitError, poll_until
from interlock.testing.skew import Skew
from interlock.testing.strikes import Strikes

JUMPS = ((5, 0), (-5, 0), (40, 0), (-40, 0), (5, -5, 0)) if ALL else ((5, -5, 0),)
"""By how many hours the clock is wrong, one after the other."""

SLACK = timedelta(hours=1)


@pytest.fixture(scope="module")
def skewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Skew]]:
    """A gateway of one process whose time is another than that of its nodes, and of everybody else."""
    directory = tmp_path_factory.mktemp("clock")
    cluster, skew = Cluster(directory, mode="proxy", with_node=ALL), Skew(directory / "skew")
    cluster.gateway_env = skew.env
    with cluster:
        cluster.ilctl("roles", "set", "access", "--option", "max_connections=50")
        yield cluster, skew


@pytest.mark.parametrize("jumps", JUMPS, ids=str)
def test_a_clock_that_jumps(skewed: tuple[Cluster, Skew], jumps: tuple[int, ...], strikes: Strikes) -> None:
    """There and back during one session; others come in between, and afterwards."""
    cluster, skew = skewed
    aftermath = Aftermath(cluster).by_any_clock()
    people = []
    try:
        with _somebody(cluster) as through, _somebody(cluster) as until:
            assert through.say(3), through.terminal.output
            assert until.say(3), until.terminal.output
            for now in jumps:
                skew.set(now)
                people += [_visit_at(cluster, now), _visit(cluster)]
                strikes.happened()
                assert through.say(2), through.terminal.output
                _leave(until)
            _leave(through)
    finally:
        skew.set(0)
    assert len(people[-1].seen) == 3, people[-1].terminal.output
    events = aftermath.check(through, until, *people)
    ends = [event for event in events if event["event"] == "session.end"]
    assert all("synthesized" not in end for end in ends)
    lengths = [
        datetime.fromisoformat(e["session_stop"]) - datetime.fromisoformat(e["session_start"]) for e in ends
    ]
    assert all(timedelta(0) <= length < SLACK for length in lengths)


@contextlib.contextmanager
def _somebody(cluster: Cluster) -> Iterator[Counting]:
    with cluster.terminal(cluster.person, "-tt", *cluster.route(Cluster.agentless_name), COUNTING) as terminal:
        yield Counting(terminal)


def _visit(cluster: Cluster) -> Counting:
    """A session of its own, if the certificate is valid by this clock."""
    with _somebody(cluster) as person:
        if person.say(3):
            _leave(person)
        person.terminal.wait()
    return person


def _leave(person: Counting) -> None:
    with contextlib.suppress(KitError, OSError):
        person.terminal.send("\x04")
    person.terminal.wait()


def _visit_at(cluster: Cluster, hours: int) -> Counting:
    """The first visit of which the gateway tells by that time."""
    aftermath, visits = Aftermath(cluster).by_any_clock(), list[Counting]()

    def visited() -> Counting | None:
        visits.append(_visit(cluster))
        times = [datetime.fromisoformat(event["time"]) for event in aftermath.events()]
        wanted = datetime.now(UTC) + timedelta(hours=hours)
        return visits[-1] if any(abs(time - wanted) < SLACK for time in times) else None

    return poll_until(visited, f"an event of {hours} hours from now")

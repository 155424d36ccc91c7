"""kill -9 at random of workers, supervisor and nodes while people work: everybody's session is there once."""

import contextlib
import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from interlock.services.fleet.redialling import LONGEST_WINDOW_S
from interlock.testing.aftermath import COUNTING, Aftermath, Counting
from interlock.testing.gateway import Cluster, Mode
from interlock.testing.injection import ALL
from interlock.testing.procs import START_S, KitError
from interlock.testing.strikes import Strikes
from interlock.testing.workers import Workers

PEOPLE = 4
ROUNDS = 3 if ALL else 2
SEEDS = range(20 if ALL else 1)


@pytest.fixture(scope="module", params=["proxy", "node"] if ALL else ["node"])
def busy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A gateway with two workers, and nodes of both kinds; in node mode both sides record."""
    mode: Mode = request.param
    with Cluster(tmp_path_factory.mktemp("kills"), mode=mode, workers=2) as made:
        yield made


def kill_something(cluster: Cluster, chance: random.Random) -> None:
    """And start it again, if nobody else does."""
    match chance.choice(["worker", "worker", "gateway", "node", "tunnel"]):
        case "worker":
            _kill(chance.choice(Workers(cluster).wait(2)))  # those of a gateway that just starts are on their way
            Workers(cluster).wait(2)
        case "gateway":
            cluster.gateway.kill()
            cluster.gateway = cluster.start_gateway()
        case "node":
            cluster.node.kill()
            cluster.node = cluster.start_node()
        case _:
            cluster.tunnel_node.kill()
            cluster.tunnel_node = cluster.start_tunnel_node()
    cluster.wait_listed(LONGEST_WINDOW_S + START_S)  # a node that has dialled in vain pauses longer each time


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_kills(busy: Cluster, seed: int, strikes: Strikes) -> None:
    """Whoever was thrown out may come again at once; nothing of anybody is lost but the last moment."""
    chance, aftermath = random.Random(seed), Aftermath(busy)  # repeatable, not secret
    people: list[Counting] = []
    with ExitStack() as stack:
        for _ in range(ROUNDS):
            fresh = [_arrive(busy, stack, chance) for _ in range(PEOPLE)]
            people += fresh
            for person in fresh:
                person.say(chance.randrange(1, 30))
            kill_something(busy, chance)
            strikes.happened()
            for person in people:
                person.say(chance.randrange(3))
        for person in people:
            with contextlib.suppress(KitError, OSError):
                person.terminal.send("\x04")
            person.terminal.wait()
    aftermath.check(*people)


def _arrive(cluster: Cluster, stack: ExitStack, chance: random.Random) -> Counting:
    way = cluster.route if chance.random() < 0.5 else cluster.jump
    argv = ("-tt", *way(chance.choice(Cluster.targets)), COUNTING)
    return Counting(stack.enter_context(cluster.terminal(cluster.person, *argv)))

"""PostgreSQL crashes and comes back while people work, and meanwhile something of the gateway is killed."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from interlock.domain.lease import LEASE_TTL
from interlock.testing.aftermath import COUNTING, Aftermath, Counting
from interlock.testing.gateway import Cluster
from interlock.testing.injection import ALL
from interlock.testing.postgres import PostgresServer
from interlock.testing.procs import KitError, poll_until
from interlock.testing.strikes import Strikes
from interlock.testing.workers import Workers

pytestmark = [
    pytest.mark.xdist_group("postgres"),
    pytest.mark.skipif(not ALL, reason="make faults; for make test an absence in test_postgres.py is enough"),
]


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    """The name of an empty one."""
    with postgres.database() as name:
        yield name


@pytest.fixture(scope="module")
def shared(postgres: PostgresServer, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A gateway with two workers on it."""
    place = postgres.url(database, tcp=True)
    directory = tmp_path_factory.mktemp("away")
    with Cluster(directory, mode="proxy", with_node=False, workers=2, database=place) as cluster:
        cluster.ilctl("roles", "set", "access", "--option", "max_connections=50")
        assert cluster.person.key.path.exists()
        yield cluster


def nothing(_cluster: Cluster) -> None:
    """The gateway goes on."""


def kill_worker(cluster: Cluster) -> None:
    """One of two, and some of the people with it."""
    os.kill(Workers(cluster).pids[0], signal.SIGKILL)


def kill_gateway(cluster: Cluster) -> None:
    """All of it; it is started again when the database is there."""
    cluster.gateway.kill()


@pytest.mark.parametrize("strike", [nothing, kill_worker, kill_gateway])
def test_the_database_goes_and_comes_back(
    shared: Cluster,
    postgres: PostgresServer,
    database: str,
    strike: Callable[[Cluster], None],
    strikes: Strikes,
) -> None:
    """Some leave meanwhile, some stay, nobody can come, and of everybody there is one session."""
    aftermath = Aftermath(shared)
    with ExitStack() as stack:
        people = [_arrive(shared, stack) for _ in range(4)]
        for person in people:
            assert person.say(2), person.terminal.output
        postgres.stop(now=True)
        try:
            for person in people:
                assert person.say(2), person.terminal.output
            _leave(people[0])
            refused = _arrive(shared, stack)
            assert not refused.say()
            shared_pid = shared.gateway.pid
            strike(shared)
            strikes.happened()
        finally:
            postgres.start()
        if strike is kill_gateway:
            shared.gateway = shared.start_gateway()
        else:
            assert shared.gateway.pid == shared_pid
            Workers(shared).wait(2)
        for person in people[1:]:
            person.say(2)
        after = poll_until(lambda: _visit(shared, stack), "a session", 60)
        for person in people[1:]:
            _leave(person)
    aftermath.check(*people, after)
    # Of a worker that died while nobody could give its places back they expire (security/limits.md: 30 s).
    poll_until(lambda: not _leases(postgres, database), "end of all leases", 2 * LEASE_TTL.total_seconds())


def _leases(postgres: PostgresServer, database: str) -> list[Any]:
    """What places count as taken."""
    now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return postgres.execute("SELECT id FROM leases WHERE expires > %s", now, name=database)


def _arrive(cluster: Cluster, stack: ExitStack) -> Counting:
    argv = ("-tt", *cluster.route(Cluster.agentless_name), COUNTING)
    return Counting(stack.enter_context(cluster.terminal(cluster.person, *argv)))


def _visit(cluster: Cluster, stack: ExitStack) -> Counting | None:
    """A session from beginning to end, if there can be one."""
    person = _arrive(cluster, stack)
    if not person.say(3):
        return None
    _leave(person)
    return person


def _leave(person: Counting) -> None:
    with contextlib.suppress(KitError, OSError):
        person.terminal.send("\x04")
    person.terminal.wait()

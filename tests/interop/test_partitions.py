"""Two auths, two proxies, a node and a plain sshd on machines of their own: whatever part of the network goes.

Auths share PostgreSQL and S3. Machines are network namespaces; what is cut off is dropped in silence. Afterwards
each session has one start, one end and one recording, and no tracker is left.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from interlock.adapters.blob.bucket import Bucket, BucketPlace
from interlock.testing.machines import Separated
from interlock.testing.netns import Network, unavailable
from interlock.testing.postgres import PASSWORD, USER, PostgresServer, programs
from interlock.testing.procs import poll_until
from interlock.testing.s3 import s3_server
from interlock.testing.terminal import Terminal

pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("partitions"),
]

ECHO = "stty -echo; echo begun; while read x; do echo got=$x; done"
SETTLE_S = 30.0
"""Seconds after a partition within which everything is as if there had been none."""


class World:
    """The cluster, its network and its storage."""

    def __init__(self, cluster: Separated, network: Network, place: BucketPlace) -> None:
        self.cluster = cluster
        self.network = network
        self.place = place

    def begin(self, stack: ExitStack, proxy: int, target: str) -> tuple[Terminal, str]:
        """A session by way of this proxy that repeats what it is told; its ID."""
        before = self.live()
        self.cluster.through(proxy)
        terminal = stack.enter_context(self.cluster.terminal(self.cluster.person, "-tt", *self.route(target)))
        terminal.expect("begun")
        (sid,) = poll_until(lambda: self.live() - before, "live session")
        return terminal, sid

    def route(self, target: str) -> tuple[str, ...]:
        """To a session that repeats what it is told."""
        return (*self.cluster.route(target), ECHO)

    def live(self) -> set[str]:
        """The sessions that have a tracker."""
        return {str(row["sid"]) for row in self.cluster.json("sessions", "ls")}

    def wait_admission(self, proxy: int, target: str) -> None:
        """Return when a session can begin there."""
        self.cluster.through(proxy)
        client = self.cluster.client(f"admission{proxy}", self.cluster.person)
        poll_until(lambda: client.run(*self.cluster.route(target), "true").rc == 0, "admission", SETTLE_S)

    def wait_whole(self, sid: str) -> None:
        """Return when the session's recording is stored; each event that comes once has come once."""

        def told() -> list[str]:
            return [str(event["event"]) for event in self.cluster.events(sid)]

        poll_until(lambda: "session.upload" in told(), f"upload of {sid}", SETTLE_S)
        poll_until(lambda: sid not in self.live(), f"end of the tracker of {sid}", SETTLE_S)
        counts = [told().count(f"session.{each}") for each in ("start", "end", "upload")]
        assert counts == [1, 1, 1]
        assert [row["sid"] for row in self.cluster.json("recordings", "ls")].count(sid) == 1
        assert sum(sid in each.key for each in Bucket(self.place).listed(f"{self.place.prefix}/")) == 1


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All of it; people come from this machine."""
    if why := unavailable():
        pytest.skip(why)
    if programs() is None and "CI" not in os.environ:
        pytest.skip("PostgreSQL is not installed: run scripts/setup.sh --tools")
    directory = tmp_path_factory.mktemp("apart")
    with ExitStack() as stack:
        network = stack.enter_context(Network(Separated.names))
        place = stack.enter_context(s3_server(directory, network.here)).place("recordings", prefix="apart")
        database = _database(stack, network)
        settings = f'[recordings]\nstore = "{place.url}"\nendpoint = "{place.endpoint}"\n'
        settings += f'credentials = "{place.credentials}"\n'
        cluster = Separated(directory, network, database=database, settings=settings)
        stack.enter_context(cluster)
        cluster.admin("roles", "set", "access", "--option", "join_sessions=observer")
        yield World(cluster, network, place)


def _database(stack: ExitStack, network: Network) -> str:
    """A new one, which the machines reach by their network; its URL."""
    server = PostgresServer(listen_addresses="*")
    server.allow(network.everybody)
    stack.enter_context(server)
    name = stack.enter_context(server.database())
    return f"postgresql://{USER}:{PASSWORD}@{network.here}:{server.port}/{name}"


@pytest.fixture(autouse=True)
def _idle(world: World) -> Iterator[None]:
    """No test leaves a session behind, nor a daemon that has ended."""
    yield
    poll_until(lambda: not world.live(), "end of all sessions", SETTLE_S)
    cluster = world.cluster
    assert all(each.running for each in (cluster.gateway, *cluster.other_auths, *cluster.proxies))


def test_sessions_and_tunnels_of_the_other_proxy(world: World) -> None:
    """A node whose tunnel ends there is reached, a session that it holds is joined."""
    cluster = world.cluster
    cluster.through(1)
    client = cluster.client("across", cluster.person)
    for road in (cluster.route(cluster.tunnel_name), cluster.jump(cluster.tunnel_name)):
        assert client.run(*road, "echo here").check().stdout == "here\n"
    with ExitStack() as stack:
        owner, sid = world.begin(stack, 0, cluster.agentless_name)
        cluster.through(1)
        with cluster.terminal(cluster.person, "-tt", f"join-observer%{sid}@gateway") as observer:
            owner.expect("alice joined as observer")
            owner.send("hello\r")
            observer.expect("got=hello")
            owner.send("\x04")
            assert owner.wait() == 0
            observer.expect("the session has ended")
    world.wait_whole(sid)


def test_an_auth_is_cut_off_and_comes_back(world: World) -> None:
    """Sessions go on, new ones are let in by the other auth; then it goes the other way round."""
    cluster = world.cluster
    sids = []
    for away in ("auth0", "auth1"):
        with ExitStack() as stack:
            running = [world.begin(stack, number, target) for number, target in enumerate(cluster.targets)]
            with world.network.cut_off(away):
                for terminal, _ in running:
                    terminal.send("alone\r")
                    terminal.expect("got=alone")
                for number, target in enumerate(cluster.targets):
                    world.wait_admission(1 - number, target)
                terminal, _ = running[0]
                terminal.send("\x04")
                assert terminal.wait() == 0
            terminal, _ = running[1]
            terminal.send("\x04")
            assert terminal.wait() == 0
            sids += [sid for _, sid in running]
    for sid in sids:
        world.wait_whole(sid)


def test_a_proxy_is_cut_off_from_its_auths_and_comes_back(world: World) -> None:
    """What is live there goes on and is recorded; it is told when the auths are back, and only once."""
    cluster = world.cluster
    with ExitStack() as stack:
        ended, ended_sid = world.begin(stack, 1, cluster.tunnel_name)
        running, running_sid = world.begin(stack, 1, cluster.agentless_name)
        with world.network.parted(("proxy1", "auth0", "auth1")):
            for terminal in (ended, running):
                terminal.send("alone\r")
                terminal.expect("got=alone")
            refused = cluster.client("parted", cluster.person).run(*cluster.route(cluster.agentless_name), "true")
            assert "auth cannot be reached" in refused.stderr
            ended.send("\x04")
            assert ended.wait() == 0
            world.wait_admission(0, cluster.tunnel_name)
        world.wait_admission(1, cluster.agentless_name)
        running.send("\x04")
        assert running.wait() == 0
    for sid in (ended_sid, running_sid):
        world.wait_whole(sid)
        assert "got=alone" in cluster.recording_text(sid)

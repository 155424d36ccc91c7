"""A node that was removed: what is live there ends, what it shows counts for nothing, it has to join again."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from interlock.testing.everywhere import PROMISE, moment, past_the_gateway
from interlock.testing.evidence import Witness
from interlock.testing.gateway import Cluster
from interlock.testing.openssh import clean_env
from interlock.testing.procs import Daemon, KitError, poll_until
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Of its own, as its nodes do not stay."""
    with Cluster(tmp_path_factory.mktemp("removed"), mode="node") as made:
        yield made


@pytest.mark.parametrize("name", Cluster.our_names)
def test_a_node_that_is_removed(cluster: Cluster, name: str) -> None:
    """By every way to it: sessions end in words, in time, told and recorded; it comes back by a token."""
    client, witness = cluster.client("removed", cluster.person), Witness(cluster)
    roads = [cluster.route(name), cluster.jump(name)]
    if name == cluster.node_name:
        roads.append(past_the_gateway(cluster))
    other = cluster.route(cluster.agentless_name)
    with ExitStack() as stack:
        shells = [stack.enter_context(Terminal(client.argv("-tt", *road), env=clean_env())) for road in roads]
        sids = witness.wait_live(len(roads))
        elsewhere = stack.enter_context(Terminal(client.argv("-tt", *other), env=clean_env()))
        elsewhere.send("echo hel''lo\r")
        elsewhere.expect("hello")
        cluster.admin("nodes", "rm", name)
        for shell in shells:
            shell.expect(f"{name} was removed")
            shell.wait()
        elsewhere.send("echo sti''ll\r")
        elsewhere.expect("still")
    removed = witness.wait_event("node.delete", name=name)
    for sid in sids:
        end = witness.wait_event("session.end", sid=sid)
        assert moment(end["time"]) - moment(removed["time"]) <= PROMISE
        witness.wait_event("session.upload", sid=sid)
    for road in roads:
        assert client.run(*road, "true").rc == 255
    poll_until(lambda: told(cluster) or None, "the node to be told")
    assert name not in {row["hostname"] for row in cluster.json("nodes", "ls")}
    cluster.daemon_of(name).stop()
    with pytest.raises(KitError, match="has to join again, since it was removed from the cluster"):
        again(cluster, name, join=False)
    again(cluster, name, join=True)
    cluster.wait_listed()
    for road in roads:
        poll_until(lambda road=road: client.run(*road, "true").rc == 0 or None, f"way by {road}")  # type: ignore[misc]  # mypy cannot infer it


def told(cluster: Cluster) -> bool:
    """Whether one of the nodes knows that it was removed."""
    return any('"removed":true' in path.read_text() for path in cluster.directory.rglob("identity.json"))


def again(cluster: Cluster, name: str, *, join: bool) -> Daemon:
    """Start the node once more, on the data directory that it has."""
    if name == cluster.node_name:
        cluster.node = cluster.start_node(join=join)
        return cluster.node
    cluster.tunnel_node = cluster.start_tunnel_node(join=join)
    return cluster.tunnel_node

"""The register of tunnels: the newest that lives, and not too many."""

import asyncio

import pytest

from interlock.core.ids import DaemonId
from interlock.services.fleet.tunnels import MAX_TUNNELS, TunnelRegistry

WEB = DaemonId("11111111-2222-4333-8444-555555555555")
DB = DaemonId("22222222-2222-4333-8444-555555555555")


class FakeTunnel:
    """A connection."""

    def __init__(self) -> None:
        self.alive = True
        self.closed = ""

    def close(self, reason: str) -> None:
        self.closed = reason


def test_the_newest_tunnel_comes_first() -> None:
    """A node that came back is not looked for in the connection that its NAT has forgotten."""
    registry, old, new, others = TunnelRegistry[FakeTunnel](), FakeTunnel(), FakeTunnel(), FakeTunnel()
    registry.add(WEB, old)
    registry.add(DB, others)
    registry.add(WEB, new)
    assert registry.of(WEB) == [new, old]
    assert registry.of(DB) == [others]
    new.alive = False
    assert registry.of(WEB) == [old]


def test_what_is_gone_is_forgotten() -> None:
    """Wholly, and twice is no harm."""
    registry, tunnel = TunnelRegistry[FakeTunnel](), FakeTunnel()
    registry.remove(WEB, tunnel)
    registry.add(WEB, tunnel)
    assert list(registry) == [tunnel]
    registry.remove(WEB, tunnel)
    registry.remove(WEB, tunnel)
    assert registry.of(WEB) == list(registry) == []
    assert registry._by_node == {}


def test_a_node_does_not_pile_up_tunnels() -> None:
    """The oldest is told why and closed."""
    registry = TunnelRegistry[FakeTunnel]()
    tunnels = [FakeTunnel() for _ in range(MAX_TUNNELS + 1)]
    for tunnel in tunnels:
        registry.add(WEB, tunnel)
    assert [bool(tunnel.closed) for tunnel in tunnels] == [True] + [False] * MAX_TUNNELS
    assert tunnels[0].closed == "this node has newer tunnels"


async def test_a_node_is_awaited_until_it_has_a_tunnel_that_lives() -> None:
    """By several at once; one that gives up leaves nothing behind."""
    registry, dead, live = TunnelRegistry[FakeTunnel](), FakeTunnel(), FakeTunnel()
    dead.alive = False
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(registry.wait(WEB)) for _ in range(2)]
        await asyncio.sleep(0)
        registry.add(DB, FakeTunnel())
        registry.add(WEB, dead)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await registry.wait(WEB)
        registry.add(WEB, live)
    await registry.wait(WEB)
    assert registry._awaited == {}

"""The register of tunnels: the newest that lives, and not too many."""

from interlock.core.ids import DaemonId
from interlock.services.tunnels import MAX_TUNNELS, TunnelRegistry

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

"""Which nodes have dialled in: the proxy's register of tunnels, by the ID that a node's certificate proved.

A node may have more than one for a while: it came back before we noticed that its old connection is dead, or it
renewed its certificate. The newest one that lives is used.
"""

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import structlog

from interlock.core.ids import DaemonId

MAX_TUNNELS = 4
"""Tunnels that one node may have at once; beyond it the oldest is closed, so that a node cannot pile them up."""

_log = structlog.get_logger()


class Tunnel(Protocol):
    """A node's connection to the proxy."""

    @property
    def alive(self) -> bool:
        """Whether connections can still be opened in it."""
        ...

    def close(self, reason: str) -> None:
        """Tell the node why, and end it."""
        ...


TunnelT = TypeVar("TunnelT", bound=Tunnel)


class TunnelRegistry(Generic[TunnelT]):
    """Tunnels in the order of their arrival."""

    def __init__(self) -> None:
        self._by_node: dict[DaemonId, list[TunnelT]] = {}

    def __iter__(self) -> Iterator[TunnelT]:
        """All of them."""
        return iter([tunnel for held in self._by_node.values() for tunnel in held])

    def add(self, node: DaemonId, tunnel: TunnelT) -> None:
        """A node has brought a tunnel."""
        held = self._by_node.setdefault(node, [])
        held.append(tunnel)
        _log.info("tunnel.up", node=node, tunnels=len(held))
        for surplus in held[:-MAX_TUNNELS]:
            surplus.close("this node has newer tunnels")

    def remove(self, node: DaemonId, tunnel: TunnelT) -> None:
        """It is gone; harmless if it was never there."""
        held = self._by_node.get(node, [])
        if tunnel in held:
            held.remove(tunnel)
            _log.info("tunnel.down", node=node, tunnels=len(held))
        if not held:
            self._by_node.pop(node, None)

    def of(self, node: DaemonId) -> list[TunnelT]:
        """The node's tunnels that live, the newest first."""
        return [tunnel for tunnel in reversed(self._by_node.get(node, [])) if tunnel.alive]

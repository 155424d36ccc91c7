"""Which nodes have dialled in: the proxy's register of tunnels, by the ID that a node's certificate proved.

A node may have more than one for a while: it came back before we noticed that its old connection is dead, or it
renewed its certificate. The newest one that lives is used.
"""

import asyncio
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from interlock.core.ids import DaemonId

MAX_TUNNELS = 4
"""Tunnels that one node may have at once; beyond it the oldest is closed, so that a node cannot pile them up."""


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
        self._awaited: dict[DaemonId, list[asyncio.Future[None]]] = {}

    def __iter__(self) -> Iterator[TunnelT]:
        """All of them."""
        return iter([tunnel for held in self._by_node.values() for tunnel in held])

    def add(self, node: DaemonId, tunnel: TunnelT) -> None:
        """A node has brought a tunnel."""
        held = self._by_node.setdefault(node, [])
        held.append(tunnel)
        for waiter in self._awaited.pop(node, []):
            if not waiter.done():
                waiter.set_result(None)
        for surplus in held[:-MAX_TUNNELS]:
            surplus.close("this node has newer tunnels")

    def remove(self, node: DaemonId, tunnel: TunnelT) -> None:
        """It is gone; harmless if it was never there."""
        held = self._by_node.get(node, [])
        if tunnel in held:
            held.remove(tunnel)
        if not held:
            self._by_node.pop(node, None)

    async def wait(self, node: DaemonId) -> None:
        """Return when the node has a tunnel that lives."""
        while not self.of(node):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._awaited.setdefault(node, []).append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                self._give_up(node, waiter)
                raise

    def _give_up(self, node: DaemonId, waiter: "asyncio.Future[None]") -> None:
        waiting = self._awaited.get(node, [])
        if waiter in waiting:
            waiting.remove(waiter)
        if not waiting:
            self._awaited.pop(node, None)

    def of(self, node: DaemonId) -> list[TunnelT]:
        """The node's tunnels that live, the newest first."""
        return [tunnel for tunnel in reversed(self._by_node.get(node, [])) if tunnel.alive]

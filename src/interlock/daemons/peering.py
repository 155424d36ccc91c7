"""What a proxy apart from auth has to do with the others: it tells auth of itself, and learns of them there.

Tunnels of nodes that end at another proxy, and sessions that it holds, are reached as those of another process of
a gateway are (ADR-0014), only further away.
"""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from interlock.adapters.rpc.proxy_client import ProxyClient
from interlock.adapters.ssh.tunnel.entrance import TunnelEntrance
from interlock.adapters.ssh.tunnel.neighbours import Accept, Hatch, NeighbourWays, listen_at, socket_path
from interlock.adapters.ssh.tunnel.peers import Membership, PeerAddress, PeerDoor
from interlock.core.errors import ConfigError, InterlockError
from interlock.core.ids import DaemonId
from interlock.daemons.config import Address

REPORT_S = 5.0
"""Seconds between two reports to auth when nothing changes."""

REPORT_TTL_S = 15.0
"""Seconds for which a report counts: two may be lost before the others forget this proxy."""

PEERS_S = 1.0
"""Seconds between two questions who the others are and whose tunnels they have."""

FAREWELL_S = 1.0
"""Seconds that a stopping proxy gives auth to hear of it."""

_log = structlog.get_logger()

Joins = Callable[[], Awaitable[Accept]]


class Peering:
    """`run` belongs into a TaskGroup."""

    def __init__(self, client: ProxyClient, own: DaemonId, sockets: Path, membership: Membership) -> None:
        self.ways = NeighbourWays(sockets, self._tell)
        self.door = PeerDoor(own, sockets, membership)
        self._client = client
        self._own = own
        self._sockets = sockets
        self._tunnels: Counter[DaemonId] = Counter()  # that end here
        self._changed = asyncio.Event()
        self._digest = b""
        self._addresses: dict[DaemonId, str] = {}
        self._theirs: set[tuple[DaemonId, DaemonId]] = set()  # peer and node

    def is_peer(self, daemon: DaemonId) -> bool:
        """Whether this is another proxy that can be reached."""
        return bool(self._addresses.get(daemon))

    async def run(
        self, tunnels: TunnelEntrance, joins: Joins, listener: socket.socket | None, advertised: str
    ) -> None:
        """Until cancelled; auth is told then that this proxy is gone."""
        hatch = Hatch(self._own, tunnels, joins)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(hatch.run(listen_at(socket_path(self._sockets, self._own))), name="peers.hatch")
                tasks.create_task(self.door.run(listener), name="peers.door")
                tasks.create_task(self._report(advertised), name="peers.report")
                tasks.create_task(self._follow(tunnels), name="peers.follow")
        finally:
            with contextlib.suppress(InterlockError, TimeoutError):
                async with asyncio.timeout(FAREWELL_S):
                    await self._client.report("", (), 0)

    def _tell(self, node: DaemonId, up: bool) -> None:
        self._tunnels[node] += 1 if up else -1
        self._changed.set()

    async def _report(self, advertised: str) -> None:
        failing = ""
        while True:
            self._changed.clear()
            try:
                await self._client.report(advertised, tuple(+self._tunnels), REPORT_TTL_S)
                failing = ""
            except InterlockError as error:
                if error.public != failing:
                    _log.warning("peers.not_reported", error=error.public, reason=error.reason)
                failing = error.public
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PEERS_S if failing else REPORT_S):
                    await self._changed.wait()

    async def _follow(self, tunnels: TunnelEntrance) -> None:
        """What was known last counts while auth is away."""
        while True:
            with contextlib.suppress(InterlockError):  # the report says so
                answer = await self._client.peers(self._digest)
                if answer.peers is not None:
                    self._digest = answer.digest
                    self._addresses = {each.id: each.peer for each in answer.peers}
                    self.door.know([PeerAddress(each.id, each.peer) for each in answer.peers])
                    self._hear(tunnels, {(each.id, node) for each in answer.peers for node in each.tunnels})
            await asyncio.sleep(PEERS_S)

    def _hear(self, tunnels: TunnelEntrance, theirs: set[tuple[DaemonId, DaemonId]]) -> None:
        for peer, node in self._theirs - theirs:
            self.ways.heard(tunnels.registry, peer, node, up=False)
        for peer, node in theirs - self._theirs:
            self.ways.heard(tunnels.registry, peer, node, up=True)
        self._theirs = theirs


def peer_listener(where: Address) -> socket.socket:
    """Listen for peers. ConfigError if the port is taken."""
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    try:
        listener = socket.create_server((where.host, where.port), family=family, backlog=128)
    except OSError as error:
        public = f"the proxy cannot listen for others on {where.host}:{where.port}: {error.strerror or error}"
        raise ConfigError(public, reason=str(error)) from error
    listener.setblocking(False)
    return listener

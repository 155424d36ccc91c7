"""Clients that come through a load balancer, which says whose connection it is (PROXY protocol).

Only whoever is in a network that the configuration names is asked for a header, and must send one: a client whose
address is its own word could be anybody, in the audit log and before the brake (R22).
"""

import asyncio
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import cast

import structlog

from interlock.adapters.ssh.seams.tunnel import DoorConnection
from interlock.core.errors import RemoteProtocolError
from interlock.core.limits import PROXY_HEADER_WAIT_S
from interlock.core.proxy_header import HeaderReader

_log = structlog.get_logger()

Network = IPv4Network | IPv6Network


class Fronts:
    """The load balancers, and their connections that have not said yet whose they are."""

    def __init__(self, networks: Sequence[Network], limit: int, accept: Callable[[], DoorConnection]) -> None:
        self._networks = networks
        self._limit = limit
        self.accept = accept
        self._waiting: dict[Fronted, None] = {}  # in the order of their arrival

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def trusts(self, host: str) -> bool:
        """Whether whoever connects from there says whose connection it is."""
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return False
        mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return any((mapped or address) in network for network in self._networks)

    def arrived(self, one: "Fronted") -> None:
        """It waits. Beyond the limit whoever has waited longest goes: a load balancer sends its header at once."""
        self._waiting[one] = None
        if len(self) > self._limit:
            next(iter(self._waiting)).abandon()

    def left(self, one: "Fronted") -> None:
        """It waits no more."""
        self._waiting.pop(one, None)

    def close(self) -> None:
        """Nobody is served any more."""
        for each in list(self._waiting):
            each.abandon()


class Fronted(asyncio.Protocol):
    """One connection until it is known whose it is; then a `DoorConnection` has it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fronts: Fronts) -> None:
        self._loop = loop
        self._fronts = fronts
        self._reader = HeaderReader()
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport  # set by connection_made, the first callback

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve whoever comes by itself at once."""
        self._transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        if not name or not self._fronts.trusts(str(name[0])):
            self._serve(self._fronts.accept())
            return
        self._timer = self._loop.call_later(PROXY_HEADER_WAIT_S, self._refuse, "it does not come")
        self._fronts.arrived(self)

    def data_received(self, data: bytes) -> None:
        """Part of a header, or all of it and more."""
        try:
            origin = self._reader.feed(data)
        except RemoteProtocolError as error:
            self._refuse(error.reason)
            return
        if origin is None:
            return
        self._done()
        connection = self._fronts.accept()
        if origin.host:
            connection.comes_from(origin.host, origin.port)
        self._serve(connection)
        if self._reader.rest and not self._transport.is_closing():
            connection.data_received(self._reader.rest)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone before it was anybody's."""
        del exc
        self._done()

    def abandon(self) -> None:
        """Make room."""
        self._done()
        self._transport.abort()

    def _refuse(self, reason: str) -> None:
        name = self._transport.get_extra_info("peername")
        _log.warning("proxy.no_proxy_header", peer=str(name[0]) if name else "", reason=reason)
        self.abandon()

    def _serve(self, connection: DoorConnection) -> None:
        self._transport.set_protocol(connection)
        connection.connection_made(self._transport)

    def _done(self) -> None:
        self._fronts.left(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

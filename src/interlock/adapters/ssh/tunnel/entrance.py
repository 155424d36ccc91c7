"""The proxy's side of reverse tunnels: who may bring one, what it is used for, and the way on to auth.

A node authenticates with the certificate that auth gave it for this and nothing else. What it gets is two things:
connections that the proxy opens towards its SSH server, and connections of its own to auth's service, of which the
proxy sees ciphertext. A node that has not joined yet has nothing to show; it reaches auth's join listener, for a
minute, and counts as a stranger until it is gone.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import asyncssh
import structlog

from interlock.adapters.ssh.pipe import ChannelEnd, link
from interlock.adapters.ssh.seams.tunnel import ByteSession, DoorConnection
from interlock.adapters.ssh.tunnel.auths import AuthEnd, AuthOrder
from interlock.core.address import parse_address
from interlock.core.errors import Denied, RemoteProtocolError, TargetError
from interlock.core.ids import DaemonId
from interlock.core.limits import JOIN_TIME_S, TUNNEL_KEEPALIVE_S, TUNNEL_MAX_MISSED, TUNNEL_WAIT_S
from interlock.core.tunnel import JOIN_USER, TUNNEL_USER, Listener, Visit
from interlock.domain.identity import TunnelPass
from interlock.domain.target import Target
from interlock.ports import Clock, PassReader
from interlock.services.fleet.tunnels import Tunnel, TunnelRegistry
from interlock.services.keys.joining import JoinSources

SessionT = TypeVar("SessionT")
StreamT = TypeVar("StreamT", bound=asyncio.BaseProtocol)

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AuthAddresses:
    """Where the proxy reaches auth's two listeners."""

    service: tuple[str, int]
    join: tuple[str, int]
    others: tuple[tuple[str, int], ...] = ()  # services of further auths

    def of(self, listener: Listener) -> tuple[tuple[str, int], ...]:
        """Hosts and ports; `AuthOrder` says which is tried first."""
        return (self.service, *self.others) if listener is Listener.SERVICE else (self.join,)


class Way(Tunnel, Protocol):
    """A tunnel in which connections to its node can be opened."""

    async def visit(
        self, payload: bytes, channel: Callable[[], SessionT], stream: Callable[[], StreamT]
    ) -> SessionT | StreamT:
        """Open one: what ``channel`` made to run in a channel, or ``stream`` on a socket that leads there.

        ChannelOpenError or TargetError if that fails.
        """
        ...


class Neighbours(Protocol):
    """The other processes of this gateway, as far as tunnels matter."""

    def named(self, name: DaemonId) -> Way | None:
        """The way to one of them by its own name, for sessions that it holds; None if it is none of them."""
        ...

    def brought(self, node: DaemonId) -> None:
        """A node has brought a tunnel here."""
        ...

    def lost(self, node: DaemonId) -> None:
        """It is gone again."""
        ...


class TunnelEntrance:
    """Everything about tunnels that the proxy's connections share."""

    def __init__(
        self,
        passes: PassReader,
        clock: Clock,
        auth: AuthAddresses,
        *,
        sources: JoinSources,
        keepalive_interval: float = TUNNEL_KEEPALIVE_S,
        neighbours: Neighbours | None = None,
    ) -> None:
        """``neighbours``: None if this gateway is one process."""
        self.neighbours = neighbours
        self.passes = passes
        self.clock = clock
        self.auth = auth
        self.auths = AuthOrder()
        self.sources = sources
        self.keepalive_interval = keepalive_interval
        self.registry: TunnelRegistry[Way] = TunnelRegistry()

    def caller(self, connection: DoorConnection, user_name: str) -> "NodeCaller | None":
        """The node that may be behind this SSH user name; None if it is a person's."""
        if user_name not in (TUNNEL_USER, JOIN_USER):
            return None
        return NodeCaller(self, connection, joining=user_name == JOIN_USER)

    async def connect(
        self,
        target: Target,
        client_addr: str,
        *,
        channel: Callable[[], SessionT],
        stream: Callable[[], StreamT],
    ) -> SessionT | StreamT:
        """Open a connection to a node's SSH server, and see `Way.visit`. TargetError if there is no way.

        A node that is just dialling again is waited for, `TUNNEL_WAIT_S` at most.
        ``client_addr``: host:port of the person's client, which the node takes for the other end's address.
        """
        name = target.hostname
        visit = _visit(client_addr)
        why = "it is not connected to the gateway"
        for tunnel in await self._ways(target.id):
            try:
                return await tunnel.visit(visit.encode(), channel, stream)
            except asyncssh.ChannelOpenError as error:
                why = error.reason[:200]
            except TargetError as error:
                why = error.public[:200]
        raise TargetError(f"{name} is unreachable: {why}", reason=f"{name} by tunnel of {target.id}: {why}")

    async def _ways(self, node: DaemonId) -> Sequence[Way]:
        neighbour = self.neighbours.named(node) if self.neighbours is not None else None
        if neighbour is not None:
            return [neighbour]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TUNNEL_WAIT_S):
                await self.registry.wait(node)
        return self.registry.of(node)

    async def visit_here(self, node: DaemonId, payload: bytes) -> ChannelEnd:
        """Open a connection in a tunnel that ends here, for another process; TargetError if that fails."""
        why = "its tunnel has ended"
        for tunnel in self.here(node):
            try:
                return await tunnel.connection.visit(payload, ChannelEnd)
            except asyncssh.ChannelOpenError as error:
                why = error.reason[:200]
        raise TargetError(why)

    def here(self, node: DaemonId) -> "list[NodeCaller]":
        """Those of the node's tunnels that end in this process, the newest first."""
        return [tunnel for tunnel in self.registry.of(node) if isinstance(tunnel, NodeCaller)]

    @property
    def visited(self) -> bool:
        """Whether anything runs in a tunnel that ends here."""
        return any(tunnel.connection.visits for tunnel in self.registry if isinstance(tunnel, NodeCaller))

    def close_idle(self, text: str) -> None:
        """End the tunnels in which nothing runs: their nodes dial again."""
        for tunnel in self.registry:
            if isinstance(tunnel, NodeCaller) and not tunnel.connection.visits:
                tunnel.close(text)

    def close(self, text: str) -> None:
        """End all tunnels."""
        for tunnel in self.registry:
            tunnel.close(text)

    def brought(self, node: DaemonId, tunnel: Way) -> None:
        """A node's tunnel ends here from now on."""
        _log.info("tunnel.up", node=node)
        self.registry.add(node, tunnel)
        if self.neighbours is not None:
            self.neighbours.brought(node)

    def lost(self, node: DaemonId, tunnel: Way) -> None:
        """It has ended."""
        _log.info("tunnel.down", node=node)
        self.registry.remove(node, tunnel)
        if self.neighbours is not None:
            self.neighbours.lost(node)


class NodeCaller:
    """A node's connection, from its SSH user name to its end. A `Way` once it is listed."""

    def __init__(self, entrance: TunnelEntrance, connection: DoorConnection, *, joining: bool) -> None:
        self.connection = connection
        self.joining = joining  # it has no identity and needs no proof: it only reaches the join listener
        self._entrance = entrance
        self._pass: TunnelPass | None = None  # set by proven, and only there
        self._timer: asyncio.TimerHandle | None = None
        self._listed = False

    def judge(self, certificate: bytes) -> None:
        """Return if the certificate is a node's; Denied otherwise. Proves nothing yet."""
        self._entrance.passes.read_pass(certificate, now=self._entrance.clock.now())

    def proven(self, certificate: bytes) -> None:
        """The node holds the certificate's key."""
        self._pass = self._entrance.passes.read_pass(certificate, now=self._entrance.clock.now())

    def admitted(self) -> None:
        """Authentication is over: list the tunnel."""
        entrance, loop = self._entrance, asyncio.get_running_loop()
        if self.joining:
            self._timer = loop.call_later(JOIN_TIME_S, self.close, "joining took too long")
        elif self._pass is not None:
            self._listed = True
            entrance.brought(self._pass.node, self)
            self.connection.set_keepalive(entrance.keepalive_interval, TUNNEL_MAX_MISSED)
            left = (self._pass.valid_before - entrance.clock.now()).total_seconds()
            self._timer = loop.call_later(left, self.close, "the tunnel's certificate has expired")

    def gone(self) -> None:
        """The connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
        if self._listed and self._pass is not None:
            self._listed = False
            self._entrance.lost(self._pass.node, self)

    async def visit(
        self, payload: bytes, channel: Callable[[], SessionT], stream: Callable[[], StreamT]
    ) -> SessionT | StreamT:
        """See `Way.visit`."""
        del stream
        return await self.connection.visit(payload, channel)

    @property
    def alive(self) -> bool:
        """Whether connections can be opened in it."""
        return self.connection.alive

    def close(self, reason: str) -> None:
        """Tell the node and end the connection."""
        with contextlib.suppress(OSError):  # the code is one whose text asyncssh's clients keep
            self.connection.disconnect(asyncssh.DISC_SERVICE_NOT_AVAILABLE, reason)

    async def auth_requested(self, payload: bytes) -> ByteSession:
        """A way to auth, for bytes; ChannelOpenError if it is not this node's or auth cannot be reached."""
        try:
            listener = Listener.decode(payload)
        except (RemoteProtocolError, ValueError):
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "malformed request") from None
        if (listener is Listener.JOIN) is not self.joining:
            text = f"this connection may not reach auth's {listener.value} listener"
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, text)
        sources = self._entrance.sources if self.joining else None
        order, source = self._entrance.auths, str(self.connection.get_extra_info("peername", ("",))[0])
        try:
            auth = await order.reach(self._entrance.auth.of(listener), partial(AuthEnd, order, sources, source))
        except (OSError, TimeoutError) as error:
            _log.warning("tunnel.auth_unreachable", listener=listener.value, error=repr(error))
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "auth cannot be reached") from error
        if not self.alive:
            auth.close()
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the tunnel is closed")
        end = ChannelEnd()
        link(end, auth)
        return end


def _visit(client_addr: str) -> Visit:
    try:
        return Visit(*parse_address(client_addr))
    except ValueError as error:
        raise Denied("the address of your client is not known", reason=str(error)) from None

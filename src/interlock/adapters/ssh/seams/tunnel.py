"""Reverse tunnels: channels of types of our own.

asyncssh has no public way to open or take channels of a type of our own, with a payload of our own.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import asyncssh
from asyncssh.connection import SSHClientConnection
from asyncssh.packet import SSHPacket

from interlock.adapters.ssh.seams.patience import PatientConnection, PatientTcpChannel
from interlock.adapters.ssh.seams.relayed import ClientLegConnection
from interlock.core.errors import TargetError
from interlock.core.limits import MAX_TUNNEL_CALLS, MAX_TUNNEL_VISITS, TUNNEL_WINDOW
from interlock.core.tunnel import TO_AUTH, TO_NODE

TUNNEL_PACKET = 64 * 1024

ByteSession = asyncssh.SSHTCPSession[bytes]
SessionT = TypeVar("SessionT")


class TunnelLost(TargetError):
    """Why a connection in a tunnel ended: not by itself, but with the tunnel."""

    def __init__(self) -> None:
        super().__init__("its tunnel to the gateway was lost")


class TunnelChannel(PatientTcpChannel):
    """One connection in a tunnel. To what runs in it, it is a transport."""

    def __init__(
        self, connection: PatientConnection, loop: asyncio.AbstractEventLoop, *, ours: bool = False
    ) -> None:
        self.ours = ours  # opened by us
        super().__init__(connection, loop, None, "strict", TUNNEL_WINDOW, TUNNEL_PACKET)

    async def open(self, kind: bytes, payload: bytes, factory: Callable[[], SessionT]) -> SessionT:
        """Open it towards the remote; ChannelOpenError as it decides, or because the tunnel is lost.

        ``factory`` makes what runs in it: an SSH connection of asyncssh's, or an SSHTCPSession.
        """
        made: Any = factory
        session: Any = await self._open_forward(made, kind, payload)
        return session  # type: ignore[no-any-return]

    def process_open_confirmation(
        self, send_chan: int, send_window: int, send_pktsize: int, packet: SSHPacket
    ) -> None:
        """If nobody waits for it any more, close it again."""
        given_up = self._open_waiter is not None and self._open_waiter.cancelled()
        super().process_open_confirmation(send_chan, send_window, send_pktsize, packet)
        if given_up:
            self.abort()

    def process_connection_close(self, exc: Exception | None) -> None:
        """Tell what runs in it that the tunnel is to blame."""
        del exc
        super().process_connection_close(TunnelLost())


_TOO_MANY_VISITS = f"at most {MAX_TUNNEL_VISITS} connections in one tunnel"


def _too_many(text: str) -> asyncssh.ChannelOpenError:
    return asyncssh.ChannelOpenError(asyncssh.OPEN_RESOURCE_SHORTAGE, text)


# --- the proxy's end -----------------------------------------------------------------------------


class TunnelHooks(ABC):
    """What a `DoorConnection` asks of its owner."""

    @abstractmethod
    def auth_requested(self, payload: bytes) -> Coroutine[None, None, ByteSession]:
        """A node wants to reach auth; ChannelOpenError refuses."""


class DoorConnection(ClientLegConnection):
    """A connection to the proxy's one port, on which a node may turn out to be."""

    _origin: tuple[str, int] | None = None

    def comes_from(self, host: str, port: int) -> None:
        """Whose connection a load balancer says that it is; call before it is made."""
        self._origin = (host, port)
        self.set_extra_info(peername=self._origin)

    def _connection_made(self) -> None:
        """The address that asyncssh itself compares with a certificate's is the same."""
        if self._origin is not None:
            self._peer_addr, self._peer_port = self._origin
        super()._connection_made()

    def count_channels(self) -> int:
        """Those that the remote has opened: what we open in a tunnel is not its offence."""
        return len(self._channels) - self.visits

    @property
    def alive(self) -> bool:
        """Whether channels can be opened."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def visits(self) -> int:
        """Connections to the node's SSH server that are open or being opened."""
        return sum(map(_is_ours, self._channels.values()))

    async def visit(self, payload: bytes, factory: Callable[[], SessionT]) -> SessionT:
        """Open a connection to the node's SSH server; see `TunnelChannel.open`."""
        if not self.alive:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the tunnel is closed")
        if self.visits >= MAX_TUNNEL_VISITS:  # also those that get no answer
            raise _too_many(_TOO_MANY_VISITS)
        self._update_recv_pktlen(TUNNEL_PACKET)
        return await TunnelChannel(self, self._loop, ours=True).open(TO_NODE, payload, factory)

    def _process_tunnel_auth_at_interlock_dot_dev_open(
        self, packet: SSHPacket
    ) -> tuple[TunnelChannel, Coroutine[None, None, ByteSession]]:
        payload = packet.get_remaining_payload()
        hooks = self._owner
        if not isinstance(hooks, TunnelHooks):
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the connection is closing")
        if self.count_channels() >= MAX_TUNNEL_CALLS:
            raise _too_many(f"at most {MAX_TUNNEL_CALLS} connections to auth in one tunnel")
        self._update_recv_pktlen(TUNNEL_PACKET)
        return TunnelChannel(self, self._loop), hooks.auth_requested(payload)


# --- the node's end ------------------------------------------------------------------------------


class AgentHooks(asyncssh.SSHClient, ABC):
    """What an `AgentConnection` asks of its owner."""

    @abstractmethod
    def visited(self, payload: bytes, channel: TunnelChannel) -> ByteSession:
        """The proxy opens a connection to our SSH server: what takes it. ChannelOpenError refuses."""

    @abstractmethod
    def visitor_left(self) -> None:
        """A connection that the proxy opened has ended."""


class AgentConnection(PatientConnection, SSHClientConnection):
    """A node's own connection to the proxy."""

    @property
    def alive(self) -> bool:
        """Whether channels can be opened."""
        return self._transport is not None and not self._transport.is_closing()

    def keep(self, work: Coroutine[None, None, None]) -> None:
        """Do ``work`` in a task that this connection owns."""
        task = self.create_task(work)
        del task

    @property
    def visits(self) -> int:
        """Connections that the proxy has open here."""
        return len(self._channels) - sum(map(_is_ours, self._channels.values()))

    def remove_channel(self, recv_chan: int) -> None:
        """Tell the owner."""
        super().remove_channel(recv_chan)
        if isinstance(self._owner, AgentHooks):
            self._owner.visitor_left()

    async def call(self, payload: bytes, factory: Callable[[], SessionT]) -> SessionT:
        """Open a connection to auth; see `TunnelChannel.open`."""
        if not self.alive:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the tunnel is closed")
        self._update_recv_pktlen(TUNNEL_PACKET)
        return await TunnelChannel(self, self._loop, ours=True).open(TO_AUTH, payload, factory)

    def _process_tunnel_ssh_at_interlock_dot_dev_open(
        self, packet: SSHPacket
    ) -> tuple[TunnelChannel, ByteSession]:
        payload = packet.get_remaining_payload()
        hooks = self._owner
        if not isinstance(hooks, AgentHooks):
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the node is stopping")
        if len(self._channels) >= MAX_TUNNEL_VISITS:
            raise _too_many(_TOO_MANY_VISITS)
        self._update_recv_pktlen(TUNNEL_PACKET)
        channel = TunnelChannel(self, self._loop)
        return channel, hooks.visited(payload, channel)


def _is_ours(channel: object) -> bool:
    return isinstance(channel, TunnelChannel) and channel.ours

"""What a node forwards: channels either way.

Reasons: channels that wait for the socket like all of ours, X11 and agent channels without asyncssh's own
listeners, which would run as the daemon, and requests to cancel what does not listen, on which asyncssh drops the
connection.
"""

from collections.abc import Callable
from typing import TypeVar

import asyncssh
from asyncssh.channel import SSHAgentChannel, SSHX11Channel
from asyncssh.packet import SSHPacket

from interlock.adapters.ssh.seams.node import NodeChannel, NodeConnection
from interlock.adapters.ssh.seams.patience import PatientChannel, PatientTcpChannel

FORWARD_WINDOW = 1 << 20
"""Bytes that a client may send on one forwarded channel before they are taken."""

FORWARD_PACKET = 1 << 15

SessionT = TypeVar("SessionT", bound=asyncssh.SSHTCPSession[bytes])


class PatientUnixChannel(PatientChannel, asyncssh.SSHUNIXChannel[bytes]):
    """A streamlocal channel."""


class PatientX11Channel(PatientChannel, SSHX11Channel):
    """An x11 channel."""


class PatientAgentChannel(PatientChannel, SSHAgentChannel):
    """A channel to the client's key agent."""


class ForwardingConnection(NodeConnection):
    """A client's connection to a node that forwards."""

    @property
    def open_channels(self) -> int:
        """Sessions that are open or being opened; forwards have a limit of their own."""
        return sum(isinstance(channel, NodeChannel) for channel in self._channels.values())

    def create_tcp_channel(
        self, encoding: str | None = None, errors: str = "", window: int = 0, max_pktsize: int = 0
    ) -> PatientTcpChannel:
        """A channel of a port, either way."""
        del encoding, errors, window, max_pktsize  # always bytes, always our own sizes
        self._update_recv_pktlen(FORWARD_PACKET)
        return PatientTcpChannel(self, self._loop, None, "strict", FORWARD_WINDOW, FORWARD_PACKET)

    def create_unix_channel(
        self, encoding: str | None = None, errors: str = "", window: int = 0, max_pktsize: int = 0
    ) -> PatientUnixChannel:
        """A channel of a socket in the file system, either way."""
        del encoding, errors, window, max_pktsize
        self._update_recv_pktlen(FORWARD_PACKET)
        return PatientUnixChannel(self, self._loop, None, "strict", FORWARD_WINDOW, FORWARD_PACKET)

    async def open_port(self, end: SessionT, host: str, port: int, origin: str, origin_port: int) -> None:
        """Open a forwarded-tcpip channel; ChannelOpenError."""
        await self.create_connection(lambda: end, host, port, origin, origin_port)

    async def open_socket(self, end: SessionT, path: str) -> None:
        """Open a forwarded-streamlocal channel; ChannelOpenError."""
        factory: Callable[[], object] = lambda: end  # noqa: E731  # its callbacks are those of both session classes
        await self.create_unix_connection(factory, path)  # type: ignore[arg-type]

    async def open_x11(self, end: SessionT, origin: str, origin_port: int) -> None:
        """Open an x11 channel; ChannelOpenError."""
        self._update_recv_pktlen(FORWARD_PACKET)
        channel = PatientX11Channel(self, self._loop, None, "strict", FORWARD_WINDOW, FORWARD_PACKET)
        await channel.open(lambda: end, origin, origin_port)

    async def open_agent(self, end: SessionT) -> None:
        """Open a channel to the client's key agent; ChannelOpenError."""
        self._update_recv_pktlen(FORWARD_PACKET)
        channel = PatientAgentChannel(self, self._loop, None, "strict", FORWARD_WINDOW, FORWARD_PACKET)
        factory: Callable[[], object] = lambda: end  # noqa: E731  # its callbacks are those of both session classes
        await channel.open(factory)  # type: ignore[arg-type]

    def _process_cancel_tcpip_forward_global_request(self, packet: SSHPacket) -> None:
        self._cancel(super()._process_cancel_tcpip_forward_global_request, packet)

    def _process_cancel_streamlocal_forward_at_openssh_dot_com_global_request(self, packet: SSHPacket) -> None:
        self._cancel(super()._process_cancel_streamlocal_forward_at_openssh_dot_com_global_request, packet)

    def _cancel(self, process: Callable[[SSHPacket], None], packet: SSHPacket) -> None:
        try:
            process(packet)
        except asyncssh.ProtocolError:
            self._report_global_response(False)

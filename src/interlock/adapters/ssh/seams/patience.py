"""Back-pressure between the socket and what asyncssh holds; what waits for an answer is counted."""

import asyncio
from abc import ABC, abstractmethod
from asyncio import Task
from collections.abc import Awaitable

import asyncssh
from asyncssh.channel import SSHChannel
from asyncssh.connection import SSHConnection
from asyncssh.packet import SSHPacket

from interlock.core.errors import Rule
from interlock.core.limits import (
    MAX_AUTH_REQUESTS,
    MAX_DEFERRED,
    MAX_DEFERRED_PACKETS,
    MAX_PACKET,
    MAX_PENDING_REPLIES,
    MAX_UNSENT,
    WRITE_HIGH_WATER,
)
from interlock.core.wire import (
    CHANNEL_REQUEST,
    GLOBAL_REQUEST,
    IGNORE,
    USERAUTH_REQUEST,
)

_MAX_UNREAD = MAX_PACKET + 1024
"""Bytes that asyncssh may hold of what it has not come to: a whole packet must fit, with its length and tag."""


class PatientConnection(SSHConnection):
    """A connection that reads no faster than it understands, and whose channels wait while it cannot send.

    asyncssh would queue all of it, without bound and before anybody has logged in (R17, R18).
    """

    _writes_paused = False
    _reads_paused = False
    _auth_requests = 0

    @property
    def congested(self) -> bool:
        """Whether data must wait: the socket is full, or a key exchange would queue it."""
        return self._writes_paused or not self._kex_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the socket room for one burst, then stop what feeds it."""
        if isinstance(transport, asyncio.WriteTransport):
            transport.set_write_buffer_limits(high=WRITE_HIGH_WATER // 4)
        super().connection_made(transport)

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """While a message takes its time, such as a password that is verified, what follows it waits outside."""
        super().data_received(data, datatype)
        self._pace()

    def _finish_recv_packet(
        self, pkttype: int, seq: int, _task: Task[None] | None = None, is_async: bool = False
    ) -> None:
        super()._finish_recv_packet(pkttype, seq, _task, is_async)
        if self._reads_paused:
            self._pace()

    def _pace(self) -> None:
        full = len(self._inpbuf) > _MAX_UNREAD
        if full != self._reads_paused and self._transport is not None:
            self._reads_paused = full
            (self._transport.pause_reading if full else self._transport.resume_reading)()

    def pause_writing(self) -> None:
        """The remote does not read: data waits in the channels, whose high-water marks stop what feeds them."""
        self._writes_paused = True

    def resume_writing(self) -> None:
        """It reads again."""
        self._writes_paused = False
        self._flush_channels()

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        """Count requests that wait for an answer. (asyncssh's table of handlers does not see overridden ones.)"""
        if pkttype == GLOBAL_REQUEST and len(self._global_request_queue) >= MAX_PENDING_REPLIES:
            raise asyncssh.ProtocolError(Rule.TOO_MUCH_PENDING.value)
        if pkttype == USERAUTH_REQUEST:
            self._auth_requests += 1
            if self._auth_requests > MAX_AUTH_REQUESTS:
                raise asyncssh.PermissionDenied("too many authentication attempts")
        return super().process_packet(pkttype, pktid, packet)

    def _send_deferred_packets(self) -> None:
        super()._send_deferred_packets()
        self._flush_channels()

    def _flush_channels(self) -> None:
        for channel in list(self._channels.values()):
            if isinstance(channel, PatientChannel):
                channel._flush_send_buf()

    def send_packet(self, pkttype: int, *args: bytes, handler: object = None) -> None:
        """Leave out the IGNORE before every packet: only CBC ciphers needed it, and none is offered.

        Whoever does not read the answers, or finishes no key exchange behind which they wait, is cut off.
        """
        if pkttype == IGNORE:
            return
        super().send_packet(pkttype, *args, handler=handler)  # type: ignore[arg-type]
        if self._writes_paused and self._transport is not None:
            unsent, limit = self._transport.get_write_buffer_size(), MAX_UNSENT
            if unsent > (limit if self._auth_complete else MAX_DEFERRED):
                self.abort()
        if not self._kex_complete and len(self._deferred_packets) > MAX_DEFERRED_PACKETS:
            self.abort()


class PatientChannel(SSHChannel[bytes]):
    """A channel that keeps its data while its connection is congested."""

    def _flush_send_buf(self) -> None:
        connection = self._conn
        if isinstance(connection, PatientConnection) and connection.congested and self._send_buf:
            self._pause_resume_writing()
        else:
            super()._flush_send_buf()

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        """Count requests that wait for an answer."""
        if pkttype == CHANNEL_REQUEST and len(self._request_queue) >= MAX_PENDING_REPLIES:
            raise asyncssh.ProtocolError(Rule.TOO_MUCH_PENDING.value)
        return super().process_packet(pkttype, pktid, packet)


class PatientTcpChannel(PatientChannel, asyncssh.SSHTCPChannel[bytes]):
    """A direct-tcpip channel. To an SSH connection that runs in it, it is a transport."""

    def write(self, data: bytes, datatype: int | None = None) -> None:
        """Drop what comes after the end, as sockets' transports do: the connection has not been told yet."""
        if self._send_state == "open":
            super().write(data, datatype)


class Terminable(ABC):
    """Somebody's part in a session of somebody else, as their channel sees it."""

    @abstractmethod
    def force_terminate(self) -> None:
        """``x-teleport-force-terminate``: a moderator ends the session."""

    @abstractmethod
    def env_requested(self, name: bytes, value: bytes) -> bool:
        """One environment variable; False refuses it."""


class PatientServerChannel(PatientChannel, asyncssh.SSHServerChannel[bytes]):
    """A session channel."""

    def _process_env_request(self, packet: SSHPacket) -> bool:
        """Keep none of it, unless the session does: there is no process that could have it (R19)."""
        name, value = packet.get_string(), packet.get_string()
        packet.check_end()
        session = self._session
        return isinstance(session, Terminable) and session.env_requested(name, value)

    def _process_x_teleport_force_terminate_request(self, packet: SSHPacket) -> bool:
        packet.check_end()
        session = self._session
        if not isinstance(session, Terminable):
            return False
        session.force_terminate()
        return True

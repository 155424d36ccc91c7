"""The proxy's connections: a leg takes them over once asyncssh has authenticated them."""

import asyncio
import inspect
import socket
from collections.abc import Awaitable
from typing import Any, cast

import asyncssh
from asyncssh.auth import MSG_USERAUTH_PK_OK, _ClientPublicKeyAuth
from asyncssh.connection import SSHClientConnection
from asyncssh.packet import PacketDecodeError, SSHPacket

from interlock.adapters.ssh.leg_ports import ByteTransport, LegHooks
from interlock.adapters.ssh.once import Once
from interlock.adapters.ssh.seams.handshake import PromptConnection
from interlock.adapters.ssh.seams.keys import KeyedConnection
from interlock.adapters.ssh.seams.patience import PatientConnection, PatientServerChannel, PatientTcpChannel
from interlock.adapters.ssh.seams.presence import AttestedConnection
from interlock.adapters.ssh.seams.slim import shed
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.limits import MAX_CHANNELS
from interlock.core.wire import (
    CHANNEL_OPEN,
    KEX_LAST,
)

PORTAL_WINDOW = 2 * 1024 * 1024
PORTAL_PACKET = 32 * 1024

_KEX_METHOD_FIRST = 30
"""Messages 30 to 49 belong to the key exchange method (RFC 4253 §12)."""


async def _step(work: Awaitable[None]) -> None:
    """A step of a key exchange that takes time."""
    try:
        await work
    except (PacketDecodeError, asyncssh.DisconnectError) as error:
        raise RemoteProtocolError(Rule.UNEXPECTED_MESSAGE, f"key exchange: {error}") from error


class RelayedConnection(PromptConnection, KeyedConnection, PatientConnection):
    """A connection for which asyncssh does versions, key exchanges and authentication, and a leg all the rest."""

    _leg: LegHooks | None = None
    _frozen = False
    _quickened: socket.socket | None = None  # whose ACKs must not be delayed; set by connection_made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._close_event = cast(asyncio.Event, Once())  # for which hardly anybody ever waits

    # before the hand-over

    def freeze(self) -> None:
        """Leave all further packets unread, so that the leg finds them; call when authentication succeeds."""
        self._frozen = True
        if self._transport is not None:
            self._transport.pause_reading()

    def thaw(self) -> None:
        """Undo `freeze`: asyncssh serves the connection after all."""
        self._frozen = self._reads_paused = False
        if self._transport is not None:
            self._transport.resume_reading()
            super().data_received(b"")

    def _recv_pkthdr(self) -> bool:
        return False if self._frozen else super()._recv_pkthdr()

    def _pace(self) -> None:
        if not self._frozen:  # nothing is read at all, until the leg does
            super()._pace()

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Pass bytes on to the leg, or to asyncssh while it authenticates."""
        if self._leg is not None:
            self._leg.feed(data)
        else:
            super().data_received(data, datatype)
            self._acknowledge_now()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See whether there is TCP below."""
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX and hasattr(socket, "TCP_QUICKACK"):
            self._quickened = sock
        super().connection_made(transport)

    def _acknowledge_now(self) -> None:
        """No delayed ACK during set-up: a client with Nagle's algorithm would wait 40 ms for it (baselines §4)."""
        if self._quickened is not None and self._transport is not None:
            self._quickened.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def attach(self, leg: LegHooks) -> tuple[ByteTransport, bytes]:
        """Hand over: the transport, and what was read beyond the last packet that asyncssh took."""
        if self._transport is None or self._packet or self._decompressor is not None:
            raise asyncssh.ProtocolError("the connection cannot be relayed in this state")
        self._send_unsent(self._transport)
        leftover, self._inpbuf = self._inpbuf, b""
        self._leg = leg
        shed(self)
        return self._transport, leftover

    # after the hand-over

    @property
    def exchanging(self) -> bool:
        """Whether only messages of the transport layer may be sent: from our KEXINIT to our NEWKEYS."""
        return not self._kex_complete

    def exchange_keys(self) -> None:
        """Begin a key exchange."""
        self._send_kexinit()
        self._kexinit_sent = True

    def dispatch(self, payload: bytes, seq: int) -> Awaitable[None] | None:
        """Let asyncssh handle a transport-layer message; what it returns must end before the next packet.

        Either way, RemoteProtocolError if the message is wrong.
        """
        packet = SSHPacket(payload)
        kind = packet.get_byte()
        handler = self._kex if _KEX_METHOD_FIRST <= kind <= KEX_LAST else self
        if handler is None:
            raise RemoteProtocolError(Rule.UNEXPECTED_MESSAGE, f"message {kind} without a key exchange")
        if handler is self._kex and self._ignore_first_kex:  # the remote guessed another method (RFC 4253 §7)
            self._ignore_first_kex = False
            return None
        try:
            result = handler.process_packet(kind, seq, packet)
        except (PacketDecodeError, asyncssh.DisconnectError) as error:
            raise RemoteProtocolError(Rule.UNEXPECTED_MESSAGE, str(error)) from error
        if inspect.isawaitable(result):
            return _step(result)
        if not result:
            raise RemoteProtocolError(Rule.UNEXPECTED_MESSAGE, f"message {kind}")
        return None

    def send_packet(self, pkttype: int, *args: bytes, handler: object = None) -> None:
        """Send through the leg once there is one."""
        if self._leg is not None:
            self._leg.send_transport(bytes([pkttype]) + b"".join(args))
        else:
            super().send_packet(pkttype, *args, handler=handler)

    def _send_kexinit(self) -> None:
        """Begin our half of a key exchange, whoever asked for it."""
        if self._leg is not None:
            self._leg.exchange_began()
        super()._send_kexinit()

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        """End our half of a key exchange."""
        super().send_newkeys(k, h)
        if self._leg is not None:
            self._leg.keys_sent()

    def pause_writing(self) -> None:
        """Tell the leg, when the transport is a channel and so calls us instead of it."""
        if self._leg is not None:
            self._leg.pause_writing()
        else:
            super().pause_writing()

    def resume_writing(self) -> None:
        """Tell the leg."""
        if self._leg is not None:
            self._leg.resume_writing()
        else:
            super().resume_writing()

    def connection_lost(self, exc: Exception | None = None) -> None:
        """Tell the leg, then let asyncssh clean up."""
        leg, self._leg = self._leg, None
        if leg is not None:
            leg.connection_lost(exc)
        super().connection_lost(exc)


class ClientLegConnection(RelayedConnection, AttestedConnection):
    """The proxy's connection to a client: relayed, or a portal with channels of its own."""

    accepted_at: float | None = None  # by the monotonic clock; of a jump's inner connection, when the jump began

    def wait_longer(self, seconds: float) -> None:
        """Give the client so long from now on to authenticate."""
        self._cancel_login_timer()
        self._login_timer = self._loop.call_later(seconds, self._login_timer_callback)

    def create_tcp_channel(
        self,
        encoding: str | None = None,
        errors: str = "strict",
        window: int = PORTAL_WINDOW,
        max_pktsize: int = PORTAL_PACKET,
    ) -> PatientTcpChannel:
        """The channel of a jump."""
        self._update_recv_pktlen(max_pktsize)
        return PatientTcpChannel(self, self._loop, encoding, errors, window, max_pktsize)

    def create_server_channel(
        self, encoding: str | None = "", errors: str = "", window: int = 0, max_pktsize: int = 0
    ) -> PatientServerChannel:
        """The channel of a portal request, or of somebody who joins a session."""
        del encoding, errors, window, max_pktsize  # always bytes, always our own sizes
        self._update_recv_pktlen(PORTAL_PACKET)
        return PatientServerChannel(
            self, self._loop, True, False, False, 0, 0, None, "strict", PORTAL_WINDOW, PORTAL_PACKET
        )

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        """Count channels, those that are still being opened included."""
        if pkttype == CHANNEL_OPEN and self.count_channels() >= MAX_CHANNELS:
            raise asyncssh.ProtocolError(Rule.TOO_MANY_CHANNELS.value)
        return super().process_packet(pkttype, pktid, packet)

    def count_channels(self) -> int:
        """How many there are."""
        return len(self._channels)


class _SignedFirst(_ClientPublicKeyAuth):
    """Public key authentication without the unsigned question: we know our only key."""

    async def _start(self) -> None:
        self._keypair = await self._conn.public_key_auth_requested()
        if self._keypair is None:
            self._conn.try_next_auth(next_method=True)
        else:
            await self._send_signed_request()

    _packet_handlers = {MSG_USERAUTH_PK_OK: _ClientPublicKeyAuth._process_public_key_ok}  # noqa: RUF012


class TargetLegConnection(RelayedConnection, SSHClientConnection):
    """The proxy's connection to a target."""

    _asked = False

    def _connection_made(self) -> None:
        """Over a UNIX socket there is no address: asyncssh would take the path for one."""
        if isinstance(self.get_extra_info("peername"), str):
            self._peer_addr = ""
        super()._connection_made()

    def try_next_auth(self, *, next_method: bool = False) -> None:
        """Sign at once: sshd delays its answer to the usual ``none`` request (baselines §4)."""
        if self._asked:
            super().try_next_auth(next_method=next_method)
        else:
            self._asked = True
            self._auth_methods = [b"publickey"]
            self._auth = _SignedFirst(self, b"publickey")

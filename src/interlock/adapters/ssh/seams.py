"""The one module that uses asyncssh's private names; tests/adapters/ssh/test_seams.py pins each of them.

What is here is thin: each class turns a private hook into a public one, and decides nothing. Reasons, because
asyncssh 2.24.1 has no public way to do it: custom global and channel requests, extra data in a channel open, a
verdict on certificates that is ours alone, exit status strictly after the last byte, and back-pressure from the
socket and from key exchanges.
"""

import asyncio
import inspect
import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass

import asyncssh
from asyncssh.auth import MSG_USERAUTH_PK_OK, _ClientPublicKeyAuth
from asyncssh.channel import SSHChannel
from asyncssh.connection import SSHClientConnection, SSHConnection
from asyncssh.encryption import BasicEncryption, ChachaEncryption, Encryption, ETMEncryption, GCMEncryption
from asyncssh.packet import PacketDecodeError, SSHPacket

from interlock.adapters.ssh.leg_ports import ByteTransport, LegHooks
from interlock.adapters.ssh.seams_certificates import CertificateHooks, CertifiedConnection
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.limits import MAX_CHANNELS, MAX_PENDING_REPLIES, MAX_REASON, WRITE_HIGH_WATER
from interlock.core.wire import (
    CHANNEL_OPEN,
    CHANNEL_REQUEST,
    DISCONNECT,
    EXTENDED_DATA_STDERR,
    GLOBAL_REQUEST,
    IGNORE,
    KEX_LAST,
    REQUEST_FAILURE,
    Reader,
)

# --- back-pressure from the socket to the channels: node and proxy -------------------------------


class PatientConnection(SSHConnection):
    """A connection whose channels wait while it cannot send; asyncssh's would queue without bound (R18)."""

    _writes_paused = False

    @property
    def congested(self) -> bool:
        """Whether data must wait: the socket is full, or a key exchange would queue it."""
        return self._writes_paused or not self._kex_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the socket room for one burst, then stop what feeds it."""
        if isinstance(transport, asyncio.WriteTransport):
            transport.set_write_buffer_limits(high=WRITE_HIGH_WATER // 4)
        super().connection_made(transport)

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
        return super().process_packet(pkttype, pktid, packet)

    def _send_deferred_packets(self) -> None:
        super()._send_deferred_packets()
        self._flush_channels()

    def _flush_channels(self) -> None:
        for channel in list(self._channels.values()):
            if isinstance(channel, PatientChannel):
                channel._flush_send_buf()

    def send_packet(self, pkttype: int, *args: bytes, handler: object = None) -> None:
        """Leave out the IGNORE before every packet: only CBC ciphers needed it, and none is offered."""
        if pkttype != IGNORE:
            super().send_packet(pkttype, *args, handler=handler)  # type: ignore[arg-type]


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


# --- node: our SSH server on a host --------------------------------------------------------------


class NodeHooks(CertificateHooks):
    """What a `NodeConnection` asks of the object that its server factory made."""

    @abstractmethod
    async def answer(self, request: str) -> bool | str:
        """An extension's query, a global request without payload: SUCCESS, FAILURE, or a FAILURE in words."""

    @abstractmethod
    def session_open(self, connection: "NodeConnection", extra: bytes) -> Coroutine[None, None, "NodeSession"]:
        """Decide on a session channel with this extra data; ChannelOpenError refuses. Runs before the answer."""


class NodeSession(asyncssh.SSHServerSession[bytes], ABC):
    """What a `NodeChannel` asks beyond asyncssh's own session callbacks."""

    @abstractmethod
    def start_requested(self, kind: str, argument: bytes) -> bool:
        """``shell``, ``exec`` or ``subsystem``. False refuses; True means that `NodeChannel.answer` follows."""

    @abstractmethod
    def env_requested(self, name: bytes, value: bytes) -> bool:
        """One environment variable; False refuses it."""

    @abstractmethod
    def forwarding_requested(self, what: str, data: bytes) -> bool:
        """``x11-req`` or ``auth-agent-req@openssh.com``, with what it says; False refuses."""

    @abstractmethod
    def finished(self) -> None:
        """All that `NodeChannel.finish` had to send is sent, the close included."""


def _disconnect_text(contents: bytes) -> str:
    """RFC 4253 §11.1; empty if there is none."""
    try:
        reader = Reader(contents)
        reader.uint32()
        return reader.string()[:MAX_REASON].decode("utf-8", "replace")
    except RemoteProtocolError:
        return ""


class NodeConnection(PatientConnection, CertifiedConnection):
    """A client's connection to our node."""

    farewell = ""  # what the other end said when it disconnected
    forwarded = False  # whether the other end is a forwarder, whose farewell tells the reason; set by the owner

    @property
    def hooks(self) -> NodeHooks | None:
        """The owner; None once the connection has ended."""
        return self._owner if isinstance(self._owner, NodeHooks) else None

    @property
    def alive(self) -> bool:
        """Whether the connection can still carry messages."""
        return self._transport is not None

    @property
    def open_channels(self) -> int:
        """Channels that are open or being opened."""
        return len(self._channels)

    # our requests

    def _process_session_id_query_at_goteleport_dot_com_global_request(self, packet: SSHPacket) -> None:
        self._answer_query("session-id-query@goteleport.com", packet)

    def _process_session_id_query_v2_at_goteleport_dot_com_global_request(self, packet: SSHPacket) -> None:
        self._answer_query("session-id-query-v2@goteleport.com", packet)

    def _answer_query(self, request: str, packet: SSHPacket) -> None:
        packet.get_remaining_payload()  # empty, or a tracing envelope of a peer that sends them
        hooks = self.hooks
        if hooks is None:
            self._report_global_response(False)
        else:
            self.run(self._ask(hooks, request))

    async def _ask(self, hooks: NodeHooks, request: str) -> None:
        """Requests behind this one wait, since replies leave in order (RFC 4254 §4)."""
        answer = await hooks.answer(request)
        if not self.alive:
            return
        if isinstance(answer, str):
            handler, packet, want_reply = self._global_request_queue[0]
            if want_reply:
                self.send_packet(REQUEST_FAILURE, answer.encode())
            self._global_request_queue[0] = handler, packet, False  # it is answered
        self._report_global_response(answer is True)

    # the other end's last words

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        """Keep the text of a DISCONNECT: asyncssh tells nobody."""
        if pkttype == DISCONNECT:
            contents = packet.get_remaining_payload()
            self.farewell = _disconnect_text(contents)
            packet = SSHPacket(contents)
        return super().process_packet(pkttype, pktid, packet)

    def _process_session_open(  # type: ignore[override]  # asyncssh allows a coroutine, its annotation does not
        self, packet: SSHPacket
    ) -> tuple["NodeChannel", Coroutine[None, None, NodeSession]]:
        extra = packet.get_remaining_payload()
        hooks = self.hooks
        if hooks is None:
            raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "the connection is closing")
        self._update_recv_pktlen(self._max_pktsize)
        channel = NodeChannel(self, self._loop, window=self._window, max_pktsize=self._max_pktsize)
        return channel, hooks.session_open(self, extra)


class NodeChannel(PatientServerChannel):
    """A session channel of our node: bytes only, requests answered when their work is done."""

    def __init__(
        self, connection: NodeConnection, loop: asyncio.AbstractEventLoop, *, window: int, max_pktsize: int
    ) -> None:
        super().__init__(
            connection,
            loop,
            allow_pty=True,
            line_editor=False,
            line_echo=False,
            line_history=0,
            max_line_length=0,
            encoding=None,
            errors="strict",
            window=window,
            max_pktsize=max_pktsize,
        )
        self._connection = connection
        self._last_request: tuple[bytes, bytes] | None = None  # set by finish, sent after the last byte

    @property
    def writable(self) -> bool:
        """Whether data can still be sent: open, and neither EOF nor close are on their way."""
        return self._send_state == "open" and self._last_request is None

    def announce(self, request: bytes, payload: bytes) -> None:
        """Send a channel request of ours without asking for a reply."""
        self._send_request(request, payload)

    def send(self, data: bytes, *, stderr: bool = False) -> None:
        """Send, or queue when the client's window is used up; the session's pause_writing tells when to stop."""
        if self.writable:
            self.write(data, EXTENDED_DATA_STDERR if stderr else None)

    def answer(self, ok: bool) -> None:
        """Answer the start request that `NodeSession.start_requested` took on; harmless after the close."""
        if self._node_session() is not None and self._request_queue:
            self._report_response(ok)

    def finish(self, request: bytes, payload: bytes) -> None:
        """After everything queued: the exit request, EOF, close, in this order (RFC 4254 §6.10)."""
        if self._last_request is None and self._send_state == "open":
            self._last_request = (request, payload)
            self._flush_send_buf()

    def _flush_send_buf(self) -> None:
        super()._flush_send_buf()
        if self._last_request is not None and not self._send_buf and self._send_state == "open":
            self._send_request(self._last_request[0], self._last_request[1])
            self.write_eof()
            self.close()
            if session := self._node_session():
                session.finished()

    def _node_session(self) -> NodeSession | None:
        return self._session if isinstance(self._session, NodeSession) else None

    def _process_env_request(self, packet: SSHPacket) -> bool:
        name, value = packet.get_string(), packet.get_string()
        packet.check_end()
        session = self._node_session()
        return session is not None and session.env_requested(name, value)

    def _process_shell_request(self, packet: SSHPacket) -> bool | None:  # type: ignore[override]
        packet.check_end()
        return self._start_requested("shell", b"")

    def _process_exec_request(self, packet: SSHPacket) -> bool | None:  # type: ignore[override]
        return self._start_requested("exec", self._one_string(packet))

    def _process_subsystem_request(self, packet: SSHPacket) -> bool | None:  # type: ignore[override]
        return self._start_requested("subsystem", self._one_string(packet))

    def _one_string(self, packet: SSHPacket) -> bytes:
        value = packet.get_string()
        packet.check_end()
        return value

    def _start_requested(self, kind: str, argument: bytes) -> bool | None:
        session = self._node_session()
        taken = session is not None and session.start_requested(kind, argument)
        return None if taken else False

    def _process_x11_req_request(self, packet: SSHPacket) -> bool:
        return self._forwarding_requested("x11-req", packet)

    def _process_auth_agent_req_at_openssh_dot_com_request(  # type: ignore[override]
        self, packet: SSHPacket
    ) -> bool:
        return self._forwarding_requested("auth-agent-req@openssh.com", packet)

    def _forwarding_requested(self, what: str, packet: SSHPacket) -> bool:
        data = packet.get_remaining_payload()
        session = self._node_session()
        return session is not None and session.forwarding_requested(what, data)


# --- proxy: connections that a leg takes over after authentication -------------------------------

PORTAL_WINDOW = 2 * 1024 * 1024
PORTAL_PACKET = 32 * 1024

_KEX_METHOD_FIRST = 30
"""Messages 30 to 49 belong to the key exchange method (RFC 4253 §12)."""


@dataclass(frozen=True, slots=True)
class Keys:
    """One direction's cipher as the last key exchange left it."""

    encryption: Encryption
    block: int  # bytes that the encrypted part is padded to
    header: int  # how many bytes of length and padding-length fields count for the padding (RFC 4253 §6)
    mac: int  # bytes of the tag behind a packet; 0 if not known, which is so when sending
    aead: tuple[bytes, bytes] | None  # key and initial nonce of AES-GCM (RFC 5647)
    chacha: bool
    strict: bool  # sequence numbers start at 0 with each new key (strict kex)


def _keys(encryption: Encryption | None, block: int, header: int, mac: int, *, strict: bool) -> Keys:
    if encryption is None:
        raise asyncssh.ProtocolError("no keys yet")
    aead = None
    if isinstance(encryption, GCMEncryption):
        aead = (encryption._cipher._key, encryption._cipher._iv)
    return Keys(encryption, block, header, mac, aead, isinstance(encryption, ChachaEncryption), strict)


async def _step(work: Awaitable[None]) -> None:
    """A step of a key exchange that takes time."""
    try:
        await work
    except (PacketDecodeError, asyncssh.DisconnectError) as error:
        raise RemoteProtocolError(Rule.UNEXPECTED_MESSAGE, f"key exchange: {error}") from error


class RelayedConnection(PatientConnection):
    """A connection for which asyncssh does versions, key exchanges and authentication, and a leg all the rest."""

    _leg: LegHooks | None = None
    _frozen = False

    # before the hand-over

    def freeze(self) -> None:
        """Leave all further packets unread, so that the leg finds them; call when authentication succeeds."""
        self._frozen = True
        if self._transport is not None:
            self._transport.pause_reading()

    def thaw(self) -> None:
        """Undo `freeze`: asyncssh serves the connection after all."""
        self._frozen = False
        if self._transport is not None:
            self._transport.resume_reading()
            super().data_received(b"")

    def _recv_pkthdr(self) -> bool:
        return False if self._frozen else super()._recv_pkthdr()

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """Pass bytes on to the leg, or to asyncssh while it authenticates."""
        if self._leg is not None:
            self._leg.feed(data)
        else:
            super().data_received(data, datatype)
            self._acknowledge_now()

    def _acknowledge_now(self) -> None:
        """No delayed ACK during set-up: a client with Nagle's algorithm would wait 40 ms for it (baselines §4)."""
        sock = self._transport.get_extra_info("socket") if self._transport is not None else None
        if sock is not None and hasattr(socket, "TCP_QUICKACK"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def attach(self, leg: LegHooks) -> tuple[ByteTransport, bytes]:
        """Hand over: the transport, and what was read beyond the last packet that asyncssh took."""
        if self._transport is None or self._packet or self._decompressor is not None:
            raise asyncssh.ProtocolError("the connection cannot be relayed in this state")
        leftover, self._inpbuf = self._inpbuf, b""
        self._leg = leg
        return self._transport, leftover

    # after the hand-over

    @property
    def sequence(self) -> tuple[int, int]:
        """Sequence numbers of the next packets to be received and sent (RFC 4253 §6.4), valid at the hand-over."""
        return self._recv_seq, self._send_seq

    @property
    def receive_keys(self) -> Keys:
        """For what comes in."""
        cipher = self._recv_encryption
        header = 5 if isinstance(cipher, BasicEncryption) and not isinstance(cipher, ETMEncryption) else 1
        return _keys(cipher, self._recv_blocksize, header, self._recv_macsize, strict=self._strict_kex)

    @property
    def send_keys(self) -> Keys:
        """For what goes out."""
        return _keys(self._send_encryption, self._send_blocksize, self._send_enchdrlen, 0, strict=self._strict_kex)

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


class ClientLegConnection(RelayedConnection, CertifiedConnection):
    """The proxy's connection to a client: relayed, or a portal with channels of its own."""

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

    def try_next_auth(self, *, next_method: bool = False) -> None:
        """Sign at once: sshd delays its answer to the usual ``none`` request (baselines §4)."""
        if self._asked:
            super().try_next_auth(next_method=next_method)
        else:
            self._asked = True
            self._auth_methods = [b"publickey"]
            self._auth = _SignedFirst(self, b"publickey")

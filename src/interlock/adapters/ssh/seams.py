"""The one module that uses asyncssh's private names; tests/adapters/ssh/test_seams.py pins each of them.

What is here is thin: each class turns a private hook into a public one, and decides nothing. Reasons, because
asyncssh 2.24.1 has no public way to do it: custom global and channel requests, extra data in a channel open, a
verdict on certificates that is ours alone, exit status strictly after the last byte, and back-pressure from the
socket and from key exchanges.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine

import asyncssh
from asyncssh.connection import SSHServerConnection
from asyncssh.packet import SSHPacket, String
from asyncssh.public_key import (
    KeyImportError,
    SSHKey,
    SSHOpenSSHCertificate,
    decode_ssh_certificate,
)

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.limits import MAX_PENDING_REPLIES, WRITE_HIGH_WATER
from interlock.core.wire import EXTENDED_DATA_STDERR, IGNORE, Reader

# --- node: our SSH server on a host --------------------------------------------------------------

_WEAK_SIGNATURES = (b"ssh-rsa", b"ssh-dss")
"""SHA-1 signatures, which OpenSSH refuses since 8.8."""


class NodeHooks(asyncssh.SSHServer, ABC):
    """What a `NodeConnection` asks of the object that its server factory made."""

    @abstractmethod
    def judge(self, user: str, certificate: bytes) -> bool:
        """Whether a certificate (wire form) is genuine. Grants nothing: no signature was seen yet (R12)."""

    @abstractmethod
    def proven(self, user: str, certificate: bytes) -> None:
        """The client has signed with the certificate's key; called right before authentication succeeds."""

    @abstractmethod
    def answers(self, request: str) -> bool:
        """Whether an extension's query, a global request without payload, is answered with SUCCESS."""

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


def certified_key(certificate: bytes) -> SSHKey | None:
    """The subject key of an OpenSSH certificate in wire form; None if it is anything else."""
    try:
        decoded = decode_ssh_certificate(certificate)
    except KeyImportError:
        return None
    return decoded.key if isinstance(decoded, SSHOpenSSHCertificate) else None


def _strong(signature: bytes) -> bool:
    try:
        return Reader(signature).string() not in _WEAK_SIGNATURES
    except RemoteProtocolError:
        return False


class NodeConnection(SSHServerConnection):
    """A client's connection to our node."""

    def __init__(self, loop: asyncio.AbstractEventLoop, options: asyncssh.SSHServerConnectionOptions) -> None:
        super().__init__(loop, options)
        self._writes_paused = False

    @property
    def hooks(self) -> NodeHooks | None:
        """The owner; None once the connection has ended."""
        return self._owner if isinstance(self._owner, NodeHooks) else None

    @property
    def congested(self) -> bool:
        """Whether data must wait: the socket is full, or a key exchange would queue it without bound (R18)."""
        return self._writes_paused or not self._kex_complete

    @property
    def alive(self) -> bool:
        """Whether the connection can still carry messages."""
        return self._transport is not None

    @property
    def open_channels(self) -> int:
        """Channels that are open or being opened."""
        return len(self._channels)

    async def reload_config(self) -> None:
        """Nothing: our options never depend on the user's name, so the thread that parses them is spared."""

    # authentication

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        """Our verdict instead of asyncssh's; without ``msg`` this is only a question (RFC 4252 §7)."""
        hooks = self.hooks
        key = certified_key(key_data)
        if hooks is None or not hooks.judge(username, key_data) or key is None:
            return False
        if not msg:
            return True
        key.set_touch_required(True)
        if not _strong(signature) or not key.verify(String(self._session_id) + msg, signature):
            return False
        hooks.proven(username, key_data)
        return True

    # our requests

    def _process_session_id_query_at_goteleport_dot_com_global_request(self, packet: SSHPacket) -> None:
        self._answer_query("session-id-query@goteleport.com", packet)

    def _process_session_id_query_v2_at_goteleport_dot_com_global_request(self, packet: SSHPacket) -> None:
        self._answer_query("session-id-query-v2@goteleport.com", packet)

    def _answer_query(self, request: str, packet: SSHPacket) -> None:
        packet.get_remaining_payload()  # empty, or a tracing envelope of a peer that sends them
        hooks = self.hooks
        self._report_global_response(hooks is not None and hooks.answers(request))

    def _process_global_request(self, _pkttype: int, _pktid: int, packet: SSHPacket) -> None:
        if len(self._global_request_queue) >= MAX_PENDING_REPLIES:
            raise asyncssh.ProtocolError(Rule.TOO_MUCH_PENDING.value)
        super()._process_global_request(_pkttype, _pktid, packet)

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

    # flow control

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the socket room for one burst, then stop what feeds it."""
        if isinstance(transport, asyncio.WriteTransport):
            transport.set_write_buffer_limits(high=WRITE_HIGH_WATER // 4)
        super().connection_made(transport)

    def pause_writing(self) -> None:
        """The client does not read: data waits in the channels, whose high-water marks stop the processes."""
        self._writes_paused = True

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writes_paused = False
        self._flush_channels()

    def _send_deferred_packets(self) -> None:
        super()._send_deferred_packets()
        self._flush_channels()

    def _flush_channels(self) -> None:
        for channel in list(self._channels.values()):
            if isinstance(channel, NodeChannel):
                channel._flush_send_buf()

    def send_packet(self, pkttype: int, *args: bytes, handler: object = None) -> None:
        """Leave out the IGNORE before every packet: only CBC ciphers needed it, and none is offered."""
        if pkttype != IGNORE:
            super().send_packet(pkttype, *args, handler=handler)  # type: ignore[arg-type]


class NodeChannel(asyncssh.SSHServerChannel[bytes]):
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
        if self._connection.congested and self._send_buf:
            self._pause_resume_writing()
            return
        super()._flush_send_buf()
        if self._last_request is not None and not self._send_buf and self._send_state == "open":
            self._send_request(self._last_request[0], self._last_request[1])
            self.write_eof()
            self.close()

    def _node_session(self) -> NodeSession | None:
        return self._session if isinstance(self._session, NodeSession) else None

    def _process_request(self, _pkttype: int, _pktid: int, packet: SSHPacket) -> None:
        if len(self._request_queue) >= MAX_PENDING_REPLIES:
            raise asyncssh.ProtocolError(Rule.TOO_MUCH_PENDING.value)
        super()._process_request(_pkttype, _pktid, packet)

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
        packet.get_remaining_payload()
        return False

    def _process_auth_agent_req_at_openssh_dot_com_request(  # type: ignore[override]
        self, packet: SSHPacket
    ) -> bool:
        packet.get_remaining_payload()
        return False

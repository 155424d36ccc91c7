"""Our SSH server on a host: custom requests, extra data in an open, and a session's end in its order."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Coroutine

import asyncssh
from asyncssh.packet import SSHPacket

from interlock.adapters.ssh.seams.certificates import CertificateHooks, CertifiedConnection
from interlock.adapters.ssh.seams.inplace import InPlaceChannel, InPlaceConnection, Packets
from interlock.core.errors import RemoteProtocolError
from interlock.core.limits import MAX_REASON
from interlock.core.wire import (
    DISCONNECT,
    EXTENDED_DATA_STDERR,
    REQUEST_FAILURE,
    Reader,
)


class NodeHooks(CertificateHooks):
    """What a `NodeConnection` asks of the object that its server factory made."""

    @abstractmethod
    async def answer(self, request: str) -> bool | str:
        """An extension's query, a global request without payload: SUCCESS, FAILURE, or a FAILURE in words."""

    @abstractmethod
    def session_open(self, connection: "NodeConnection", extra: bytes) -> Coroutine[None, None, "NodeSession"]:
        """Decide on a session channel with this extra data; ChannelOpenError refuses. Runs before the answer."""

    @abstractmethod
    def make_packets(self, connection: "NodeConnection") -> Packets:
        """What reads and writes the packets from now on: the client is authenticated."""


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

    def has_room(self) -> None:
        """There is room again for output that found none."""

    @abstractmethod
    def data_received(self, data: bytes | memoryview, datatype: int | None) -> None:
        """Data from the client, good during the call."""


def _disconnect_text(contents: bytes) -> str:
    """RFC 4253 §11.1; empty if there is none."""
    try:
        reader = Reader(contents)
        reader.uint32()
        return reader.string()[:MAX_REASON].decode("utf-8", "replace")
    except RemoteProtocolError:
        return ""


class NodeConnection(InPlaceConnection, CertifiedConnection):
    """A client's connection to our node."""

    farewell = ""  # what the other end said when it disconnected
    forwarded = False  # whether the other end is a forwarder, whose farewell tells the reason; set by the owner

    @property
    def hooks(self) -> NodeHooks | None:
        """The owner; None once the connection has ended."""
        return self._owner if isinstance(self._owner, NodeHooks) else None

    def make_packets(self) -> Packets | None:
        """The owner's choice."""
        return self.hooks.make_packets(self) if self.hooks is not None else None

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


class NodeChannel(InPlaceChannel):
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

    def has_room(self) -> None:
        """Tell the session."""
        if session := self._node_session():
            session.has_room()

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

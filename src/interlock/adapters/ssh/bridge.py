"""The bridge of a jump in node mode: bytes between the client's channel and our node, end to end encrypted.

It opens towards SSH servers only: the other end must introduce itself as one before anything is passed on, so that
a node which reports somebody else's address makes the gateway reach nothing but SSH there (R5).
"""

import asyncio

import asyncssh

from interlock.adapters.ssh.dial import words
from interlock.adapters.ssh.door import address
from interlock.core.errors import TargetError
from interlock.core.limits import DIAL_TIMEOUT_S, WRITE_HIGH_WATER
from interlock.domain.target import Target

_GREETING = b"SSH-2.0-"


class _NodeEnd(asyncio.Protocol):
    """The connection to the node."""

    def __init__(self) -> None:
        self.greeted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.bridge: Bridge | None = None  # set once the client's channel is there
        self.transport: asyncio.Transport  # set by connection_made, the first callback
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        if isinstance(transport, asyncio.Transport):
            self.transport = transport
            transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)

    def data_received(self, data: bytes) -> None:
        """Pass on, or look at the greeting."""
        if self.bridge is not None:
            self.bridge.to_client(data)
            return
        self._early += data
        if len(self._early) >= len(_GREETING) and not self.greeted.done():
            self.transport.pause_reading()
            self.greeted.set_result(self._early.startswith(_GREETING))

    def begin(self, bridge: "Bridge") -> None:
        """The client's channel is open."""
        self.bridge = bridge
        bridge.to_client(self._early)
        self._early = b""
        self.transport.resume_reading()

    def eof_received(self) -> bool:
        """The node sends no more; our direction stays open."""
        if self.bridge is not None:
            self.bridge.client_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The node is gone."""
        if not self.greeted.done():
            self.greeted.set_result(False)
        if self.bridge is not None:
            self.bridge.client_close()

    def pause_writing(self) -> None:
        """The node does not read."""
        if self.bridge is not None:
            self.bridge.pause_client()

    def resume_writing(self) -> None:
        """It reads again."""
        if self.bridge is not None:
            self.bridge.resume_client()


class Bridge(asyncssh.SSHTCPSession[bytes]):
    """The client's channel."""

    def __init__(self, node: _NodeEnd) -> None:
        self._node = node
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None

    @property
    def local_addr(self) -> str:
        """Our address as the node sees it."""
        return address(self._node.transport.get_extra_info("sockname"))

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        """Keep the channel."""
        self._channel = chan

    def session_started(self) -> None:
        """Bytes may flow."""
        self._node.begin(self)

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:  # noqa: ARG002
        """From the client."""
        self._node.transport.write(data)

    def eof_received(self) -> bool:
        """The client sends no more."""
        if not self._node.transport.is_closing():
            self._node.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client is gone."""
        self._channel = None
        self._node.transport.close()

    def pause_writing(self) -> None:
        """The client does not read."""
        self._node.transport.pause_reading()

    def resume_writing(self) -> None:
        """It reads again."""
        self._node.transport.resume_reading()

    def to_client(self, data: bytes) -> None:
        """From the node."""
        if self._channel is not None and data:
            self._channel.write(data)

    def client_eof(self) -> None:
        """The node sends no more."""
        if self._channel is not None:
            self._channel.write_eof()

    def client_close(self) -> None:
        """The node is gone."""
        if self._channel is not None:
            self._channel.close()

    def pause_client(self) -> None:
        """The node does not read."""
        if self._channel is not None:
            self._channel.pause_reading()

    def resume_client(self) -> None:
        """It reads again."""
        if self._channel is not None:
            self._channel.resume_reading()


async def open_bridge(target: Target, *, timeout: float = DIAL_TIMEOUT_S) -> Bridge:  # noqa: ASYNC109
    """Reach the node and see that it speaks SSH. TargetError if it does not, or not in time."""
    name = target.hostname
    try:
        async with asyncio.timeout(timeout):
            _, node = await asyncio.get_running_loop().create_connection(_NodeEnd, target.host, target.port)
            try:
                speaks_ssh = await node.greeted
            except BaseException:
                node.transport.abort()
                raise
    except TimeoutError as error:
        raise TargetError(
            f"{name} is unreachable: it does not answer", reason=f"{name} at {target.addr}"
        ) from error
    except OSError as error:
        reason = f"{name} at {target.addr}: {error!r}"
        raise TargetError(f"{name} is unreachable: {words(error)}", reason=reason) from error
    if not speaks_ssh:
        node.transport.abort()
        raise TargetError(f"{name} does not answer as an SSH server", reason=f"{name} at {target.addr}")
    return Bridge(node)

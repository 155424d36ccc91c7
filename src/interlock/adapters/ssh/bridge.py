"""The bridge of a jump in node mode: bytes between the client's channel and our node, end to end encrypted.

It opens towards SSH servers only: the other end must introduce itself as one before anything is passed on, so that
a node which reports somebody else's address makes the gateway reach nothing but SSH there (R5).
"""

import asyncio

import asyncssh

from interlock.adapters.ssh.guarded import address
from interlock.adapters.ssh.pipe import ChannelEnd, StreamEnd, link
from interlock.adapters.ssh.seams.relayed import ClientLegConnection
from interlock.adapters.ssh.seams.tunnel import TunnelLost
from interlock.adapters.ssh.tunnel.entrance import TunnelEntrance
from interlock.adapters.ssh.words import words
from interlock.core.errors import TargetError
from interlock.core.limits import DIAL_TIMEOUT_S
from interlock.domain.target import Target

_GREETING = b"SSH-2.0-"


class _NodeEnd(StreamEnd):
    """The connection to the node, which must greet before there is another end."""

    def __init__(self) -> None:
        super().__init__()
        self.greeted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        super().connection_made(transport)
        self.resume()

    def data_received(self, data: bytes) -> None:
        """Pass on, or look at the greeting."""
        if self.greeted.done():
            super().data_received(data)
            return
        self._early += data
        if len(self._early) >= len(_GREETING):
            self.pause()
            self.greeted.set_result(self._early.startswith(_GREETING))

    def resume(self) -> None:
        """The greeting first, now that somebody can take it."""
        early, self._early = self._early, b""
        if early:
            super().data_received(early)
        super().resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """The node is gone."""
        if not self.greeted.done():
            self.greeted.set_result(False)
        super().connection_lost(exc)


class Bridge(ChannelEnd):
    """The client's channel, linked to the node."""

    def __init__(self, name: str, node: StreamEnd | ChannelEnd) -> None:
        super().__init__()
        self._name = name
        self._node = node
        self.local_addr = ""  # our address as the node sees it; it has none at the end of a tunnel
        if isinstance(node, StreamEnd):
            self.local_addr = address(node.transport.get_extra_info("sockname"))
        link(self, node)

    def close(self) -> None:
        """The node is gone. If its tunnel is to blame, say so to a client that has nothing else here."""
        channel, node = self._channel, self._node
        if channel is not None and isinstance(node, ChannelEnd) and isinstance(node.lost_by, TunnelLost):
            outer = channel.get_connection()
            if isinstance(outer, ClientLegConnection) and outer.count_channels() == 1:
                text = f"the connection to {self._name} ended: {node.lost_by.public}"
                outer.disconnect(asyncssh.DISC_BY_APPLICATION, text)
        super().close()

    def abandon(self) -> None:
        """The client is gone before its channel was open."""
        self._node.close()


async def open_bridge(
    target: Target,
    tunnels: TunnelEntrance,
    client_addr: str,
    *,
    timeout: float = DIAL_TIMEOUT_S,  # noqa: ASYNC109
) -> Bridge:
    """Reach the node and see that it speaks SSH. TargetError if it does not, or not in time."""
    name = target.hostname
    try:
        async with asyncio.timeout(timeout):
            if target.tunnel:  # what answers there is the node's own server
                end = await tunnels.connect(target, client_addr, channel=ChannelEnd, stream=StreamEnd)
                return Bridge(name, end)
            node = await _reach(target)
    except TimeoutError as error:
        raise TargetError(
            f"{name} is unreachable: it does not answer", reason=f"{name} at {target.addr}"
        ) from error
    except OSError as error:
        reason = f"{name} at {target.addr}: {error!r}"
        raise TargetError(f"{name} is unreachable: {words(error)}", reason=reason) from error
    if not node.greeted.result():
        node.transport.abort()
        raise TargetError(f"{name} does not answer as an SSH server", reason=f"{name} at {target.addr}")
    return Bridge(name, node)


async def _reach(target: Target) -> _NodeEnd:
    _, node = await asyncio.get_running_loop().create_connection(_NodeEnd, target.host, target.port)
    try:
        await node.greeted
    except BaseException:
        node.transport.abort()
        raise
    return node

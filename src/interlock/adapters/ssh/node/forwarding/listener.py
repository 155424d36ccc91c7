"""Something on this host that accepts connections for the client: each becomes a channel, or is closed."""

import asyncio
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Protocol

import asyncssh

from interlock.adapters.ssh.node.forwarding.ends import Ends
from interlock.adapters.ssh.pipe import link
from interlock.core.address import format_address

OpenChannel = Callable[[Ends, str, int], Coroutine[None, None, None]]
"""Open a channel for ``ends.channel``, told where the connection comes from; ChannelOpenError."""


class Owner(Protocol):
    """The client's connection, as a listener needs it."""

    def run(self, work: Coroutine[None, None, None]) -> None:
        """Do ``work`` in a task that the connection owns."""
        ...

    def admit(self, origin: str) -> Ends | None:
        """The ends of a new forwarded connection; None if there are too many."""
        ...

    def dropped(self, ends: Ends, error: asyncssh.ChannelOpenError) -> None:
        """The client refused the channel."""
        ...


class Listener(asyncssh.SSHListener):
    """Listening sockets; asyncssh closes it when the client cancels the request or goes away."""

    def __init__(
        self, owner: Owner, sockets: Sequence[socket.socket], open_channel: OpenChannel, *, single: bool = False
    ) -> None:
        super().__init__()
        self._owner = owner
        self._sockets = sockets
        self._open_channel = open_channel
        self._single = single  # one connection and no more
        self._servers: list[asyncio.Server] = []
        self._closed = False
        self.on_close: Callable[[], None] = lambda: None

    def get_port(self) -> int:
        """The port, of the first socket if there are several; 0 for sockets of the file system."""
        name = self._sockets[0].getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    async def start(self) -> None:
        """Accept connections from now on."""
        loop = asyncio.get_running_loop()
        for each in self._sockets:
            if self._closed:
                return
            serve = loop.create_unix_server if each.family == socket.AF_UNIX else loop.create_server
            self._servers.append(await serve(self._accepted, sock=each))

    def close(self) -> None:
        """Accept nothing more; what was accepted goes on."""
        if self._closed:
            return
        self._closed = True
        for server in self._servers:
            server.close()
        for each in self._sockets:
            each.close()
        self.on_close()

    async def wait_closed(self) -> None:
        """Closing takes no time."""

    def _accepted(self) -> "asyncio.Protocol":
        return _Accepted(self)

    def arrived(self, transport: asyncio.Transport) -> None:
        """A connection was accepted, and holds until its channel is open."""
        name = transport.get_extra_info("peername")
        host, port = (str(name[0]), int(name[1])) if isinstance(name, tuple) else ("", 0)
        ends = None if self._closed else self._owner.admit(format_address(host, port) if host else "")
        if ends is None:
            transport.abort()
            return
        if self._single:
            self.close()
        transport.set_protocol(ends.socket)
        ends.socket.connection_made(transport)
        self._owner.run(self._forward(ends, host, port))

    async def _forward(self, ends: Ends, host: str, port: int) -> None:
        link(ends.channel, ends.socket)
        try:
            await self._open_channel(ends, host, port)
        except asyncssh.ChannelOpenError as error:
            ends.socket.transport.abort()
            self._owner.dropped(ends, error)


class _Accepted(asyncio.Protocol):
    """A connection until its ends are made."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hand it on."""
        if isinstance(transport, asyncio.Transport):
            self._listener.arrived(transport)

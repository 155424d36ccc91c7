"""The two ends of one forwarded connection, counted."""

from collections.abc import Callable

from interlock.adapters.ssh.pipe import ChannelEnd, StreamEnd

Ended = Callable[[int, int], None]
"""Told once, when the channel is closed: bytes from the client and to it."""


class Ends:
    """A socket on this host and a channel of the client's."""

    def __init__(self, on_end: Ended) -> None:
        self.on_end = on_end
        self.sent = 0  # by the client
        self.received = 0
        self.socket = SocketEnd(self)
        self.channel = ClientEnd(self)


class SocketEnd(StreamEnd):
    """The socket."""

    def __init__(self, ends: Ends) -> None:
        super().__init__()
        self._ends = ends

    def data_received(self, data: bytes) -> None:
        """Count, and pass on."""
        self._ends.received += len(data)
        super().data_received(data)


class ClientEnd(ChannelEnd):
    """The channel."""

    def __init__(self, ends: Ends) -> None:
        super().__init__()
        self._ends = ends

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Count, and pass on."""
        self._ends.sent += len(data)
        super().data_received(data, datatype)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the counts."""
        super().connection_lost(exc)
        self._ends.on_end(self._ends.sent, self._ends.received)

"""What a connection that was taken over and its leg want of each other, as types only."""

from typing import Protocol


class ByteTransport(Protocol):
    """What a leg needs of a transport: a socket's, or a channel of an outer connection (the ``-J`` route)."""

    def write(self, data: bytes | memoryview) -> None:
        """Send or queue."""

    def get_write_buffer_size(self) -> int:
        """Bytes queued."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """When to call pause_writing."""

    def pause_reading(self) -> None:
        """Stop the callbacks that bring bytes."""

    def resume_reading(self) -> None:
        """Go on with them."""

    def close(self) -> None:
        """Close when all is sent."""

    def abort(self) -> None:
        """Close now."""


class LegHooks(Protocol):
    """What a `RelayedConnection` asks of the leg that took it over."""

    def feed(self, data: bytes) -> None:
        """Bytes from a transport that is not a socket."""

    def send_transport(self, payload: bytes) -> None:
        """A message of the transport layer, which asyncssh wants sent at once."""

    def keys_sent(self) -> None:
        """NEWKEYS has been sent: what follows uses the new keys, and what waited may go."""

    def pause_writing(self) -> None:
        """The transport's buffer is above its high-water mark."""

    def resume_writing(self) -> None:
        """It has drained."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""

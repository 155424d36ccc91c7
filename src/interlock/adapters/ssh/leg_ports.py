"""What a connection that was taken over and its leg want of each other, as types only."""

from collections.abc import Awaitable
from typing import Protocol

from interlock.core.errors import RemoteProtocolError
from interlock.core.sides import Side


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

    def exchange_began(self) -> None:
        """Our KEXINIT is on its way: until `keys_sent` only messages of the transport layer may be sent."""

    def keys_sent(self) -> None:
        """NEWKEYS has been sent: what follows uses the new keys, and what waited may go."""

    def pause_writing(self) -> None:
        """The transport's buffer is above its high-water mark."""

    def resume_writing(self) -> None:
        """It has drained."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""


class LegOwner(Protocol):
    """Who decides."""

    def received(self, side: Side, payload: bytes) -> bool:
        """A connection message; False if there is no such type. RemoteProtocolError ends the connection."""
        ...

    def run_step(self, side: Side, step: Awaitable[None]) -> None:
        """Await a key exchange's step and then call `Leg.step_done`."""
        ...

    def failed(self, side: Side, error: RemoteProtocolError) -> None:
        """The remote of this leg violated the protocol."""
        ...

    def disconnected(self, side: Side, text: str) -> None:
        """The remote said goodbye with this text, or its transport is gone."""
        ...

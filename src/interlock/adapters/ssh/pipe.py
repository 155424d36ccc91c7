"""Bytes between two ends, each a socket or an SSH channel, with back-pressure and half-close both ways."""

import asyncio
from typing import Protocol

import asyncssh

from interlock.core.limits import WRITE_HIGH_WATER


class End(Protocol):
    """One end, as the other one uses it."""

    def send(self, data: bytes) -> None:
        """Pass bytes out of the pipe here."""
        ...

    def send_eof(self) -> None:
        """No more bytes will come; those in the other direction go on."""
        ...

    def close(self) -> None:
        """Send what is queued, then close."""
        ...

    def pause(self) -> None:
        """Take no more bytes in here: they cannot get out at the other end."""
        ...

    def resume(self) -> None:
        """Take bytes in again."""
        ...


class _Linked:
    """What both kinds of end do with the other one. Until `link` nothing is taken in."""

    def __init__(self) -> None:
        self._other: End | None = None
        self._lost = False  # before there was another end
        self._got_eof = self._sent_eof = False

    def attach(self, other: End) -> None:
        """The other end is there."""
        self._other = other
        if self._lost:
            other.close()

    def _pass_eof(self) -> bool:
        """Tell the other end; whether this one may close now."""
        self._got_eof = True
        if self._other is not None:
            self._other.send_eof()
        return self._sent_eof

    def _gone(self) -> None:
        self._lost = True
        if self._other is not None:
            self._other.close()

    def pause_writing(self) -> None:
        """What is behind this end does not read."""
        if self._other is not None:
            self._other.pause()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._other is not None:
            self._other.resume()


class StreamEnd(_Linked, asyncio.Protocol):
    """A socket."""

    def __init__(self) -> None:
        super().__init__()
        self.transport: asyncio.Transport  # set by connection_made, the first callback

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hold everything until there is another end."""
        if isinstance(transport, asyncio.Transport):
            self.transport = transport
            transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
            transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._hold)

    def _hold(self) -> None:
        """Pause again what is paused: Python 3.11.2 begins to read behind `connection_made` all the same."""
        if not (self.transport.is_reading() or self.transport.is_closing()):
            self.transport.resume_reading()
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Pass on."""
        if self._other is not None:
            self._other.send(data)

    def eof_received(self) -> bool:
        """Our direction stays open until the other end says the same."""
        return not self._pass_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        del exc
        self._gone()

    def send(self, data: bytes) -> None:
        """See `End.send`."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def send_eof(self) -> None:
        """See `End.send_eof`."""
        if self.transport.is_closing():
            return
        self._sent_eof = True
        if self._got_eof or not self.transport.can_write_eof():
            self.transport.close()
        else:
            self.transport.write_eof()

    def close(self) -> None:
        """See `End.close`."""
        self.transport.close()

    def pause(self) -> None:
        """See `End.pause`."""
        self.transport.pause_reading()

    def resume(self) -> None:
        """See `End.resume`."""
        self.transport.resume_reading()


class ChannelEnd(_Linked, asyncssh.SSHTCPSession[bytes]):
    """An SSH channel. One that the remote opens must be linked before it is accepted."""

    def __init__(self) -> None:
        super().__init__()
        self._channel: asyncssh.SSHTCPChannel[bytes] | None = None
        self.lost_by: Exception | None = None  # why it is gone, if it did not just end

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        """Hold everything until there is another end."""
        self._channel = chan
        if self._other is None:
            chan.pause_reading()

    def session_started(self) -> None:
        """Bytes may flow out here."""
        if self._other is not None:
            self._other.resume()

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Pass on."""
        del datatype
        if self._other is not None:
            self._other.send(data)

    def eof_received(self) -> bool:
        """Our direction stays open until the other end says the same."""
        if self._pass_eof():
            self.close()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self.lost_by = exc
        self._channel = None
        self._gone()

    def send(self, data: bytes) -> None:
        """See `End.send`."""
        if self._channel is not None and not self._channel.is_closing():
            self._channel.write(data)

    def send_eof(self) -> None:
        """See `End.send_eof`."""
        self._sent_eof = True
        if self._got_eof:
            self.close()
        elif self._channel is not None:
            self._channel.write_eof()

    def close(self) -> None:
        """See `End.close`."""
        if self._channel is not None:
            self._channel.close()

    def pause(self) -> None:
        """See `End.pause`."""
        if self._channel is not None:
            self._channel.pause_reading()

    def resume(self) -> None:
        """See `End.resume`."""
        if self._channel is not None:
            self._channel.resume_reading()


def link(taken: StreamEnd | ChannelEnd, opened: StreamEnd | ChannelEnd) -> None:
    """Join two ends. ``opened`` is connected and held; ``taken`` may be on its way, and then begins the flow."""
    opened.attach(taken)
    taken.attach(opened)

"""A connection whose packets are opened and sealed where they lie, by somebody else than asyncssh.

asyncssh copies each packet about ten times, and that is most of what a bulk transfer costs. Once the client is
authenticated, `Packets` reads the transport in asyncssh's place. A packet with a channel's data goes from its
buffer to the session; every other one takes asyncssh's own way, as if asyncssh had decrypted it, so that key
exchanges, requests and their order stay asyncssh's. Of what is sent, only a process's output leaves that way.
"""

from abc import ABC, abstractmethod
from asyncio import Task
from collections.abc import Callable, Sequence

import asyncssh
from asyncssh.encryption import Encryption

from interlock.adapters.ssh.leg_ports import ByteTransport
from interlock.adapters.ssh.seams.keys import KeyedConnection
from interlock.adapters.ssh.seams.patience import PatientConnection, PatientServerChannel
from interlock.core.errors import RemoteProtocolError
from interlock.core.wire import EXTENDED_DATA_STDERR

_CLOSING = frozenset(("close_pending", "closed"))


class Packets(ABC):
    """What reads and writes the packets of an `InPlaceConnection`."""

    @abstractmethod
    def begin(self) -> None:
        """Take over (`InPlaceConnection.attach`); called between two packets."""

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Bytes from a transport that is not a socket."""

    @abstractmethod
    def step_done(self) -> None:
        """What `InPlaceConnection.dispatch` could not finish at once is done."""

    @abstractmethod
    def write(self, recipient: int, pieces: Sequence[memoryview], *, stderr: bool) -> bool:
        """Send output that lies in the room for it as data of the channel ``recipient``; False if it cannot be."""


class Sealer(ABC):
    """The part of a packet cipher that asyncssh's own packets need once somebody else counts them, too."""

    @abstractmethod
    def packet(self, header: bytes, body: bytes) -> bytes:
        """A whole packet of ``header``, its length, and of padding length, payload and padding."""


class _Opened(Encryption):
    """For packets that have been decrypted."""

    def decrypt_header(self, seq: int, first_block: bytes, header_len: int) -> tuple[bytes, bytes]:
        """As it is."""
        del seq
        return first_block, first_block[:header_len]

    def decrypt_packet(self, seq: int, first: bytes, rest: bytes, header_len: int, mac: bytes) -> bytes | None:
        """As it is."""
        del seq, mac
        return first[header_len:] + rest


class _Sealed(Encryption):
    """For packets that are encrypted by the cipher of a `Packets`, which counts them."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def encrypt_packet(self, seq: int, header: bytes, packet: bytes) -> tuple[bytes, bytes]:
        """The whole packet, with its tag."""
        del seq
        return self._sealer.packet(header, packet), b""


_OPENED = _Opened()


class InPlaceConnection(KeyedConnection, PatientConnection):
    """See the module's docstring."""

    packets: Packets | None = None  # from the first packet after authentication
    _own_sealing: Encryption | None = None  # what sealing was set to by seal_with

    def make_packets(self) -> Packets | None:
        """What takes over now; None if asyncssh goes on."""
        return None

    @property
    def alive(self) -> bool:
        """Whether the connection can still carry messages."""
        return self._transport is not None

    # taking over

    def _recv_pkthdr(self) -> bool:
        if self.packets is None and self._auth_complete and self._transport is not None:
            self.packets = self.make_packets()
            if self.packets is not None:
                self.packets.begin()
                return False
        return super()._recv_pkthdr()

    def attach(self) -> tuple[ByteTransport, bytes]:
        """The transport, and what was read beyond the last packet that asyncssh took."""
        if self._transport is None or self._decompressor is not None:
            raise asyncssh.ProtocolError("the connection cannot be taken over in this state")
        leftover, self._inpbuf = self._inpbuf, b""
        self._pace()  # for the last time: who takes over reads at its own pace
        return self._transport, leftover

    # receiving

    def data_received(self, data: bytes, datatype: int | None = None) -> None:
        """From the transport, until it is taken over or because it is a channel."""
        if self.packets is not None:
            self.packets.feed(data)
        else:
            super().data_received(data, datatype)

    def process(self, work: Callable[[], None]) -> None:
        """Do ``work``, which takes packets, and end the connection as asyncssh does if one of them is wrong."""
        self._reset_keepalive_timer()
        try:
            work()
        except RemoteProtocolError as error:
            self._end(asyncssh.ProtocolError(error.reason))
        except asyncssh.DisconnectError as error:
            self._end(error)
        except Exception:  # noqa: BLE001  # asyncssh's own last resort
            self.internal_error()

    def _end(self, error: asyncssh.DisconnectError) -> None:
        self._send_disconnect(error.code, error.reason, error.lang)
        self._force_close(error)

    def dispatch(self, packet: bytes, seq: int) -> bool:
        """Let asyncssh handle a whole packet in the clear, without tag; whether it has.

        If not, `Packets.step_done` follows, and no other packet may be given to it before.
        """
        self._recv_encryption = _OPENED
        self._recv_macsize = 0
        self._recv_seq = seq
        self._inpbuf = packet
        super()._recv_pkthdr()
        return self._recv_packet()

    def _finish_recv_packet(
        self, pkttype: int, seq: int, _task: Task[None] | None = None, is_async: bool = False
    ) -> None:
        super()._finish_recv_packet(pkttype, seq, _task, is_async)
        if is_async and self.packets is not None:
            self.packets.step_done()

    def taker(self, number: int) -> "InPlaceChannel | None":
        """The channel with this number of ours, if it takes data in place."""
        channel = self._channels.get(number)
        return channel if isinstance(channel, InPlaceChannel) else None

    # sending

    @property
    def resealed(self) -> bool:
        """Whether there are other keys to send with than `seal_with` has seen."""
        return self._send_encryption is not self._own_sealing

    def seal_with(self, sealer: Sealer | None) -> None:
        """Encrypt all further packets with ``sealer``; None leaves it to asyncssh."""
        if sealer is not None:
            self._send_encryption = _Sealed(sealer)
        self._own_sealing = self._send_encryption

    @property
    def exchange_due(self) -> bool:
        """Whether the next packet that asyncssh sends begins a key exchange, or one goes on."""
        due = self._rekey_bytes_sent >= self._rekey_bytes
        return due or not self._kex_complete or bool(self._rekey_seconds and self._loop.time() >= self._rekey_time)

    def write_sealed(self, packets: bytes | memoryview, count: int) -> None:
        """Write ``count`` packets that were sealed with what `seal_with` got."""
        self._send_seq = (self._send_seq + count) & 0xFFFFFFFF
        self._rekey_bytes_sent += len(packets)
        if self._transport is not None:
            self._transport.write(packets)


class InPlaceChannel(PatientServerChannel):
    """A session channel whose data is taken from and put into packets in place."""

    _starved = False  # somebody asked for room and there was none

    def take(self, data: memoryview) -> None:
        """Data from the client, good during the call; DisconnectError if it may not be."""
        size = len(data)
        if self._recv_state != "open" or size > self._recv_window:
            raise asyncssh.ProtocolError("Window exceeded" if self._recv_state == "open" else "Channel not open")
        if self._recv_paused or not data or self._send_state in _CLOSING:
            self._accept_data(bytes(data))
        else:
            self._recv_window -= size
            self._deliver_data(data, None)  # type: ignore[arg-type]  # our sessions take views

    @property
    def writable(self) -> bool:
        """Whether data can still be sent."""
        return self._send_state == "open"

    @property
    def largest(self) -> int:
        """Bytes of data that the client takes in one packet."""
        return self._send_pktsize

    def free(self) -> int:
        """Bytes that would leave at once."""
        connection = self._conn
        if self._send_buf or not self.writable:
            return 0
        if isinstance(connection, PatientConnection) and connection.congested:
            return 0
        return self._send_window

    def want_room(self) -> int:
        """The same; if there are none, `has_room` is called as soon as there are."""
        free = self.free()
        self._starved = not free
        return free

    def has_room(self) -> None:
        """See `want_room`."""

    def _flush_send_buf(self) -> None:
        super()._flush_send_buf()
        if self._starved and self.free():
            self._starved = False
            self.has_room()

    def send_pieces(self, pieces: Sequence[memoryview], *, stderr: bool = False) -> None:
        """Send what was read into the room for output: in place if that is possible, else as any data."""
        if not self.writable:
            return
        size = sum(map(len, pieces))
        connection = self._conn
        packets = connection.packets if isinstance(connection, InPlaceConnection) else None
        if (
            packets is not None
            and self._send_chan is not None
            and 0 < size <= self.free()
            and packets.write(self._send_chan, pieces, stderr=stderr)
        ):
            self._send_window -= size
        else:
            self.write(b"".join(pieces), EXTENDED_DATA_STDERR if stderr else None)

"""The packets of one of the node's connections, read and written in place: `seams.inplace` says which and why.

All connections of the process read into one buffer, as one step of the event loop takes everything from it but
an incomplete packet. While asyncssh is busy with a packet, nothing is read.
"""

import asyncio
import sys
from collections.abc import Sequence
from struct import Struct

from interlock.adapters.ssh.cipher import PacketCipher, make_cipher
from interlock.adapters.ssh.leg_ports import ByteTransport
from interlock.adapters.ssh.node.room import seal
from interlock.adapters.ssh.seams.inplace import InPlaceConnection, Packets, Sealer
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.limits import READ_BUFFER
from interlock.core.wire import CHANNEL_DATA, NEWKEYS

_PACKET_HEAD = Struct(">IBB")  # packet_length, padding_length, type (RFC 4253 §6)
_DATA_HEAD = Struct(">II")  # recipient channel, bytes of data (RFC 4254 §5.2)
_BODY = 4
_DATA = 14  # where a packet's data begins
_MIN_PADDING = 4
_WRITE_KEEPS_VIEW = sys.version_info >= (3, 12)  # asyncio then queues what it was given instead of a copy

_shared = memoryview(bytearray(READ_BUFFER))


class _Counted(Sealer):
    """A packet cipher for asyncssh's own packets."""

    def __init__(self, cipher: PacketCipher) -> None:
        self._cipher = cipher

    def packet(self, header: bytes, body: bytes) -> bytes:
        """See `Sealer`."""
        made = bytearray(b"".join((header, body, bytes(16))))
        self._cipher.seal(memoryview(made), 0, len(made))
        return bytes(made)


class NodePackets(asyncio.BufferedProtocol, Packets):
    """See the module's docstring."""

    def __init__(self, connection: InPlaceConnection) -> None:
        self._connection = connection
        self._transport: ByteTransport  # from `begin` on
        self._opener: PacketCipher
        self._sealer: PacketCipher | None = None  # None: asyncssh's own, for a cipher that does not seal in place
        self._leftover = b""  # an incomplete packet, or what must wait
        self._waiting = False  # asyncssh has not finished with a packet
        self._copies = _WRITE_KEEPS_VIEW

    # --- transport's callbacks --------------------------------------------------------------------

    def begin(self) -> None:
        """See `Packets`."""
        self._opener = make_cipher(self._connection.receive_keys, self._connection.sequence[0])
        self._transport, leftover = self._connection.attach()
        if isinstance(self._transport, asyncio.Transport):
            self._transport.set_protocol(self)
        else:  # a channel of an outer connection, which calls the connection and not us
            self._copies = True
        self.feed(leftover)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """The shared buffer, behind what is left of the batch before."""
        kept = len(self._leftover)
        if kept:
            _shared[:kept] = self._leftover
        return _shared[kept:]

    def buffer_updated(self, nbytes: int) -> None:
        """A batch has been read."""
        end = len(self._leftover) + nbytes
        self._leftover = b""
        self._connection.process(lambda: self._packets(end))

    def feed(self, data: bytes) -> None:
        """The same for transports that hand over bytes; they bound them by their own window."""
        for at in range(0, len(data), READ_BUFFER // 4):
            if self._waiting:
                self._leftover += data[at:]
                break
            piece = data[at : at + READ_BUFFER // 4]
            self.get_buffer(0)[: len(piece)] = piece
            self.buffer_updated(len(piece))

    def pause_writing(self) -> None:
        """The client does not read."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._connection.resume_writing()

    def eof_received(self) -> None:
        """SSH has no half-closed connections."""
        self._connection.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        self._connection.connection_lost(exc)

    # --- receiving --------------------------------------------------------------------------------

    def _packets(self, end: int) -> None:
        """Take the packets in the shared buffer up to ``end``; keep what is incomplete or must wait."""
        at = 0
        while not self._waiting and self._connection.alive:
            after = self._opener.open(_shared, at, end)
            if not after:
                break
            length, padding, kind = _PACKET_HEAD.unpack_from(_shared, at)
            size = length - 1 - padding
            if padding < _MIN_PADDING or size < 1:  # nothing but these bytes is this packet's
                raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, f"padding of {padding} in {length} bytes")
            if kind != CHANNEL_DATA or not self._data(at, size):
                self._other(kind, bytes(_shared[at : at + _BODY + length]))
            at = after
        self._leftover = bytes(_shared[at:end])

    def _data(self, at: int, size: int) -> bool:
        """Give a channel its data; False if asyncssh must see to it."""
        if size < _DATA - _BODY - 1:
            return False
        number, octets = _DATA_HEAD.unpack_from(_shared, at + _BODY + 2)
        channel = self._connection.taker(number)
        if channel is None or octets != size - (_DATA - _BODY - 1):
            return False
        channel.take(_shared[at + _DATA : at + _DATA + octets])
        return True

    def _other(self, kind: int, packet: bytes) -> None:
        seq = (self._opener.seq - 1) & 0xFFFFFFFF
        if not self._connection.dispatch(packet, seq):
            self._waiting = True
            self._transport.pause_reading()
        elif kind == NEWKEYS:
            self._opener = make_cipher(self._connection.receive_keys, self._connection.sequence[0])

    def step_done(self) -> None:
        """See `Packets`."""
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self._waiting or not self._connection.alive:
            return
        self._waiting = False
        leftover, self._leftover = self._leftover, b""
        self.feed(leftover)
        if not self._waiting and self._connection.alive:
            self._transport.resume_reading()

    # --- sending ----------------------------------------------------------------------------------

    def write(self, recipient: int, pieces: Sequence[memoryview], *, stderr: bool) -> bool:
        """See `Packets`."""
        connection = self._connection
        if connection.exchange_due:
            return False
        if connection.resealed:
            self._renew_sealer()
        if self._sealer is None:
            return False
        sealed = seal(pieces, recipient, self._sealer, stderr=stderr)
        connection.write_sealed(bytes(sealed) if self._copies else sealed, len(pieces))
        return True

    def _renew_sealer(self) -> None:
        cipher = make_cipher(self._connection.send_keys, self._connection.sequence[1])
        self._sealer = cipher if cipher.family else None
        self._connection.seal_with(_Counted(cipher) if cipher.family else None)

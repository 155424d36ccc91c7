"""One leg of a relayed connection: packets in, packets out, and nothing decided here.

A leg takes a connection over from asyncssh once it is authenticated. It reads into one buffer that all legs
of the process share, because reading, relaying and writing a batch happen in one step of the event loop;
between steps a leg keeps only the bytes of an incomplete packet. Data packets on open channels pass from leg
to leg; other connection messages go to the owner; messages of the transport layer go back to asyncssh.

What may block what (PROTOCOL.md §5): a leg that is exchanging keys may not be sent data, so the other leg's
reading pauses. That cannot deadlock: an exchange that the remote began needs nothing but that remote's key
exchange messages, which are never held up, and we begin an exchange on one leg at a time.
"""

import asyncio
import sys
from collections.abc import Callable
from struct import Struct

from interlock.adapters.ssh.cipher import PacketCipher, make_cipher
from interlock.adapters.ssh.leg_ports import ByteTransport, LegOwner
from interlock.adapters.ssh.once import Once
from interlock.adapters.ssh.seams.relayed import RelayedConnection
from interlock.core import wire
from interlock.core.errors import InterlockError, RemoteProtocolError, Rule
from interlock.core.flows import Flow, Flows, Tap
from interlock.core.limits import (
    KEY_EXCHANGE_TIMEOUT_S,
    MAX_DEFERRED,
    MAX_UNSENT,
    READ_BUFFER,
    REKEY_BYTES,
    WRITE_HIGH_WATER,
)
from interlock.core.sides import Side
from interlock.core.wire import uint32

_U32 = Struct(">I")
_HEAD = Struct(
    ">IBBII"
)  # packet_length, padding_length (RFC 4253 §6), type, recipient channel and one number more
_MIN_PADDING = 4
_ADJUST_SIZE = 9  # type, recipient channel, bytes to add
_DATA_HEAD = 9  # type, recipient channel, length of the data
_EXTENDED_HEAD = 13  # the same with the data type
_SMALL = 256  # bytes of data that are copied for a tap rather than shown to it before they are sent
_USERAUTH_REQUEST = 50
_TRANSPORT_TYPES = frozenset(range(wire.KEXINIT, wire.KEX_LAST + 1))
_SILENT_TYPES = frozenset((wire.IGNORE, wire.UNIMPLEMENTED, wire.DEBUG))
_WRITE_KEEPS_VIEW = sys.version_info >= (3, 12)  # asyncio then queues what it was given instead of a copy

_shared = memoryview(bytearray(READ_BUFFER))

Seal = Callable[[memoryview, int, int], None]
"""See `PacketCipher.seal`."""


class Nobody:
    """The peer of a leg whose connection only gets refusals: no data ever goes there."""

    exchanging = False
    write_paused = False
    sealer: PacketCipher | None = None

    def send(self, payload: bytes) -> None:
        """Nobody listens."""

    def write_sealed(self, packets: memoryview) -> None:
        """Nobody listens."""

    def resume_soon(self) -> None:
        """Nobody waits."""

    def reconsider(self) -> None:
        """Nobody is held."""

    def match(self) -> None:
        """Nobody seals."""


class Leg(asyncio.BufferedProtocol):
    """See the module's docstring."""

    def __init__(self, side: Side, connection: RelayedConnection, owner: LegOwner, flows: Flows) -> None:
        self.side = side
        self.peer: Leg | Nobody = Nobody()  # set by `join` before anything moves
        self._connection = connection
        self._owner = owner
        self._flows = flows  # for what arrives here
        self._passing = flows  # those whose data may arrive now: none while the remote exchanges keys
        self._transport: ByteTransport | None = None  # None before `begin` and after the end
        self._opener: PacketCipher
        self.sealer: PacketCipher  # the peer seals in place with it
        self._seal: Seal | None = None  # the peer's, if its packets are laid out as ours are
        self._leftover = b""  # an incomplete packet, or a batch that must wait
        self._receiving_keys = False  # between the remote's KEXINIT and its NEWKEYS
        self._stepping = False  # a step of a key exchange is being computed
        self._exchange_timer: asyncio.TimerHandle | None = None  # while keys are exchanged
        self.exchanging = False  # whether only messages of the transport layer may be sent here
        self.write_paused = False
        self._held = True  # whether the next packet may not be taken yet; see `reconsider`
        self._reading_paused = False
        self._resuming = False
        self._copies = _WRITE_KEEPS_VIEW  # whether what is written must not lie in the shared buffer
        self._closed = Once()
        self._deferred: list[bytes] = []
        self._deferred_size = 0
        self._sent = 0  # bytes since the last key exchange
        self.key_age = 0.0  # seconds since then, as the owner counts them
        self._overrun = False  # the remote was found not to read, which is told once
        self.active = False  # whether anything arrived since the owner last cleared it

    def begin(self) -> None:
        """Take over. `begin_reading` follows when both legs have begun."""
        recv_seq, send_seq = self._connection.sequence
        self._opener = make_cipher(self._connection.receive_keys, recv_seq)
        self.sealer = make_cipher(self._connection.send_keys, send_seq)
        self._transport, self._leftover = self._connection.attach(self)
        self.exchanging = self._connection.exchanging
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_WATER)
        self._reading_paused = True
        if isinstance(self._transport, asyncio.Transport):
            self._transport.set_protocol(self)
        else:  # a channel of an outer connection, which calls the connection and not us
            self._copies = True

    def begin_reading(self) -> None:
        """Process what was read before the take-over, then go on."""
        self.match()
        self.reconsider()
        self._resume()

    # --- transport's callbacks --------------------------------------------------------------------

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """The shared buffer, behind what is left of the batch before."""
        kept = len(self._leftover)
        if kept:
            _shared[:kept] = self._leftover
        return _shared[kept:]

    def buffer_updated(self, nbytes: int) -> None:
        """A batch has been read."""
        self.active = True
        end = len(self._leftover) + nbytes
        self._leftover = b""
        self._relay(end)

    def feed(self, data: bytes) -> None:
        """The same for transports that hand over bytes; they bound them by their own window."""
        self.active = True
        if self._reading_paused:
            self._leftover += data
            return
        for at in range(0, len(data), READ_BUFFER // 4):
            piece = data[at : at + READ_BUFFER // 4]
            self.get_buffer(0)[: len(piece)] = piece
            self.buffer_updated(len(piece))

    def pause_writing(self) -> None:
        """This leg's remote reads too slowly."""
        self.write_paused = True
        self.peer.reconsider()

    def resume_writing(self) -> None:
        """It caught up."""
        self.write_paused = False
        self.peer.reconsider()
        self.peer.resume_soon()

    def eof_received(self) -> bool:
        """SSH has no half-closed connections."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        if self._transport is None:
            return
        self._transport = None
        self.reconsider()
        self._closed.set()
        self._stop_exchange_timer()
        self._connection.connection_lost(exc)
        self._owner.disconnected(self.side, exc.public if isinstance(exc, InterlockError) else "")

    async def wait_closed(self) -> None:
        """Until the transport is gone."""
        await self._closed.wait()

    # --- a batch ----------------------------------------------------------------------------------

    def _relay(self, end: int) -> None:
        """Process the packets in the shared buffer up to ``end``; keep what is incomplete or must wait."""
        try:
            at = self._packets(end)
        except RemoteProtocolError as error:
            self._owner.failed(self.side, error)
            return
        if at < end and self._transport is not None:
            self._leftover = bytes(_shared[at:end])
        if self._held:
            self._pause_reading()

    def _packets(self, end: int) -> int:  # noqa: C901, PLR0912
        """The hot loop, whose calls are counted by tests/adapters/ssh/test_packet_budget.py; where it stopped.

        ``ready`` to ``at`` is what is encrypted for the other leg and not yet written. A tap gets its bytes
        before they are encrypted in place. If it changes none (`Flow.tap_may_wait`), the few of a single key are
        copied, so that the key need not wait.
        """
        buffer, peer = _shared, self.peer
        at = ready = 0
        late: tuple[Tap, memoryview] | None = None
        try:
            while not self._held:
                after = self._opener.open(buffer, at, end)
                if not after:
                    break
                length, padding, kind, channel, number = _HEAD.unpack_from(buffer, at)
                size = length - 1 - padding
                if padding < _MIN_PADDING or size < 1:  # nothing but these bytes is this packet's
                    raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, f"padding of {padding} in {length} bytes")
                flow, seal = self._passing.get(channel), self._seal
                if flow is not None:
                    if kind != wire.CHANNEL_DATA or size != number + _DATA_HEAD:
                        flow = self._seldom(flow, buffer, at, kind, size)
                    else:
                        flow.octets += number
                        if flow.tap is None:
                            pass
                        elif flow.tap_may_wait and number <= _SMALL and after == end and seal is not None:
                            late = flow.tap, memoryview(bytes(buffer[at + 14 : at + 14 + number]))
                        else:
                            flow.tap(0, buffer[at + 14 : at + 14 + number])
                if flow is not None and seal is not None:
                    seal(buffer, at, after)
                    at = after
                    continue
                if ready < at:
                    peer.write_sealed(buffer[ready:at])
                payload = bytes(buffer[at + 5 : at + 5 + size])
                at = ready = after
                if flow is not None:
                    peer.send(payload)
                else:
                    self._message(kind, payload)
        finally:
            if ready < at:
                peer.write_sealed(buffer[ready:at])
        if late is not None:
            late[0](0, late[1])
        return at

    @staticmethod
    def _seldom(flow: Flow, buffer: memoryview, at: int, kind: int, size: int) -> Flow | None:
        """What is to be done with a packet that names an open channel and is not plain data: None for the owner.

        ``size``: bytes of the message, which are all that may be looked at.
        """
        if kind == wire.CHANNEL_WINDOW_ADJUST:
            if size != _ADJUST_SIZE:
                raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, "window adjust")
            if flow.judged:
                return None
            flow.granted += _U32.unpack_from(buffer, at + 10)[0]
            return flow
        if not wire.CHANNEL_DATA <= kind <= wire.CHANNEL_EXTENDED_DATA:
            return None
        (octets,) = _U32.unpack_from(buffer, at + 1 + _EXTENDED_HEAD)
        if kind == wire.CHANNEL_DATA or octets + _EXTENDED_HEAD != size:
            raise RemoteProtocolError(Rule.MALFORMED_MESSAGE, "data length")
        flow.octets += octets
        if flow.tap is not None:
            stream = _U32.unpack_from(buffer, at + 10)[0]
            flow.tap(stream, buffer[at + 5 + _EXTENDED_HEAD : at + 5 + _EXTENDED_HEAD + octets])
        return flow

    def _message(self, kind: int, payload: bytes) -> None:
        if self._receiving_keys and kind > wire.KEX_LAST:
            raise RemoteProtocolError(Rule.DATA_IN_KEY_EXCHANGE, f"message {kind}")
        if kind in _TRANSPORT_TYPES:
            self._transport_message(kind, payload)
        elif kind == wire.DISCONNECT:
            reader = wire.Reader(payload[1:])
            reader.uint32()
            self._owner.disconnected(self.side, reader.string()[:1024].decode("utf-8", "replace"))
        elif kind in _SILENT_TYPES or kind == _USERAUTH_REQUEST:
            return  # late authentication requests are ignored (RFC 4252 §5.1)
        elif not self._owner.received(self.side, payload):
            self.send(bytes([wire.UNIMPLEMENTED]) + uint32((self._opener.seq - 1) & 0xFFFFFFFF))

    # --- key exchange -----------------------------------------------------------------------------

    def _transport_message(self, kind: int, payload: bytes) -> None:
        seq = (self._opener.seq - 1) & 0xFFFFFFFF
        step = self._connection.dispatch(payload, seq)
        if kind == wire.KEXINIT:
            self._receiving_keys, self._passing = True, {}
        elif kind == wire.NEWKEYS:
            self._receiving_keys, self._passing = False, self._flows
            keys = self._connection.receive_keys
            self._opener = make_cipher(keys, 0 if keys.strict else self._opener.seq)
            self.match()
        self._stepping = step is not None
        self.reconsider()
        self._watch_exchange()
        if step is not None:
            self._owner.run_step(self.side, step)

    def hold(self) -> None:
        """Take no further packet until `step_done`: the owner must find something out first."""
        self._stepping = True
        self.reconsider()

    def step_done(self) -> None:
        """What `LegOwner.run_step` was given, or what the owner held the leg for, has ended."""
        self._stepping = False
        self.reconsider()
        self.resume_soon()

    def exchange_began(self) -> None:
        """Our KEXINIT is on its way: the other leg's data has to wait until `keys_sent`."""
        self.exchanging = True
        self.reconsider()
        self.peer.reconsider()

    def keys_sent(self) -> None:
        """Our NEWKEYS is on its way: use the new keys, send what waited."""
        keys = self._connection.send_keys
        self.sealer = make_cipher(keys, 0 if keys.strict else self.sealer.seq)
        self.exchanging = False
        self.peer.match()
        self.reconsider()
        self.peer.reconsider()
        self._sent, self.key_age = 0, 0.0
        self._watch_exchange()
        waiting, self._deferred, self._deferred_size = self._deferred, [], 0
        for payload in waiting:
            self.send(payload)
        self.resume_soon()
        self.peer.resume_soon()

    def exchange_keys(self) -> bool:
        """Begin a key exchange, unless one goes on; whether it was begun."""
        if self._transport is None or self.exchanging or self.peer.exchanging:
            return False
        self._connection.exchange_keys()
        self._watch_exchange()
        return True

    def _watch_exchange(self) -> None:
        """Bound the time in which the other leg has to wait."""
        if not (self.exchanging or self._receiving_keys):
            self._stop_exchange_timer()
        elif self._exchange_timer is None:
            loop = asyncio.get_running_loop()
            self._exchange_timer = loop.call_later(KEY_EXCHANGE_TIMEOUT_S, self._exchange_unfinished)

    def _stop_exchange_timer(self) -> None:
        if self._exchange_timer is not None:
            self._exchange_timer.cancel()
            self._exchange_timer = None

    def _exchange_unfinished(self) -> None:
        self._owner.failed(self.side, RemoteProtocolError(Rule.KEY_EXCHANGE_UNFINISHED))

    def match(self) -> None:
        """Find out whether what arrives here can be sealed in place, after either cipher has changed."""
        sealer = self.peer.sealer
        alike = sealer is not None and sealer.family == self._opener.family != ""
        self._seal = sealer.seal if alike and sealer is not None else None

    # --- sending ----------------------------------------------------------------------------------

    def send(self, payload: bytes) -> None:
        """Send a connection message, after the key exchange if there is one."""
        if self._transport is None:
            return
        if not self.exchanging:
            self._write(self.sealer.frame(payload))
            return
        self._deferred.append(payload)
        self._deferred_size += len(payload)
        if self._deferred_size > MAX_DEFERRED:
            self._owner.failed(self.side, RemoteProtocolError(Rule.TOO_MUCH_PENDING, "key exchange not finished"))

    def send_transport(self, payload: bytes) -> None:
        """Send a message of the transport layer at once."""
        if self._transport is not None:
            self._write(self.sealer.frame(payload))

    def write_sealed(self, packets: memoryview) -> None:
        """Write packets that the other leg has encrypted in place with this leg's cipher."""
        self._write(bytes(packets) if self._copies else packets)

    def _write(self, data: bytes | memoryview) -> None:
        if self._transport is None:
            return
        self._transport.write(data)
        self._sent += len(data)
        if self._sent >= REKEY_BYTES:
            self.exchange_keys()
        if self.write_paused and self._transport.get_write_buffer_size() > MAX_UNSENT and not self._overrun:
            self._overrun = True
            error = RemoteProtocolError(Rule.TOO_MUCH_PENDING, "the remote does not read")
            self._owner.failed(self.side, error)

    def close(self) -> None:
        """Send what is queued and close."""
        if self._transport is not None:
            self._transport.close()
        elif not self._closed.is_set():  # never taken over
            self._closed.set()
            self._connection.abort()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- back-pressure ----------------------------------------------------------------------------

    @property
    def listening(self) -> bool:
        """Whether the remote's silence means anything: False while it is not read, for the other leg's sake."""
        return not self._reading_paused

    def reconsider(self) -> None:
        """Whether the next packet may be taken: asked when the answer may have changed, not for each packet."""
        if self._transport is None or self._stepping:
            self._held = True
        elif self._receiving_keys:
            self._held = False
        else:
            # While the remote owes us its half of an exchange that we began, its KEXINIT may be behind data.
            peer = self.peer
            self._held = peer.exchanging or (peer.write_paused and not self.exchanging)

    def _pause_reading(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_soon(self) -> None:
        """Look again, in the next step: the shared buffer may be in use in this one."""
        if self._reading_paused and not self._resuming and self._transport is not None:
            self._resuming = True
            asyncio.get_running_loop().call_soon(self._resume)

    def _resume(self) -> None:
        self._resuming = False
        while self._leftover and not self._held:
            batch, rest = self._leftover[:READ_BUFFER], self._leftover[READ_BUFFER:]
            self._leftover = b""
            _shared[: len(batch)] = batch
            self._relay(len(batch))
            self._leftover += rest
            if not rest:
                break
        if self._reading_paused and not self._held and self._transport is not None:
            self._reading_paused = False
            self._transport.resume_reading()


def join(client: Leg, target: Leg) -> None:
    """Make two legs each other's peer."""
    client.peer, target.peer = target, client

"""Two joined legs without sockets: what a peer's socket brings is fed, what is written is kept, nothing waits.

The owner notes what it is told; the connections have the same keys in both directions, so that a test can make
and read packets with a cipher of its own.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from interlock.adapters.ssh.cipher import GcmCipher, PacketCipher
from interlock.adapters.ssh.leg import Leg, join
from interlock.core import wire
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.flows import Flow, Flows
from interlock.core.sides import Side
from interlock.core.wire import string, uint32

KEY, NONCE = b"k" * 16, b"n" * 12


@dataclass(frozen=True, slots=True)
class Keys:
    """What a leg reads of the seams' `Keys` when the cipher is AES-GCM."""

    aead: tuple[bytes, bytes] = (KEY, NONCE)
    strict: bool = True


class Transport(asyncio.Transport):
    """Keeps what is written; what waits in it is what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.waiting = 0
        self.reading = True
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep it."""
        self.written += data

    def get_write_buffer_size(self) -> int:
        """What the test says."""
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing waits here."""
        del high, low

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Note who it is."""
        self.protocol = protocol

    def pause_reading(self) -> None:
        """Once at a time."""
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        """Go on."""
        self.reading = True

    def is_reading(self) -> bool:
        """Whether it may."""
        return self.reading

    def close(self) -> None:
        """There is nothing to close."""
        return

    def abort(self) -> None:
        """The same."""
        return


class Connection:
    """What a leg takes over: keys that are the same in both directions."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.exchanging = False
        self.exchanges = 0
        self.sequence = (0, 0)
        self.leg: Leg

    @property
    def receive_keys(self) -> Keys:
        """Those of every direction."""
        return Keys()

    send_keys = receive_keys

    def attach(self, taken_by: Leg) -> tuple[Transport, bytes]:
        """Hand over."""
        self.leg = taken_by
        return self.transport, b""

    def exchange_keys(self) -> None:
        """Send a KEXINIT, to which nobody answers."""
        self.exchanges += 1
        self.leg.exchange_began()
        self.leg.send_transport(bytes([wire.KEXINIT]))

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nothing to clean up."""
        del exc


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.messages: list[tuple[Side, bytes]] = []
        self.failures: list[tuple[Side, Rule]] = []
        self.goodbyes: list[tuple[Side, str]] = []
        self.legs: dict[Side, Leg] = {}

    def received(self, side: Side, payload: bytes) -> bool:
        """A connection message, by `LegOwner.received`."""
        self.messages.append((side, payload))
        return payload[0] < 101

    def run_step(self, side: Side, step: Awaitable[None]) -> None:
        """There are none."""
        raise AssertionError(side, step)

    def failed(self, side: Side, error: RemoteProtocolError) -> None:
        """Note it, and say goodbye as the forwarder does."""
        self.failures.append((side, error.rule))
        self.legs[side].send_transport(bytes([wire.DISCONNECT]) + uint32(2) + string("") * 2)

    def disconnected(self, side: Side, text: str) -> None:
        """Note it."""
        self.goodbyes.append((side, text))


class Pair:
    """Two joined legs. What the client sends to channel 5 is data of an open channel."""

    def __init__(self) -> None:
        self.owner = Owner()
        self.client, self.target = Connection(), Connection()
        self.flow = Flow()
        self.legs = self.owner.legs
        self.legs[Side.CLIENT] = self._leg(Side.CLIENT, self.client, {5: self.flow})
        self.legs[Side.TARGET] = self._leg(Side.TARGET, self.target, {})
        join(self.legs[Side.CLIENT], self.legs[Side.TARGET])
        for each in self.legs.values():
            each.begin()
        for each in self.legs.values():
            each.begin_reading()

    def _leg(self, side: Side, connection: Any, flows: Flows) -> Leg:
        return Leg(side, connection, self.owner, flows)

    def feed(self, data: bytes) -> None:
        """Bytes from the client's socket."""
        client = self.legs[Side.CLIENT]
        while data:
            room = client.get_buffer(-1)
            size = min(len(room), len(data))
            room[:size] = data[:size]
            client.buffer_updated(size)
            data = data[size:]

    def at_target(self) -> list[bytes]:
        """The messages that were written to the target."""
        cipher, stream, at = GcmCipher(KEY, NONCE, 0), memoryview(bytearray(self.target.transport.written)), 0
        found = []
        while at < len(stream):
            after = cipher.open(stream, at, len(stream))
            assert after
            length = int.from_bytes(stream[at : at + 4], "big")
            found.append(bytes(stream[at + 5 : at + 4 + length - stream[at + 4]]))
            at = after
        return found


def data(content: bytes) -> bytes:
    """Data on the open channel."""
    return bytes([wire.CHANNEL_DATA]) + uint32(5) + string(content)


def packets(*payloads: bytes, cipher: PacketCipher | None = None) -> bytes:
    """What the client's socket brings."""
    cipher = cipher or GcmCipher(KEY, NONCE, 0)
    return b"".join(cipher.frame(payload) for payload in payloads)

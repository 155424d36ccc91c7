"""One leg: packets in any pieces, back-pressure without loss, and limits that are told once."""

import asyncio
import os
from collections.abc import Awaitable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.adapters.ssh import leg
from interlock.adapters.ssh.cipher import GcmCipher, PacketCipher
from interlock.adapters.ssh.leg import Leg, join
from interlock.adapters.ssh.seams.keys import Keys
from interlock.core import wire
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.flows import Flow, Flows
from interlock.core.sides import Side
from interlock.core.wire import string, uint32

KEY, NONCE = b"k" * 16, b"n" * 12


class Transport(asyncio.Transport):
    """Keeps what is written; what waits in it is what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.waiting = 0
        self.reading = True
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        del high, low

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading

    def close(self) -> None:
        return

    def abort(self) -> None:
        return


class Connection:
    """What a leg takes over: keys that are the same in both directions."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.exchanging = False
        self.exchanges = 0
        self.sequence = (0, 0)

    @property
    def receive_keys(self) -> Keys:
        return Keys(None, 16, 1, 16, (KEY, NONCE), chacha=b"", strict=True)  # type: ignore[arg-type]

    send_keys = receive_keys

    def attach(self, taken_by: object) -> tuple[Transport, bytes]:
        del taken_by
        return self.transport, b""

    def exchange_keys(self) -> None:
        self.exchanging = True
        self.exchanges += 1

    def connection_lost(self, exc: Exception | None) -> None:
        del exc


class Owner:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.messages: list[tuple[Side, bytes]] = []
        self.failures: list[tuple[Side, Rule]] = []
        self.goodbyes: list[tuple[Side, str]] = []
        self.legs: dict[Side, Leg] = {}

    def received(self, side: Side, payload: bytes) -> bool:
        self.messages.append((side, payload))
        return payload[0] < 101

    def run_step(self, side: Side, step: Awaitable[None]) -> None:
        raise AssertionError(side, step)

    def failed(self, side: Side, error: RemoteProtocolError) -> None:
        self.failures.append((side, error.rule))
        self.legs[side].send_transport(bytes([wire.DISCONNECT]) + uint32(2) + string("") * 2)

    def disconnected(self, side: Side, text: str) -> None:
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


@given(
    st.lists(st.binary(max_size=200), max_size=8), st.lists(st.integers(1, 300), max_size=8), st.integers(0, 255)
)
def test_relayed_data_does_not_depend_on_how_it_arrives(contents: list[bytes], cuts: list[int], kind: int) -> None:
    """Data goes to the target and its tap in order and whole, everything else to the owner, whatever the cuts."""

    async def relay() -> None:
        pair = Pair()
        tapped: list[bytes] = []
        pair.flow.tap = lambda _, view: tapped.append(bytes(view))
        payloads = [data(content) for content in contents]
        other = [bytes([98]) + bytes([kind]) * 20]
        stream = packets(*payloads, *other, *payloads)
        at = 0
        for cut in [*cuts, len(stream)]:
            pair.feed(stream[at : at + cut])
            at += cut
        assert pair.at_target() == payloads * 2
        assert tapped == contents * 2
        assert pair.flow.octets == 2 * sum(map(len, contents))
        assert pair.owner.messages == [(Side.CLIENT, other[0])]

    asyncio.run(relay())


async def test_packets_at_the_end_of_the_buffer() -> None:
    """A batch as large as the buffer, with the largest packets there may be, loses nothing."""
    pair = Pair()
    contents = [os.urandom(size) for size in (262_000, 1, 262_000, 200_000, 262_000)]
    pair.feed(packets(*map(data, contents)))
    assert pair.at_target() == [data(content) for content in contents]


async def test_nothing_is_read_while_the_target_does_not() -> None:
    """Beyond the high-water mark reading pauses; later everything arrives, in order."""
    pair = Pair()
    target = pair.legs[Side.TARGET]
    target.pause_writing()
    cipher = GcmCipher(KEY, NONCE, 0)
    pair.feed(packets(data(b"1"), data(b"2"), cipher=cipher))
    assert not pair.client.transport.is_reading()
    assert not pair.at_target()
    target.resume_writing()
    await asyncio.sleep(0)
    assert pair.client.transport.is_reading()
    pair.feed(packets(data(b"3"), cipher=cipher))
    assert pair.at_target() == [data(b"1"), data(b"2"), data(b"3")]


async def test_data_waits_for_the_targets_key_exchange() -> None:
    """While only key exchange messages may be sent, the client's data stays where it is."""
    pair = Pair()
    pair.target.exchanging = True
    pair.feed(packets(data(b"1")))
    assert not pair.at_target()
    pair.target.exchanging = False
    pair.legs[Side.TARGET].keys_sent()
    await asyncio.sleep(0)
    assert pair.at_target() == [data(b"1")]


async def test_messages_of_ours_wait_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may not be sent yet is kept up to a limit; then the side that does not finish is to blame."""
    monkeypatch.setattr(leg, "MAX_DEFERRED", 1000)
    pair = Pair()
    pair.target.exchanging = True
    for _ in range(20):
        pair.legs[Side.TARGET].send(bytes([98]) + bytes(99))
    assert (Side.TARGET, Rule.TOO_MUCH_PENDING) in pair.owner.failures


async def test_remote_that_does_not_read_is_told_once() -> None:
    """The goodbye to it, which cannot be sent either, does not start it all over again."""
    pair = Pair()
    pair.target.transport.waiting = 1 << 30
    pair.legs[Side.TARGET].send(bytes([98]))
    pair.legs[Side.TARGET].send(bytes([98]))
    assert pair.owner.failures == [(Side.TARGET, Rule.TOO_MUCH_PENDING)]


async def test_keys_are_renewed_after_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, however much more is sent, and not on both legs at the same time."""
    monkeypatch.setattr(leg, "REKEY_BYTES", 1000)
    pair = Pair()
    for _ in range(40):
        pair.legs[Side.TARGET].send(bytes([98]) + bytes(99))
        pair.legs[Side.CLIENT].send(bytes([98]) + bytes(99))
    assert (pair.target.exchanges, pair.client.exchanges) == (1, 0)
    pair.legs[Side.TARGET].connection_lost(None)
    assert pair.owner.goodbyes == [(Side.TARGET, "")]


async def test_unknown_message_is_answered_with_its_number() -> None:
    """UNIMPLEMENTED names the packet (RFC 4253 §11.4)."""
    pair = Pair()
    pair.feed(packets(bytes([2]), bytes([200]), bytes([3])))
    cipher, written = GcmCipher(KEY, NONCE, 0), memoryview(bytearray(pair.client.transport.written))
    assert cipher.open(written, 0, len(written)) == len(written)
    assert bytes(written[5:10]) == bytes([wire.UNIMPLEMENTED]) + uint32(1)


@pytest.mark.parametrize("padding", [0, 3, 15, 16, 100, 255])
async def test_padding_that_cannot_be(padding: int) -> None:
    """Nothing of such a packet, or of what is behind it in the buffer, is looked at."""
    pair = Pair()
    cipher = GcmCipher(KEY, NONCE, 0)
    packet = bytearray(cipher.frame(b"x" * 11))
    again = GcmCipher(KEY, NONCE, 0)
    again.open(memoryview(packet), 0, len(packet))
    packet[4] = padding
    GcmCipher(KEY, NONCE, 0).seal(memoryview(packet), 0, len(packet))
    pair.feed(bytes(packet))
    assert pair.owner.failures == [(Side.CLIENT, Rule.MALFORMED_MESSAGE)]
    assert not pair.owner.messages

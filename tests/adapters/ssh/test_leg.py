"""One leg: packets in any pieces, back-pressure without loss, and limits that are told once."""

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.adapters.ssh import leg
from interlock.adapters.ssh.cipher import GcmCipher
from interlock.core import wire
from interlock.core.errors import Rule
from interlock.core.sides import Side
from interlock.core.wire import uint32
from interlock.testing.legs import KEY, NONCE, Pair, data, packets


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
    pair.legs[Side.TARGET].exchange_began()
    pair.feed(packets(data(b"1")))
    assert not pair.at_target()
    pair.legs[Side.TARGET].keys_sent()
    await asyncio.sleep(0)
    assert pair.at_target() == [data(b"1")]


async def test_messages_of_ours_wait_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may not be sent yet is kept up to a limit; then the side that does not finish is to blame."""
    monkeypatch.setattr(leg, "MAX_DEFERRED", 1000)
    pair = Pair()
    pair.legs[Side.TARGET].exchange_began()
    for _ in range(20):
        pair.legs[Side.TARGET].send(bytes([98]) + bytes(99))
    assert (Side.TARGET, Rule.TOO_MUCH_PENDING) in pair.owner.failures


async def test_remote_that_does_not_read_is_told_once() -> None:
    """The goodbye to it, which cannot be sent either, does not start it all over again."""
    pair = Pair()
    pair.target.transport.waiting = 1 << 30
    pair.legs[Side.TARGET].pause_writing()
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


async def test_a_single_key_is_sent_before_it_is_tapped() -> None:
    """The recorder's work is not in the way of an echo; what is tapped is a copy, and as it was."""
    pair = Pair()
    seen: list[tuple[bytes, int]] = []
    pair.flow.tap, pair.flow.tap_may_wait = lambda _, view: seen.append((bytes(view), len(pair.at_target()))), True
    cipher = GcmCipher(KEY, NONCE, 0)
    pair.feed(packets(data(b"x"), cipher=cipher))
    pair.feed(packets(data(b"y"), data(b"z" * 5000), cipher=cipher))
    assert seen == [(b"x", 1), (b"y", 1), (b"z" * 5000, 1)]
    assert pair.at_target() == [data(b"x"), data(b"y"), data(b"z" * 5000)]


async def test_a_tap_that_changes_what_passes_sees_every_packet_first() -> None:
    """However short it is: a file that a role forbids is named in few bytes."""
    pair = Pair()

    def forbid(_kind: int, view: memoryview) -> None:
        view[:] = bytes(len(view))

    pair.flow.tap = forbid
    cipher = GcmCipher(KEY, NONCE, 0)
    pair.feed(packets(data(b"open"), data(b"write" * 5000), cipher=cipher))
    pair.feed(packets(data(b"close"), cipher=cipher))
    assert pair.at_target() == [data(bytes(4)), data(bytes(25000)), data(bytes(5))]

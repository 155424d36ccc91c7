"""Room for output: whatever is read into it comes out of the packets around it, in order."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.adapters.ssh.cipher import GcmCipher
from interlock.adapters.ssh.node.room import PIECE, PIECES, filled, room, seal
from interlock.core import wire

KEY, NONCE = bytes(16), bytes(12)


def contents(packets: memoryview) -> list[tuple[int, int, bytes]]:
    """Type, recipient and data of each packet."""
    opener, found, at = GcmCipher(KEY, NONCE, 0), [], 0
    buffer = memoryview(bytearray(packets))
    while at < len(buffer):
        after = opener.open(buffer, at, len(buffer))
        length = int.from_bytes(buffer[at : at + 4], "big")
        padding = buffer[at + 4]
        assert 4 <= padding < 32
        reader = wire.Reader(bytes(buffer[at + 6 : at + 4 + length - padding]))
        kind, recipient = buffer[at + 5], reader.uint32()
        if kind == wire.CHANNEL_EXTENDED_DATA:
            assert reader.uint32() == wire.EXTENDED_DATA_STDERR
        found.append((kind, recipient, reader.string()))
        reader.end()
        at = after
    return found


@given(wanted=st.integers(1, PIECES * PIECE * 2), part=st.floats(0, 1), largest=st.integers(1, PIECE * 2))
def test_what_is_read_is_what_is_sent(wanted: int, part: float, largest: int) -> None:
    """For every size of the window, of the client's packets, and of what there was to read."""
    places = room(wanted, largest)
    size = sum(map(len, places))
    assert 0 < size <= wanted
    assert max(map(len, places)) <= largest
    got = max(1, int(size * part))
    data, at = os.urandom(got), 0
    for place in places:
        some = data[at : at + len(place)]
        place[: len(some)] = some
        at += len(some)
    pieces = filled(places, got)
    assert b"".join(pieces) == data
    sent = contents(seal(pieces, 7, GcmCipher(KEY, NONCE, 0), stderr=False))
    assert {each[:2] for each in sent} == {(wire.CHANNEL_DATA, 7)}
    assert b"".join(each[2] for each in sent) == data


@pytest.mark.parametrize("size", [1, 2, 100, PIECE - 1, PIECE])
def test_errors_say_that_they_are(size: int) -> None:
    """Output of the other kind has a longer head."""
    places = room(size, PIECE)
    data = os.urandom(size)
    places[0][:] = data
    packets = seal(filled(places, size), 3, GcmCipher(KEY, NONCE, 0), stderr=True)
    assert contents(packets) == [(wire.CHANNEL_EXTENDED_DATA, 3, data)]


def test_padding_is_random() -> None:
    """As RFC 4253 §6 asks for: nothing of earlier output is in it."""
    paddings = set()
    for _ in range(4):
        places = room(100, PIECE)
        opener = GcmCipher(KEY, NONCE, 0)
        packet = memoryview(bytearray(seal(places, 3, GcmCipher(KEY, NONCE, 0), stderr=False)))
        opener.open(packet, 0, len(packet))
        paddings.add(bytes(packet[4 + 10 + 100 : -16]))
    assert len(paddings) == 4

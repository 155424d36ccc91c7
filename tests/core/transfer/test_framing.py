"""Packets are cut out of pieces of any size, and no more than a head of any is kept."""

from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interlock.core.transfer import messages as m
from interlock.core.transfer.framing import REQUEST_HEADS, Framer, Sink
from interlock.core.transfer.operations import NotFollowed
from interlock.core.wire import string, uint32
from interlock.testing.transfers import packet, uint64

WRITE = packet(m.WRITE, uint32(1), string(b"h"), uint64(7), string(b"contents"), b"and more")
STREAM = packet(m.INIT, uint32(3)) + WRITE + packet(m.REMOVE, uint32(2), string(b"/a")) + WRITE


class Heads:
    """Notes heads and contents."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.contents = b""

    def take(self, kind: int, head: bytearray) -> tuple[int, Sink | None]:
        self.heads.append(bytes(head))
        return (8, self.add) if kind == m.WRITE else (0, None)

    def add(self, piece: memoryview) -> None:
        self.contents += piece


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_heads_and_contents(sizes: list[int]) -> None:
    """A head is what names things; contents are shown; what is behind them is passed over."""
    heads = Heads()
    framer = Framer(REQUEST_HEADS, heads.take)
    at = 0
    for size in cycle(sizes):
        framer.feed(memoryview(STREAM)[at : at + size])
        at += size
        if at >= len(STREAM):
            break
    write = WRITE[: -len(b"contentsand more")]
    assert heads.heads == [packet(m.INIT, uint32(3)), write, packet(m.REMOVE, uint32(2), string(b"/a")), write]
    assert heads.contents == b"contents" * 2
    assert framer.unread is None


def test_where_a_packet_begins() -> None:
    """Its type's place in the piece, or that it is in none that is still there."""
    framer = Framer(REQUEST_HEADS, Heads().take)
    request = packet(m.REMOVE, uint32(2), string(b"/a"))
    framer.feed(memoryview(WRITE + request[:6]))
    assert (framer.begins_at, framer.unread) == (len(WRITE) + 4, m.REMOVE)
    framer.feed(memoryview(request[6:]))
    assert (framer.begins_at, framer.unread) == (-1, None)
    framer.feed(memoryview(request[:4]))
    assert (framer.begins_at, framer.unread) == (-1, None)
    framer.feed(memoryview(request[4:]))
    assert (framer.begins_at, framer.unread) == (0, None)


@pytest.mark.parametrize("data", [uint32(4) + b"\x03" + bytes(4), uint32(0xFFFFFFFF) + bytes(5)])
def test_impossible_lengths(data: bytes) -> None:
    """Too short for an ID, or too long for SFTP."""
    with pytest.raises(NotFollowed):
        Framer(REQUEST_HEADS, Heads().take).feed(memoryview(data))

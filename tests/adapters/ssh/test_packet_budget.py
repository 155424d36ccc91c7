"""What one relayed packet may cost: every call is in a table, no content is copied, nothing is left behind.

When a test here fails, the failure names what was added to or taken from the path of each packet. A call less is
good: take it out of the table. A call more is paid 30,000 times per gigabyte, and with each key that is typed:
first look for a place where it happens per batch (`Leg._relay`), or per change of state (`Leg.reconsider`,
`Leg.match`); a log line, an await or a task never belongs here. If it has to be, add it to the table and say in
the commit what it costs, measured by ``make bench``.
"""

import gc
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType

import pytest

from interlock.adapters.ssh.cipher import GcmCipher
from interlock.core import wire
from interlock.core.flows import Tap
from interlock.core.sides import Side
from interlock.core.wire import string, uint32
from interlock.testing.legs import KEY, NONCE, Pair, data, packets

SHARED = {
    # opened, and sealed for the other leg, in place
    "GcmCipher.open": 1,
    "unpack_from": 2,
    "to_bytes": 2,
    "decrypt_into": 1,
    "GcmCipher.seal": 1,
    "encrypt_into": 1,
    # its channel found
    "get": 1,
}
"""Calls for each packet that passes from one connection to the other, of Python functions and of C functions."""

BATCH = {
    "Leg.get_buffer": 1,
    "Leg.buffer_updated": 1,
    "Leg._relay": 1,
    "Leg._packets": 1,
    "GcmCipher.open": 1,  # finds that there is no further packet
    "Leg.write_sealed": 1,
    "Leg._write": 1,
    "Sink.write": 1,  # the transport of these tests
    "len": 3,
}
"""Calls for each batch that was read, whatever is in it."""


@dataclass(frozen=True, slots=True)
class Budget:
    """One kind of packet: what else it may call, beside what is `SHARED`."""

    payload: bytes
    more: Mapping[str, int]
    tap: bool = False


def tap(kind: int, content: memoryview) -> None:
    """What a recorder is to a leg."""


ADJUST = bytes([wire.CHANNEL_WINDOW_ADJUST]) + uint32(5) + uint32(100_000)
STDERR = bytes([wire.CHANNEL_EXTENDED_DATA]) + uint32(5) + uint32(1) + string(b"x" * 4096)

BUDGETS = {
    "bulk": Budget(data(bytes(32_768)), {}),
    "key": Budget(data(b"x"), {}),
    "key echoed by a terminal": Budget(data(b"x"), {"tap": 1}, tap=True),
    "output of a terminal": Budget(data(bytes(4095)), {"tap": 1}, tap=True),
    "window adjust": Budget(ADJUST, {"Leg._seldom": 1, "unpack_from": 1}),
    "standard error": Budget(STDERR, {"Leg._seldom": 1, "unpack_from": 2, "tap": 1}, tap=True),
}


class Sink:
    """A pair of legs whose target takes everything and keeps nothing."""

    def __init__(self, budget: Budget) -> None:
        self.pair = Pair()
        self.pair.flow.tap, self.pair.flow.tap_may_wait = _tap_of(budget), True
        self.pair.target.transport.write = self.write  # type: ignore[method-assign]
        self.leg = self.pair.legs[Side.CLIENT]
        self.payload = budget.payload
        self.cipher = GcmCipher(KEY, NONCE, 0)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Forget it."""

    def batch(self, size: int) -> Callable[[], None]:
        """What relays one batch of so many packets, which have been read from the client's socket already."""
        stream = packets(*[self.payload] * size, cipher=self.cipher)
        room = self.leg.get_buffer(-1)
        room[: len(stream)] = stream
        room.release()

        def relay(length: int = len(stream)) -> None:
            self.leg.get_buffer(-1)
            self.leg.buffer_updated(length)

        return relay


def _tap_of(budget: Budget) -> Tap | None:
    return tap if budget.tap else None


def calls(work: Callable[[], None]) -> Counter[str]:
    """Every function that it calls, by name."""
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, called: object) -> None:
        if event == "call":
            found[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            found[getattr(called, "__name__", repr(called))] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    del found[work.__qualname__], found["setprofile"]
    return found


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS.keys())
async def test_calls_for_each_packet(budget: Budget) -> None:
    """Exactly those of the tables: so many for each batch, and so many for each packet in it."""
    sink = Sink(budget)
    few, many = calls(sink.batch(3)), calls(sink.batch(13))
    each = many.copy()
    each.subtract(few)
    assert {name: count / 10 for name, count in each.items() if count} == Counter(SHARED) + Counter(budget.more), (
        __doc__
    )
    few.subtract({name: 3 * count for name, count in (Counter(SHARED) + Counter(budget.more)).items()})
    assert {name: count for name, count in few.items() if count} == BATCH, __doc__


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=BUDGETS.keys())
async def test_no_content_is_copied_and_nothing_is_kept(budget: Budget) -> None:
    """A batch of ten packets needs a few small objects at its peak, whatever their size, and leaves counters."""
    sink = Sink(budget)
    sink.batch(10)()
    relay = sink.batch(10)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        relay()
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 2500
    assert after - before < 500


async def test_nothing_grows_with_traffic() -> None:
    """Blocks of memory after the hundredth batch and after a thousand more are as many."""
    sink = Sink(BUDGETS["output of a terminal"])
    for _ in range(100):
        sink.batch(2)()
    before = sys.getallocatedblocks()
    for _ in range(1000):
        sink.batch(2)()
    assert sys.getallocatedblocks() - before < 20

"""A lost tunnel is dialled again: later and later, at random, and never by all nodes at once. Time is virtual."""

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from interlock.core.errors import TargetError
from interlock.services.fleet.redialling import (
    FIRST_WINDOW_S,
    LONGEST_WINDOW_S,
    STABLE_S,
    Backoff,
    Redialler,
)
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy


class Extreme:
    """Entropy that always draws the same."""

    def __init__(self, byte: bytes) -> None:
        self._byte = byte

    def uuid(self) -> str:
        raise AssertionError

    def token(self, size: int) -> bytes:
        return self._byte * size


def test_pauses_grow_to_a_bound_and_begin_anew() -> None:
    """Drawn as long as can be, they double from the first to the last."""
    backoff = Backoff(Extreme(b"\xff"))
    windows = [backoff.next() for _ in range(10)]
    assert windows[:7] == pytest.approx([1, 2, 4, 8, 16, 32, 60])
    assert windows[7:] == pytest.approx([LONGEST_WINDOW_S] * 3)
    assert all(pause < LONGEST_WINDOW_S for pause in windows)
    backoff.reset()
    assert backoff.next() == pytest.approx(FIRST_WINDOW_S)


def test_a_pause_may_be_any_part_of_its_bound() -> None:
    """Full jitter: from nothing at all, evenly."""
    assert Backoff(Extreme(b"\0")).next() == 0
    firsts = [Backoff(FakeEntropy(seed)).next() for seed in range(2000)]
    counts = Counter(int(pause / FIRST_WINDOW_S * 10) for pause in firsts)
    assert set(counts) == set(range(10))
    assert max(counts.values()) < 300


class FakeLink:
    """A tunnel that is up until the test takes it down."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def wait_lost(self) -> str:
        return await self.lost


class Line:
    """What a redialler dials, and the time that passes while it pauses."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.pauses: list[float] = []
        self.dials = 0
        self.script: list[Callable[[], FakeLink]] = []
        self.waiting = asyncio.Event()  # nothing is left of the script

    async def dial(self) -> FakeLink:
        self.dials += 1
        if not self.script:
            self.waiting.set()
            await asyncio.Event().wait()
        return self.script.pop(0)()

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    def refused(self) -> FakeLink:
        raise TargetError("the proxy is away", reason="refused")


@asynccontextmanager
async def running(line: Line) -> AsyncIterator[Redialler]:
    """The redialler, until the block ends."""
    redialler = Redialler(line.dial, clock=line.clock, entropy=Extreme(b"\xff"), sleep=line.sleep)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(redialler.run())
        yield redialler
        task.cancel()


async def test_an_absent_proxy_is_dialled_later_and_later() -> None:
    """And the log says so once."""
    line = Line()
    line.script = [line.refused] * 8
    with capture_logs() as logs:
        async with running(line):
            await line.waiting.wait()
    assert line.pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60])
    assert [entry["event"] for entry in logs] == ["tunnel.not_up"]


class LateLink(FakeLink):
    """Lasts for some virtual time once somebody waits for its end."""

    def __init__(self, clock: FakeClock, seconds: float) -> None:
        super().__init__()
        self._clock, self._seconds = clock, seconds

    async def wait_lost(self) -> str:
        self._clock.advance(self._seconds)
        return "cut"


@pytest.mark.parametrize(("lasted", "pauses"), [(STABLE_S, [1, 1, 1]), (STABLE_S - 1, [1, 2, 4])])
async def test_only_a_tunnel_that_held_makes_pauses_short_again(lasted: float, pauses: list[float]) -> None:
    """A proxy that accepts its nodes and throws them out is not dialled every second."""
    line = Line()
    line.script = [lambda: LateLink(line.clock, lasted)] * 3
    async with running(line):
        await line.waiting.wait()
    assert line.pauses == pytest.approx(pauses)


def test_a_proxy_that_restarts_does_not_meet_all_nodes_at_once() -> None:
    """5,000 nodes lose it in the same moment, and it takes 100 of them a second: all are back in minutes.

    A simulation of the pauses alone. Without jitter all of them would stand there in the same second, again and
    again.
    """
    capacity, nodes = 100, 5000
    backoffs = [Backoff(FakeEntropy(seed)) for seed in range(nodes)]
    due = [(backoff.next(), node) for node, backoff in enumerate(backoffs)]
    heapq.heapify(due)
    served: Counter[int] = Counter()
    arrivals: Counter[int] = Counter()
    last = 0.0
    while due:
        at, node = heapq.heappop(due)
        second = int(at)
        arrivals[second] += 1
        if served[second] < capacity:
            served[second] += 1
            last = at
        else:
            heapq.heappush(due, (at + backoffs[node].next(), node))
    assert last < 300
    assert max(arrivals[second] for second in range(20, 300)) < nodes / 10

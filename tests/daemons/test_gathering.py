"""What the supervisor adds up."""

import asyncio

import pytest

from interlock.daemons import gathering
from interlock.daemons.control import Measure, Measured
from interlock.daemons.gathering import Gathering
from interlock.domain.metrics import Metric, Reading


def counted(sessions: float, live: float = 0) -> Reading:
    """What a worker says."""
    reading = Reading()
    reading.add(Metric.SESSIONS, sessions, "proxy")
    reading.add(Metric.LIVE, live)
    return reading


class Worker:
    """Answers at once, or never."""

    def __init__(self, name: str, gathering: Gathering, reading: Reading | None) -> None:
        self.name, self.gathering, self.reading = name, gathering, reading

    def send(self, message: Measure) -> None:
        """See `Teller`."""
        if self.reading is not None:
            answer = Measured(message.number, self.reading)
            asyncio.get_running_loop().call_soon(self.gathering.answered, self.name, answer)


async def test_all_workers_are_added_up() -> None:
    """And nobody is waited for who has answered."""
    found = Gathering()
    workers = {name: Worker(name, found, counted(n, 1)) for name, n in (("a", 2), ("b", 3))}
    reading = await found.ask(workers)
    assert (reading.value(Metric.SESSIONS, "proxy"), reading.value(Metric.LIVE)) == (5, 2)
    assert (await Gathering().ask({})).values == {}


async def test_counters_never_go_back() -> None:
    """A worker ended in order, another one was killed: what they said last stays, without their gauges."""
    found = Gathering()
    await found.ask({name: Worker(name, found, counted(1, 1)) for name in ("a", "b")})
    found.answered("a", Measured(0, counted(4)))
    found.ended("a")
    found.ended("b")
    reading = await found.ask({"c": Worker("c", found, counted(10, 2))})
    assert (reading.value(Metric.SESSIONS, "proxy"), reading.value(Metric.LIVE)) == (15, 2)


async def test_a_worker_that_does_not_answer_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said last counts."""
    found = Gathering()
    await found.ask({"a": Worker("a", found, counted(1))})
    monkeypatch.setattr(gathering, "PATIENCE_S", 0.01)
    reading = await found.ask({"a": Worker("a", found, None), "b": Worker("b", found, counted(2))})
    assert reading.value(Metric.SESSIONS, "proxy") == 3


async def test_a_worker_that_dies_while_it_is_asked_is_not_waited_for() -> None:
    """With no time limit in sight."""
    found = Gathering()
    asking = asyncio.create_task(found.ask({"a": Worker("a", found, None)}))
    await asyncio.sleep(0)
    found.ended("a")
    assert (await asking).values == {}

"""What all workers have counted, asked by the supervisor when somebody looks.

Counters never go back: of a worker that has ended, what it said last stays in the sum; of one that was killed,
what it had said when somebody looked the last time.
"""

import asyncio
from collections.abc import Mapping
from itertools import count
from typing import Protocol

from interlock.daemons.control import Measure, Measured
from interlock.domain.metrics import Reading

PATIENCE_S = 2.0
"""Seconds that a worker has to answer; of one that does not, its last answer counts."""


class Teller(Protocol):
    """How a worker is asked."""

    def send(self, message: Measure) -> None:
        """Send soon; harmless if it is gone."""
        ...


class Gathering:
    """Of one supervisor."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._last: dict[str, Reading] = {}  # by worker
        self._ended = Reading()
        self._asked: dict[int, tuple[set[str], asyncio.Event]] = {}  # who has not answered yet

    async def ask(self, workers: Mapping[str, Teller]) -> Reading:
        """The sum of these workers, and of those before them."""
        number, missing, done = next(self._numbers), set(workers), asyncio.Event()
        self._asked[number] = missing, done
        for worker in workers.values():
            worker.send(Measure(number))
        try:
            if missing:
                async with asyncio.timeout(PATIENCE_S):
                    await done.wait()
        except TimeoutError:
            pass
        finally:
            del self._asked[number]
        return Reading.sum([self._ended, *self._last.values()])

    def answered(self, worker: str, answer: Measured) -> None:
        """A worker has said something; nobody may be waiting for it any more."""
        self._last[worker] = answer.reading
        missing, done = self._asked.get(answer.number, (set(), None))
        missing.discard(worker)
        if done is not None and not missing:
            done.set()

    def ended(self, worker: str) -> None:
        """It is gone."""
        if (last := self._last.pop(worker, None)) is not None:
            self._ended = Reading.sum([self._ended, last.lasting()])
        for missing, done in self._asked.values():
            missing.discard(worker)
            if not missing:
                done.set()

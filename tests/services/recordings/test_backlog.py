"""Whose turn it is to be delivered, while a store works, is away for an hour, and comes back."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from interlock.services.recordings.backlog import (
    AT_ONCE,
    FIRST_PAUSE_S,
    LONGEST_HURRIED_S,
    LONGEST_PAUSE_S,
    Backlog,
    Turn,
)
from interlock.testing.clock import FakeClock
from interlock.testing.entropy import FakeEntropy

HOUR_S = 3600.0


class World:
    """A backlog of numbers, a store whose answer depends on number and time, and time that jumps ahead."""

    def __init__(self, answer: Callable[[int, float], str], *, seed: int = 0) -> None:
        self.clock = FakeClock()
        self.began = self.clock.monotonic()
        self.backlog: Backlog[int] = Backlog(clock=self.clock, entropy=FakeEntropy(seed))
        self.answer = answer
        self.asked: list[tuple[float, int]] = []
        self.delivered: list[int] = []
        self.most = 0

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return self.clock.monotonic() - self.began

    def put(self, numbers: range) -> None:
        """So many deliveries."""
        for number in numbers:
            self.backlog.put(number)

    def step(self) -> int:
        """Try all that may be tried now; how many that was."""
        turns: list[Turn[int]] = []
        while (turn := self.backlog.take()) is not None:
            turns.append(turn)
        self.most = max(self.most, len(turns))
        for turn in turns:
            self.asked.append((self.now, turn.item))
            match self.answer(turn.item, self.now):
                case "away":
                    self.backlog.away(turn)
                case "bad":
                    self.backlog.failed(turn, answered=True)
                case _:
                    self.delivered.append(turn.item)
                    self.backlog.delivered(turn)
        return len(turns)

    def run(self, until: float) -> None:
        """Until then, or until nothing waits."""
        while len(self.backlog) and self.now < until:
            if self.step():
                continue
            due = self.backlog.due_in()
            assert due is not None, "nobody would ever try again"
            self.clock.advance(max(due, 1e-6))


def fine(_number: int, _now: float) -> str:
    """A store that works."""
    return "ok"


def test_a_few_at_a_time_in_order() -> None:
    """However many wait."""
    world = World(fine)
    world.put(range(1000))
    world.run(1)
    assert world.delivered == list(range(1000))
    assert world.most == AT_ONCE
    assert world.backlog.due_in() is None


def test_a_store_that_is_away_for_an_hour_is_asked_by_one_and_gets_all_in_order() -> None:
    """Nobody runs into it at once when it is back, and what came meanwhile comes behind."""
    world = World(lambda _number, now: "away" if now < HOUR_S else "ok")
    world.put(range(500))
    world.run(HOUR_S / 2)
    assert world.backlog.store_away
    world.put(range(500, 1000))
    world.run(2 * HOUR_S)
    before = [at for at, _ in world.asked if at < HOUR_S]
    assert HOUR_S / LONGEST_PAUSE_S < len(before) < 3 * HOUR_S / LONGEST_PAUSE_S
    assert world.now < HOUR_S + LONGEST_PAUSE_S + 1
    opener, first_back = 0, world.delivered[0]
    rest = [number for number in world.delivered if number not in {opener, first_back}]
    assert rest == sorted(rest)
    assert sorted(world.delivered) == list(range(1000))
    assert world.delivered.index(opener) <= AT_ONCE + 1


def test_after_an_absence_deliveries_begin_one_by_one() -> None:
    """Then more, as the store answers."""
    world = World(lambda _number, now: "away" if now < 60 else "ok")
    world.put(range(100))
    world.run(59)
    sizes: list[int] = []
    while len(sizes) < 4:
        size = world.step()
        if size and world.now >= 60:
            sizes.append(size)
        elif not size:
            world.clock.advance(max(world.backlog.due_in() or 0, 1e-6))
    assert sizes == [1, 1, 2, 4]


@pytest.mark.parametrize("how", ["away", "bad"])
def test_one_that_never_gets_through_holds_up_no_other(how: str) -> None:
    """It is tried again with growing pauses of its own, whatever the store says of it."""
    world = World(lambda number, _now: how if number == 3 else "ok")
    world.put(range(100))
    world.run(5)
    assert sorted(world.delivered) == [number for number in range(100) if number != 3]
    world.run(HOUR_S)
    tries = [at for at, number in world.asked if number == 3]
    assert len(tries) < 3 * HOUR_S / LONGEST_PAUSE_S
    assert max(b - a for a, b in pairwise(tries)) > LONGEST_PAUSE_S / 2


def test_pauses_grow_and_are_drawn_at_random() -> None:
    """Two daemons that lose the store in one moment do not ask again in one moment."""
    first, second = (World(lambda _number, _now: "away", seed=seed) for seed in (1, 2))
    for world in (first, second):
        world.put(range(10))
        world.run(120)
        pauses = [b - a for (a, _), (b, _) in pairwise(world.asked) if b > a]
        assert FIRST_PAUSE_S / 2 <= pauses[0] <= FIRST_PAUSE_S
        assert pauses[-1] > 10 * pauses[0]
        assert max(pauses) <= LONGEST_PAUSE_S
    assert {at for at, _ in first.asked[AT_ONCE:]}.isdisjoint(at for at, _ in second.asked[AT_ONCE:])


def test_who_needs_the_room_asks_again_soon() -> None:
    """And what waits for the end of a long pause does not any more."""
    world = World(lambda _number, now: "away" if now < HOUR_S else "ok")
    world.put(range(3))
    world.run(HOUR_S - 20)
    world.backlog.hurry(on=True)
    assert world.backlog.due_in() == 0.0
    world.run(HOUR_S - 1)
    hurried = [at for at, _ in world.asked if at > HOUR_S - 20]
    assert max(b - a for a, b in pairwise(hurried)) <= LONGEST_HURRIED_S
    world.backlog.hurry(on=False)
    world.run(2 * HOUR_S)
    assert sorted(world.delivered) == [0, 1, 2]

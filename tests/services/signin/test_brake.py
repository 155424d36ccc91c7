"""The brake's memory and the fairness of turns; what they do for sign-in is in test_signin."""

import asyncio

import pytest

from interlock.services.signin import brake
from interlock.services.signin.brake import FREE_FAILURES, SOURCE_FAILURES, SOURCE_PAUSE_S, Brake, Turns

NOW = 1000.0


def failures(made: Brake, source: str, now: float) -> int:
    """How many attempts at new names this source gets through at one moment."""
    return sum(made.begin((f"{source} {now} {number}", source), now) for number in range(SOURCE_FAILURES * 2))


def test_a_source_gets_its_failures_back_one_by_one() -> None:
    """All at first, one for each pause, all again after as many pauses; each source has its own."""
    made = Brake()
    assert failures(made, "a", NOW) == SOURCE_FAILURES
    assert failures(made, "a", NOW + SOURCE_PAUSE_S) == 1
    assert failures(made, "a", NOW + SOURCE_PAUSE_S * 3) == 2
    assert failures(made, "b", NOW) == SOURCE_FAILURES
    assert failures(made, "a", NOW + SOURCE_PAUSE_S * SOURCE_FAILURES * 2) == SOURCE_FAILURES


def test_success_costs_nothing_and_buys_nothing() -> None:
    """One's own account does not refill the allowance for guessing at others."""
    made = Brake()
    for _ in range(SOURCE_FAILURES * 2):
        assert made.begin(("me", "a"), NOW)
        made.succeeded(("me", "a"))
    assert failures(made, "a", NOW) == SOURCE_FAILURES
    assert made.begin(("me", "a"), NOW)
    made.succeeded(("me", "a"))
    assert failures(made, "a", NOW) == 0


def test_what_was_not_judged_does_not_count() -> None:
    """Neither for the user nor for the source."""
    made = Brake()
    for _ in range(SOURCE_FAILURES * 2):
        assert made.begin(("me", "a"), NOW)
        made.undo(("me", "a"))
    assert failures(made, "a", NOW) == SOURCE_FAILURES


def test_who_is_known_still_has_the_pauses_of_one_user() -> None:
    """A known name is no way around the brake."""
    made = Brake()
    made.succeeded(("me", "a"))
    assert sum(made.begin(("me", "a"), NOW) for _ in range(50)) == FREE_FAILURES


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest unused users and sources are forgotten first."""
    monkeypatch.setattr(brake, "MAX_TRACKED", 10)
    made = Brake()
    for number in range(30):
        made.begin((f"user{number}", f"source{number}"), NOW)
        made.succeeded((f"known{number}", f"source{number}"))
    for kept in (made._failures, made._known, made._spent):
        assert len(kept) == 10


class Bench:
    """Turns that one holder has, and what those who wait for them get."""

    def __init__(self, tasks: asyncio.TaskGroup, waiting: int) -> None:
        self.turns = Turns(parallel=1, waiting=waiting)
        self.got: list[tuple[str, bool]] = []
        self.last: asyncio.Task[None]
        self._tasks = tasks

    async def ask(self, name: str, source: str) -> None:
        """Ask for a turn, and be in the queue when this returns."""

        async def take() -> None:
            async with self.turns.turn(source) as given:
                self.got.append((name, given))

        self.last = self._tasks.create_task(take())
        await asyncio.sleep(0)


async def test_sources_take_turns() -> None:
    """Ten of one source do not come before the one of another."""
    async with asyncio.TaskGroup() as tasks:
        bench = Bench(tasks, waiting=10)
        async with bench.turns.turn("held"):
            for name in ("a1", "a2", "a3"):
                await bench.ask(name, "a")
            await bench.ask("b1", "b")
    assert bench.got == [("a1", True), ("b1", True), ("a2", True), ("a3", True)]


async def test_the_source_with_most_is_turned_away() -> None:
    """Its newest makes room for a newcomer from elsewhere; its own newcomers are refused at once."""
    async with asyncio.TaskGroup() as tasks:
        bench = Bench(tasks, waiting=2)
        async with bench.turns.turn("held"):
            for name in ("a1", "a2", "a3"):
                await bench.ask(name, "a")
            assert bench.got == [("a3", False)]
            await bench.ask("b1", "b")
            assert bench.got.pop() == ("a3", False)
            await asyncio.sleep(0)
            assert bench.got == [("a2", False)]
            await bench.ask("c1", "c")  # everybody has one: first come, first served
            assert bench.got.pop() == ("c1", False)
    assert bench.got[1:] == [("a1", True), ("b1", True)]


async def test_who_stops_waiting_takes_no_turn() -> None:
    """Clients that hang up, also in the moment in which the turn is theirs, leave no slot taken."""
    asking: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        bench = Bench(tasks, waiting=10)
        async with bench.turns.turn("held"):
            for name in ("gone", "going", "late"):
                await bench.ask(name, "a")
                asking[name] = bench.last
            asking["gone"].cancel()
            await asyncio.wait({asking["gone"]})
            asking["going"].cancel()
        asking["late"].cancel()
        await asyncio.wait(asking.values())
        async with bench.turns.turn("next") as given:
            assert given
    assert bench.got == []
    assert not bench.turns._waiting

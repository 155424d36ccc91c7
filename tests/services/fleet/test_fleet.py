"""Slots, generations, restarts and reloads of workers, with the clock passed in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlock.services.fleet.fleet import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    START_S,
    STOP_S,
    YOUNG_S,
    Command,
    Effect,
    Fleet,
    Note,
    Order,
    Told,
)


def commands(effects: list[Effect], order: Order) -> list[tuple[int, int]]:
    """Worker and slot of each such command."""
    return [(each.worker, each.slot) for each in effects if isinstance(each, Command) and each.order is order]


def notes(effects: list[Effect]) -> list[Note]:
    """What the log is told."""
    return [each.note for each in effects if isinstance(each, Told)]


def changing(fleet: Fleet) -> bool:
    """Whether it is, at this moment: the type checker takes a property for a constant."""
    return fleet.changing


def serving(slots: int = 2) -> Fleet:
    """A first generation that serves."""
    fleet = Fleet()
    assert commands(fleet.launch(slots, 0.0), Order.START) == [(n + 1, n) for n in range(slots)]
    for number in range(1, slots):
        assert fleet.ready(number, 1.0) == []
    assert notes(fleet.ready(slots, 1.0)) == [Note.TOOK_OVER]
    assert fleet.due is None
    return fleet


def test_a_worker_that_dies_is_replaced_in_its_slot() -> None:
    """At once if it has lived; with the log line."""
    fleet = serving()
    assert fleet.ended(2, 100.0) == [Told(Note.DIED, 1, 2, 0.0)]
    assert fleet.due == 100.0
    assert commands(fleet.tick(100.0), Order.START) == [(3, 1)]
    assert fleet.ready(3, 101.0) == []
    assert fleet.due is None


def test_those_that_die_young_are_replaced_with_growing_pauses() -> None:
    """And after one that has lived the pauses begin anew."""
    fleet, now, pauses = serving(), 1.0, []
    number = 2
    for _ in range(8):
        (told,) = fleet.ended(number, now)
        assert isinstance(told, Told)
        pauses.append(told.pause)
        assert fleet.tick(now + told.pause - 0.01) == []
        now += told.pause
        ((number, slot),) = commands(fleet.tick(now), Order.START)
        assert slot == 1
    assert pauses[:3] == [FIRST_PAUSE_S, FIRST_PAUSE_S * 2, FIRST_PAUSE_S * 4]
    assert pauses[-1] == LONGEST_PAUSE_S
    fleet.ready(number, now)
    assert fleet.ended(number, now + YOUNG_S) == [Told(Note.DIED, 1, number, 0.0)]


def test_a_worker_that_is_never_ready_is_killed() -> None:
    """Once; then its end counts as a death."""
    fleet = serving()
    fleet.ended(1, 100.0)
    fleet.tick(100.0)
    assert fleet.due == 100.0 + START_S
    assert commands(fleet.tick(100.0 + START_S), Order.KILL) == [(3, 0)]
    assert fleet.tick(100.0 + START_S) == []
    assert notes(fleet.ended(3, 100.0 + START_S)) == [Note.DIED]


def test_a_reload_takes_over_when_all_of_it_is_ready() -> None:
    """Only then do the old ones drain, and their end is nobody's loss."""
    fleet = serving()
    assert commands(fleet.launch(3, 10.0), Order.START) == [(3, 0), (4, 1), (5, 2)]
    assert changing(fleet)
    assert fleet.ready(3, 11.0) == fleet.ready(5, 11.0) == []
    effects = fleet.ready(4, 11.0)
    assert notes(effects) == [Note.TOOK_OVER]
    assert commands(effects, Order.DRAIN) == [(1, 0), (2, 1)]
    assert not changing(fleet)
    assert fleet.ended(1, 12.0) == []
    assert fleet.due is None


def test_a_second_reload_while_the_first_generation_still_drains() -> None:
    """Each drains on its own."""
    fleet = serving(1)
    fleet.launch(1, 10.0)
    assert commands(fleet.ready(2, 11.0), Order.DRAIN) == [(1, 0)]
    fleet.launch(1, 20.0)
    assert commands(fleet.ready(3, 21.0), Order.DRAIN) == [(2, 0)]
    assert fleet.ended(2, 22.0) == fleet.ended(1, 23.0) == []
    assert notes(fleet.ended(3, 50.0)) == [Note.DIED]


def test_a_reload_that_fails_leaves_everything_as_it_was() -> None:
    """What had started of it stops."""
    fleet = serving()
    fleet.launch(2, 10.0)
    fleet.ready(3, 11.0)
    effects = fleet.ended(4, 11.0)
    assert notes(effects) == [Note.REFUSED]
    assert commands(effects, Order.STOP) == [(3, 0)]
    assert fleet.ended(3, 12.0) == []
    assert not changing(fleet)
    assert fleet.ended(1, 100.0) == [Told(Note.DIED, 1, 1, 0.0)]


def test_one_that_dies_during_a_reload_is_replaced_until_the_new_ones_take_over() -> None:
    """The replacement then drains like the others."""
    fleet = serving()
    fleet.launch(2, 50.0)
    assert notes(fleet.ended(1, 50.5)) == [Note.DIED]
    assert commands(fleet.tick(50.5), Order.START) == [(5, 0)]
    fleet.ready(3, 51.0)
    assert sorted(commands(fleet.ready(4, 51.0), Order.DRAIN)) == [(2, 1), (5, 0)]
    assert fleet.ready(5, 51.5) == []


def test_a_first_generation_that_does_not_start_is_a_failure() -> None:
    """Nobody tries again: the configuration or the machine is wrong."""
    fleet = Fleet()
    fleet.launch(2, 0.0)
    effects = fleet.ended(1, 1.0)
    assert notes(effects) == [Note.FAILED]
    assert commands(effects, Order.STOP) == [(2, 1)]
    assert fleet.ended(2, 1.0) == []
    assert fleet.empty
    assert fleet.due is None


def test_stopping_ends_all_and_starts_nobody() -> None:
    """Those that drain and those that are due included; the late are killed."""
    fleet = serving()
    fleet.launch(2, 10.0)
    for number in (3, 4):
        fleet.ready(number, 11.0)
    fleet.ended(3, 30.0)
    effects = fleet.stop(30.0)
    assert sorted(worker for worker, _ in commands(effects, Order.STOP)) == [1, 2, 4]
    assert fleet.stop(30.0) == []
    assert fleet.tick(30.0) == []
    assert fleet.ended(1, 31.0) == fleet.ended(4, 31.0) == []
    assert commands(fleet.tick(30.0 + STOP_S), Order.KILL) == [(2, 1)]
    assert fleet.ended(2, 61.0) == []
    assert fleet.empty


STEPS = st.lists(st.tuples(st.sampled_from(["ready", "ended", "launch", "tick"]), st.integers(0, 30)), max_size=60)


@given(STEPS)
def test_whatever_happens_each_slot_has_one_worker_to_come_or_to_serve(
    steps: list[tuple[str, int]],
) -> None:
    """Of the generation that serves: never two, never none for good."""
    fleet, now, running = Fleet(), 0.0, {}
    serves = 0

    def perform(effects: list[Effect]) -> None:
        nonlocal serves
        for each in effects:
            if isinstance(each, Told) and each.note is Note.TOOK_OVER:
                serves = each.generation
            if isinstance(each, Command) and each.order is Order.START:
                running[each.worker] = (each.generation, each.slot)
            if isinstance(each, Command) and each.order in (Order.DRAIN, Order.STOP):
                assert running[each.worker][0] != serves

    perform(fleet.launch(2, now))
    for number in (1, 2):
        perform(fleet.ready(number, now))
    for what, which in steps:
        now += 1.0
        if what == "launch" and not fleet.changing:
            perform(fleet.launch(2, now))
        elif what == "tick":
            perform(fleet.tick(now))
        elif running and what in ("ready", "ended"):
            worker = sorted(running)[which % len(running)]
            if what == "ended":
                del running[worker]
            perform(fleet.ready(worker, now) if what == "ready" else fleet.ended(worker, now))
        slots = [slot for generation, slot in running.values() if generation == serves]
        assert len(slots) == len(set(slots))
        assert len(slots) + len(fleet._restarts) == 2
    assert fleet.due is None or fleet.due <= now + max(START_S, STOP_S)


@pytest.mark.parametrize("number", [7, 1])
def test_a_late_word_changes_nothing(number: int) -> None:
    """From a worker that is unknown, or ready already."""
    assert serving().ready(number, 5.0) == []

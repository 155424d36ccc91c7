"""The outbox: order, batches, retries, and no loss."""

import asyncio
from collections.abc import Sequence

from interlock.core.errors import Denied, StoreError
from interlock.services.audit.outbox import BATCH, FIRST_PAUSE_S, LONGEST_PAUSE_S, Outbox


class Store:
    """Takes batches; fails as told."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.batches: list[list[int]] = []
        self.refuses: set[int] = set()

    async def take(self, batch: Sequence[int]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        if self.refuses & set(batch):
            raise Denied("not yours")
        self.batches.append(list(batch))

    @property
    def items(self) -> list[int]:
        return [item for batch in self.batches for item in batch]


class Pauses:
    """Sleeps no time, and remembers how long."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


async def test_what_waits_is_delivered_at_once_and_in_order() -> None:
    """Everything put before the writer runs arrives in one batch."""
    store = Store()
    outbox: Outbox[int] = Outbox("numbers", store.take)
    for number in range(10):
        outbox.put(number)
    outbox.stop()
    await outbox.run()
    assert store.batches == [list(range(10))]


async def test_a_long_queue_is_delivered_in_bounded_batches() -> None:
    """No transaction grows beyond the limit."""
    store = Store()
    outbox: Outbox[int] = Outbox("numbers", store.take)
    for number in range(BATCH + 1):
        outbox.put(number)
    outbox.stop()
    await outbox.run()
    assert [len(batch) for batch in store.batches] == [BATCH, 1]
    assert store.items == list(range(BATCH + 1))


async def test_flush_waits_for_all_that_was_put_before() -> None:
    """After flush, everything is stored; the writer goes on."""
    store = Store()
    outbox: Outbox[int] = Outbox("numbers", store.take)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outbox.run())
        outbox.put(1)
        outbox.put(2)
        await outbox.flush()
        assert store.items == [1, 2]
        outbox.put(3)
        outbox.stop()
    assert store.items == [1, 2, 3]


async def test_a_failing_store_is_tried_again_with_growing_pauses() -> None:
    """Nothing is lost or reordered while the store is away, and it is not hammered."""
    store = Store(*[StoreError("away")] * 9)
    pauses = Pauses()
    outbox: Outbox[int] = Outbox("numbers", store.take, sleep=pauses)
    for number in range(5):
        outbox.put(number)
    outbox.stop()
    await outbox.run()
    assert store.items == list(range(5))
    assert pauses.taken == [min(FIRST_PAUSE_S * 2**n, LONGEST_PAUSE_S) for n in range(9)]


async def test_a_bug_in_a_store_loses_nothing() -> None:
    """An exception that no store should raise is treated like an outage."""
    store = Store(ZeroDivisionError())
    outbox: Outbox[int] = Outbox("numbers", store.take, sleep=Pauses())
    outbox.put(1)
    outbox.stop()
    await outbox.run()
    assert store.items == [1]


async def test_an_item_that_is_refused_does_not_block_the_others() -> None:
    """A refusal is final: the rest of the batch arrives without the item."""
    store = Store()
    store.refuses = {2}
    outbox: Outbox[int] = Outbox("numbers", store.take)
    for number in (1, 2, 3):
        outbox.put(number)
    outbox.stop()
    await outbox.run()
    assert store.items == [1, 3]


async def test_too_long_a_queue_is_not_healthy() -> None:
    """Items above the limit are kept, and the owner can see that the store does not keep up."""
    store = Store()
    outbox: Outbox[int] = Outbox("numbers", store.take, backlog=2)
    health = []
    for number in (1, 2, 3):
        outbox.put(number)
        health.append(outbox.healthy)
    outbox.stop()
    await outbox.run()
    assert [*health, outbox.healthy] == [True, False, False, True]
    assert store.items == [1, 2, 3]


async def test_room_ends_at_half_of_the_backlog() -> None:
    """What may be left out is left out before what may not."""
    outbox: Outbox[int] = Outbox("numbers", Store().take, backlog=4)
    outbox.put(1)
    assert (outbox.has_room, outbox.healthy) == (True, True)
    outbox.put(2)
    assert (outbox.has_room, outbox.healthy) == (False, True)
    outbox.stop()
    await outbox.run()
    assert outbox.has_room


async def test_an_outbox_that_gathers_delivers_once_what_comes_within_a_moment() -> None:
    """Whatever the loop does in between, as long as the moment lasts."""
    store = Store()
    outbox: Outbox[int] = Outbox("numbers", store.take, gather=0.5)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outbox.run())
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.5 - loop.time() % 0.5)  # a moment begins
        for number in range(5):
            outbox.put(number)
            await asyncio.sleep(0)
        assert store.batches == []
        await outbox.delivered()
        assert store.batches == [list(range(5))]
        outbox.stop()


async def test_two_outboxes_deliver_at_the_same_moment() -> None:
    """Whenever they got their first item, so that the store commits once for both."""
    rounds: list[int] = []
    steps = 0

    async def take(_batch: Sequence[int]) -> None:
        rounds.append(steps)

    one: Outbox[int] = Outbox("one", take, gather=0.5)
    two: Outbox[int] = Outbox("two", take, gather=0.5)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(one.run())
        tasks.create_task(two.run())
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0.5 - loop.time() % 0.5)
        one.put(1)
        await asyncio.sleep(0)
        two.put(2)
        while len(rounds) < 2:
            steps += 1
            await asyncio.sleep(0)
        assert rounds[0] == rounds[1]
        one.stop()
        two.stop()


async def test_nobody_waits_for_the_moment_who_is_in_a_hurry() -> None:
    """Not a flush, not a full batch, and not an outbox that stops."""
    store = Store()
    outbox: Outbox[int] = Outbox("numbers", store.take, gather=3600)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(outbox.run())
        outbox.put(-1)
        await outbox.flush()
        for number in range(BATCH):
            outbox.put(number)
        await outbox.delivered()
        outbox.put(BATCH)
        outbox.stop()
        outbox.put(BATCH + 1)
    assert [len(batch) for batch in store.batches] == [1, BATCH, 2]

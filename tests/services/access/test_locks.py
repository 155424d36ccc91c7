"""A daemon's view of the locks: what it ends, what it refuses, and what it does when it hears nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.core.errors import Denied, Locked, StoreError
from interlock.domain.lock import NO_LOCKS, Lock, LockKind, LockList, Subject
from interlock.services.access.locks import RETRY_S, STALE_S, Locks
from interlock.testing.clock import START, FakeClock
from interlock.testing.limits import MemoryLocks
from interlock.testing.stores import VirtualSleep

ALICE = Subject(user="alice", roles=("dev",))
LOCK = Lock("l1", LockKind.USER, "alice", START, "call 4711")


class View:
    """A running view and what a test needs of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sleep = VirtualSleep(self.clock)
        self.feed = MemoryLocks()
        self.locks = Locks(self.feed, clock=self.clock, sleep=self.sleep)
        self.ended: list[tuple[str, str]] = []  # who, and with which words

    def come(self, name: str, subject: Subject) -> None:
        """Somebody is here."""
        self.locks.watch(subject, lambda lock: self.ended.append((name, lock.public)))

    async def tell(self, *locks: Lock, strict: bool = False) -> None:
        """Let the feed say this, and the view hear it."""
        async with aclosing(self.locks.follow_locks()) as told:
            await anext(told)
            self.feed.tell(LockList(locks, strict))
            await anext(told)


@pytest.fixture
async def view() -> AsyncIterator[View]:
    """Running, with a first word heard."""
    made = View()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.locks.run())
        async with aclosing(made.locks.follow_locks()) as told:
            await anext(told)
        yield made
        running.cancel()


async def test_whoever_is_locked_out_ends_and_nobody_else(view: View) -> None:
    """Once, in the lock's words."""
    view.come("alice", ALICE)
    view.come("bob", Subject(user="bob"))
    await view.tell(LOCK)
    assert view.ended == [("alice", "access is locked: call 4711")]
    await view.tell(LOCK, replace(LOCK, id="l2", kind=LockKind.ROLE, name="dev"))
    assert len(view.ended) == 1


async def test_who_has_left_is_not_ended(view: View) -> None:
    """Stopping twice is harmless."""
    watch = view.locks.watch(ALICE, lambda lock: view.ended.append(("alice", lock.public)))
    watch.stop()
    watch.stop()
    await view.tell(LOCK)
    assert view.ended == []


async def test_one_that_fails_to_end_saves_nobody(view: View) -> None:
    """A bug met by one connection must not let another live."""

    def fail(_lock: Denied) -> None:
        raise RuntimeError("a bug")

    view.locks.watch(ALICE, fail)
    view.come("alice", ALICE)
    await view.tell(LOCK)
    assert [who for who, _ in view.ended] == ["alice"]


async def test_a_new_arrival_is_refused_until_the_lock_is_gone_or_has_expired(view: View) -> None:
    """The view itself looks at the clock."""
    view.locks.check(ALICE)
    await view.tell(replace(LOCK, expires=view.clock.now() + timedelta(seconds=5)))
    with pytest.raises(Locked, match="call 4711"):
        view.locks.check(ALICE)
    view.clock.advance(5)
    view.locks.check(ALICE)
    await view.tell(LOCK)
    with pytest.raises(Locked):
        view.locks.check(ALICE)
    await view.tell()
    view.locks.check(ALICE)


async def test_a_silent_feed_makes_a_strict_view_refuse(view: View) -> None:
    """And a word makes it current again. What is live goes on meanwhile."""
    view.come("alice", ALICE)
    await view.tell(strict=True)
    view.clock.advance(STALE_S)
    view.locks.check(ALICE)
    view.clock.advance(0.1)
    with pytest.raises(Denied, match="nobody can tell now"):
        view.locks.check(ALICE)
    assert view.ended == []
    view.feed.tell(LockList(strict=True))
    async with aclosing(view.locks.follow_locks()) as told:
        await anext(told)  # a stale view passes nothing on before it has heard something
    view.locks.check(ALICE)


async def test_a_silent_feed_changes_nothing_where_nobody_is_strict(view: View) -> None:
    """What is known still counts."""
    await view.tell(LOCK)
    view.clock.advance(STALE_S * 10)
    with pytest.raises(Locked):
        view.locks.check(ALICE)
    view.locks.check(Subject(user="bob"))


@pytest.mark.parametrize("end", [StoreError("auth is away"), None])
async def test_a_feed_that_ends_is_asked_again(view: View, end: StoreError | None) -> None:
    """At once, and what was missed takes effect."""
    view.come("alice", ALICE)
    view.feed.tell(end)
    await view.sleep.wait_sleeper(RETRY_S)
    view.sleep.advance(RETRY_S)
    async with aclosing(view.locks.follow_locks()) as told:
        await anext(told)
        while view.feed.followers < 2:
            await anext(told)
    await view.tell(LOCK)
    assert [who for who, _ in view.ended] == ["alice"]


async def test_others_follow_what_the_view_hears(view: View) -> None:
    """Each word, also those that came while they were busy with the one before; the newest counts."""
    async with aclosing(view.locks.follow_locks()) as told:
        assert await anext(told) == NO_LOCKS
        await view.tell(LOCK)
        await view.tell(LOCK, replace(LOCK, id="l2"))
        assert len((await anext(told)).locks) == 2


async def test_a_view_that_has_heard_nothing_passes_nothing_on() -> None:
    """A node that was told of no locks by an auth that does not know would let everybody in."""
    locks = Locks(MemoryLocks(), clock=FakeClock())
    async with aclosing(locks.follow_locks()) as told:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(told)

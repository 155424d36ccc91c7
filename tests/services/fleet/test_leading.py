"""What one of several auths does: while it is given to it, and no longer than it can be sure of that."""

import asyncio
from collections.abc import AsyncIterator, Collection

import pytest

from interlock.core.errors import StoreError
from interlock.ports import HELD_S
from interlock.services.fleet.leading import LOOK_S, Leading
from interlock.testing.clock import FakeClock
from interlock.testing.stores import VirtualSleep

DUTY = "export siem"


class Given:
    """`ports.Leads` as scripted: what is given, an error, or no answer."""

    def __init__(self) -> None:
        self.answer: frozenset[str] | StoreError | None = frozenset()

    async def hold(self, duties: Collection[str]) -> frozenset[str]:
        """As it is said."""
        if self.answer is None:
            await asyncio.get_running_loop().create_future()
        if isinstance(self.answer, StoreError):
            raise self.answer
        assert isinstance(self.answer, frozenset)
        return self.answer.intersection(duties)


class Auth:
    """One that leads, and what it does."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sleep = VirtualSleep(self.clock)
        self.given = Given()
        self.leading = Leading(self.given, [DUTY], clock=self.clock, sleep=self.sleep)
        self.times = 0
        self.working = asyncio.Event()
        self.stopped = asyncio.Event()

    async def work(self) -> None:
        """Until it is cancelled."""
        self.times += 1
        self.stopped.clear()
        self.working.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.working.clear()
            self.stopped.set()

    async def look(self, answer: frozenset[str] | StoreError | None) -> None:
        """The next question has this answer."""
        await self.sleep.wait_sleeper(LOOK_S)
        self.given.answer = answer
        self.sleep.advance(LOOK_S)
        await asyncio.sleep(0)


@pytest.fixture
async def auth() -> AsyncIterator[Auth]:
    """Running, with nothing given."""
    made = Auth()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(made.leading.run())
        working = tasks.create_task(made.leading.lead(DUTY, made.work))
        yield made
        running.cancel()
        working.cancel()


async def test_work_is_done_while_it_is_ours(auth: Auth) -> None:
    """And begins anew when it is ours again."""
    assert not auth.leading.leads(DUTY)
    await auth.look(frozenset({DUTY}))
    await auth.working.wait()
    assert auth.leading.leads(DUTY)
    await auth.look(frozenset({DUTY}))
    await auth.sleep.wait_sleeper(LOOK_S)
    assert auth.working.is_set()
    await auth.look(frozenset())
    await auth.stopped.wait()
    await auth.look(frozenset({DUTY}))
    await auth.working.wait()
    assert auth.times == 2


async def test_an_error_may_mean_that_another_one_has_it(auth: Auth) -> None:
    """The connection by which it was held may be gone."""
    await auth.look(frozenset({DUTY}))
    await auth.working.wait()
    await auth.look(StoreError("away"))
    await auth.stopped.wait()
    assert not auth.leading.leads(DUTY)


async def test_no_answer_means_the_same_in_time(auth: Auth) -> None:
    """Before the database gives it to somebody else."""
    await auth.look(frozenset({DUTY}))
    await auth.working.wait()
    await auth.sleep.wait_sleeper(LOOK_S)
    auth.clock.advance(HELD_S)
    assert not auth.leading.leads(DUTY)
    auth.given.answer = None
    auth.sleep.advance(LOOK_S)
    await auth.stopped.wait()


async def test_work_that_returns_is_done(auth: Auth) -> None:
    """It is not begun again and again."""
    await auth.look(frozenset({DUTY}))
    calls = []

    async def once() -> None:
        calls.append(1)

    async with asyncio.timeout(5):
        await auth.leading.lead(DUTY, once)
    assert calls == [1]

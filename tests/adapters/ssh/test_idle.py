"""What idle sessions cost: no timers and no tasks that wake by themselves, and little memory."""

import asyncio
import gc
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import asyncssh
import pytest

from interlock.adapters.ssh import record
from interlock.domain.access import RoleOptions
from interlock.services.recordings.recorder import FLUSH_AFTER_S
from interlock.testing.plain_target import plain_target
from interlock.testing.ssh_pair import Gateway, gateway

OBJECTS, BYTES = 86, 32_000  # of one session, less than a tenth above what it takes in a young process
HELD_ONCE = 3  # references to what only one attribute holds, as seen from a loop over it
KEEPALIVE_S = 40.0  # so long that none is due in the test
ONCE = {"ConnectionRecord._look", "Recorder._flush"}  # timers of what has just begun or been said


async def idle_session(world: Gateway, stack: AsyncExitStack) -> None:
    """A person with a terminal on a connection of their own, who has seen a prompt and does nothing."""
    client = await stack.enter_async_context(await world.client("plain1", as_user="idler"))
    process = await stack.enter_async_context(
        client.create_process(term_type="xterm", encoding=None, stdin=asyncssh.PIPE)
    )
    process.stdin.write(b"hello")
    assert await process.stdout.readexactly(5) == b"hello"


async def timers_at_rest() -> Counter[str]:
    """The loop's timers by what they call, once nothing is about to happen."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(FLUSH_AFTER_S)
        waiting = [each for each in loop._scheduled if not each.cancelled()]  # type: ignore[attr-defined]
        names = Counter(str(getattr(each._callback, "__qualname__", each._callback)) for each in waiting)
        if not ONCE & names.keys():
            return names


@pytest.fixture(autouse=True)
def _soon_at_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is looked at once, for whether it carries a session, sooner than after seconds."""
    monkeypatch.setattr(record, "RECORD_AFTER_S", 0.2)


def gateway_tasks() -> Counter[str]:
    """The tasks that have names, which asyncssh's have not."""
    names = Counter(task.get_name() for task in asyncio.all_tasks())
    return Counter({name: count for name, count in names.items() if "." in name})


@pytest.mark.slow
async def test_idle_sessions_have_no_timers(tmp_path: Path) -> None:
    """Ten have as many as one has, keepalives, idle limits and heartbeats included; and each has one task."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(gateway(tmp_path, keepalive_interval=KEEPALIVE_S))
        await stack.enter_async_context(plain_target(world))
        world.add_person("idler", RoleOptions(client_idle_timeout=3600))
        await idle_session(world, stack)
        timers, tasks = await timers_at_rest(), gateway_tasks()
        for _ in range(9):
            await idle_session(world, stack)
        assert await timers_at_rest() == timers
        assert gateway_tasks() - tasks == Counter({"proxy.passage": 9})


def own_objects() -> tuple[int, int]:
    """Objects of our classes, and their bytes with those of their attributes that belong to nobody else."""
    gc.collect()
    ours = [each for each in gc.get_objects() if str(type(each).__module__).startswith("interlock.")]
    attributes = [vars(each) for each in ours if hasattr(each, "__dict__") and not isinstance(each, type)]
    held = [value for each in attributes for value in each.values() if sys.getrefcount(value) <= HELD_ONCE]
    return len(ours), sum(map(sys.getsizeof, [*ours, *attributes, *held]))


@pytest.mark.slow
async def test_idle_sessions_hold_little(tmp_path: Path) -> None:
    """Both connections, their relay, the session and its recorder: asyncssh's part is cut down."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(gateway(tmp_path))
        await stack.enter_async_context(plain_target(world))
        await idle_session(world, stack)
        await timers_at_rest()
        objects, size = own_objects()
        for _ in range(10):
            await idle_session(world, stack)
        await timers_at_rest()
        more_objects, more_size = own_objects()
        assert more_objects - objects <= 10 * OBJECTS
        assert more_size - size <= 10 * BYTES

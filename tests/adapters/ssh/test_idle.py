"""What idle sessions cost: neither timers nor tasks that wake by themselves, however many sessions there are."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import asyncssh

from interlock.domain.access import RoleOptions
from interlock.services.recorder import FLUSH_AFTER_S
from interlock.testing.ssh_pair import Gateway, gateway, plain_target

KEEPALIVE_S = 40.0  # so long that none is due in the test
SHORT_S = 5.0  # a timer that is due sooner belongs to something that just happens


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
        if all(each.when() - loop.time() > SHORT_S for each in waiting):
            return Counter(str(getattr(each._callback, "__qualname__", each._callback)) for each in waiting)


def gateway_tasks() -> Counter[str]:
    """The tasks that have names, which asyncssh's have not."""
    names = Counter(task.get_name() for task in asyncio.all_tasks())
    return Counter({name: count for name, count in names.items() if "." in name})


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

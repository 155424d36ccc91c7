"""A proxy that runs out of descriptors for a moment goes on taking what comes from the others."""

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from interlock.adapters.ssh.tunnel.accepting import PAUSE_S, next_caller
from interlock.adapters.ssh.tunnel.neighbours import Accept, Call, Hatch, _receive, _send, listen_at
from interlock.core.ids import DaemonId
from interlock.testing.ssh_pair import Gateway

OWN = DaemonId("99999999-1111-4333-8444-555555555555")


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Not one is left to this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_callers_are_taken_when_there_are_descriptors_again(world: Gateway, tmp_path: Path) -> None:
    """Without them it waits; nothing ends."""
    listener = listen_at(tmp_path / "own.sock")
    paused, again = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        assert seconds == PAUSE_S
        paused.set()
        await again.wait()

    async def joins() -> Accept:
        return asyncio.Protocol

    hatch = Hatch(OWN, world.tunnels, joins, sleep=sleep)
    with closing(listener), closing(socket.socket(socket.AF_UNIX)) as caller:
        caller.setblocking(False)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(hatch.run(listener))
            with no_descriptors():
                await asyncio.get_running_loop().sock_connect(caller, str(tmp_path / "own.sock"))
                await paused.wait()
            again.set()
            await _send(caller, msgspec.json.encode(Call(OWN, b"")))
            assert await _receive(caller, 1) == b""
            running.cancel()


async def test_a_listener_that_is_closed_is_an_error(tmp_path: Path) -> None:
    """It would not come back."""
    listener = listen_at(tmp_path / "own.sock")
    listener.close()
    with pytest.raises((OSError, ValueError)):
        await next_caller(listener, asyncio.sleep)

"""A node behind a tunnel gets to an auth that answers, whichever of them have fallen silent."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager

import pytest

from interlock.adapters.ssh.tunnel import auths
from interlock.adapters.ssh.tunnel.auths import AuthOrder
from interlock.adapters.ssh.tunnel.entrance import AuthAddresses
from interlock.testing.node import NODE_ID
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import Gateway
from interlock.testing.tunnelled import agent, credential

A, B, C = (LOOPBACK, 1), (LOOPBACK, 2), (LOOPBACK, 3)


@asynccontextmanager
async def speaking() -> AsyncIterator[tuple[str, int]]:
    """An auth that answers."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"here " + await reader.readline())
        writer.close()

    async with await asyncio.start_server(answer, LOOPBACK, 0) as server:
        yield server.sockets[0].getsockname()


@contextmanager
def hung() -> Iterator[tuple[str, int]]:
    """A process that hangs: the system accepts its connections."""
    with closing(socket.create_server((LOOPBACK, 0), backlog=8)) as listener:
        yield listener.getsockname()


@contextmanager
def cut_off() -> Iterator[tuple[str, int]]:
    """A machine that is cut off: nothing comes back, as from a listener whose queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.create_server((LOOPBACK, 0), backlog=0)))
        for _ in range(2):
            filling = stack.enter_context(closing(socket.socket()))
            filling.setblocking(False)
            filling.connect_ex(listener.getsockname())
        yield listener.getsockname()


async def ask(path: object) -> bytes:
    """A question to auth as gRPC would have it: it gives up when nothing comes."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"tea\n")
    said = b""
    try:
        async with asyncio.timeout(0.2):
            said = await reader.read()
    except TimeoutError:
        pass
    writer.close()
    return said


async def test_a_machine_that_is_cut_off_takes_its_own_time_only(
    world: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next auth has a time of its own, and is the first from then on."""
    monkeypatch.setattr(auths, "AUTH_DIAL_S", 0.1)
    with cut_off() as away:
        async with speaking() as here:
            world.tunnels.auth = AuthAddresses(away, away, (here,))
            async with agent(world, await credential(world)) as node, node.auth_socket() as path:
                await node.dial()
                while await ask(path) != b"here tea\n":
                    pass
            assert world.tunnels.auths.of([away, here]) == [here, away]


async def test_an_auth_that_says_nothing_is_left(world: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the next question; the proxy sees no more than that nothing comes. What led there is cleared away."""
    monkeypatch.setattr(auths, "LINGER_S", 0.1)
    with hung() as silent:
        async with speaking() as here:
            world.tunnels.auth = AuthAddresses(silent, silent, (here,))
            async with agent(world, await credential(world)) as node, node.auth_socket() as path:
                await node.dial()
                assert await ask(path) == b""
                while world.tunnels.auths.of([silent, here]) != [here, silent]:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                assert await ask(path) == b"here tea\n"
                (tunnel,) = world.tunnels.here(NODE_ID)
                while tunnel.connection.count_channels():  # noqa: ASYNC110
                    await asyncio.sleep(0.005)


def test_whoever_speaks_comes_first_and_the_longest_silence_next() -> None:
    """Otherwise in the order in which they are named."""
    order = AuthOrder()
    assert order.of([A, B, C]) == [A, B, C]
    order.silent(A)
    order.silent(B)
    assert order.of([A, B, C]) == [C, A, B]
    order.silent(A)
    assert order.of([A, B, C]) == [C, B, A]
    order.heard(B)
    assert order.of([A, B, C]) == [B, C, A]

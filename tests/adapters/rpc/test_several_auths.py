"""A daemon that knows several auths leaves one that has fallen silent, and asks the next one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import pytest

from interlock.adapters.rpc import calling, tls
from interlock.adapters.rpc import messages as m
from interlock.adapters.rpc.client import AuthClient
from interlock.core.errors import Away, NoAnswer, StoreError
from interlock.testing.auth import Auth, Node
from interlock.testing.ports import LOOPBACK

pytestmark = pytest.mark.slow  # silence takes seconds to be noticed


class Way:
    """A relay to auth, in whose place auth is one of several; `stop` as SIGSTOP does it."""

    def __init__(self) -> None:
        self.taken = 0
        self._running = asyncio.Event()
        self._running.set()

    def stop(self) -> None:
        """Connections are still accepted, and nothing comes any more."""
        self._running.clear()

    @asynccontextmanager
    async def to(self, address: str) -> AsyncIterator[str]:
        """Its address."""
        async with asyncio.TaskGroup() as tasks:

            def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                self.taken += 1
                relays.append(tasks.create_task(self._relay(reader, writer, address)))

            relays: list[asyncio.Task[None]] = []
            server = await asyncio.start_server(take, LOOPBACK, 0)
            async with server:
                yield f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
            for relay in relays:
                relay.cancel()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(writer.transport.abort)
            there, back = await asyncio.open_connection(*tls.split_address(address))
            stack.callback(back.transport.abort)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._pass(reader, back))
                    tasks.create_task(self._pass(there, writer))
            except* OSError:
                pass

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._running.wait()
            writer.write(data)
        writer.close()


class Scene:
    """Two ways to auth, and a client that knows both."""

    def __init__(self, node: Node) -> None:
        self.auth = node.auth
        self.node = node
        self.first, self.second = Way(), Way()
        self.client: AuthClient = node.client


@pytest.fixture
async def scene(auth: Auth, node: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """The client is connected by the first way; silence is noticed soon."""
    soon = {"grpc.keepalive_time_ms": 200, "grpc.keepalive_timeout_ms": 300, "grpc.http2.ping_timeout_ms": 300}
    options = [(name, soon.get(name, value)) for name, value in tls._CHANNEL_OPTIONS]
    monkeypatch.setattr(tls, "_CHANNEL_OPTIONS", options)
    found = Scene(node)
    async with AsyncExitStack() as stack:
        ways = [await stack.enter_async_context(way.to(auth.bound.service)) for way in (found.first, found.second)]
        await node.client.move(",".join(ways))
        await node.client.trust()
        yield found
        await node.client.close()


async def test_what_is_asked_of_a_silent_auth_is_answered_by_the_next(scene: Scene) -> None:
    """The caller notices a pause, and no error."""
    assert (scene.first.taken, scene.second.taken) == (1, 0)
    scene.first.stop()
    await scene.client.heartbeat(scene.node.target())
    assert scene.auth.stores.nodes.keys() == {"db1"}
    assert scene.second.taken >= 1


async def test_when_all_are_silent_there_is_no_auth(scene: Scene) -> None:
    """The call ends, as if nobody were there."""
    for way in (scene.first, scene.second):
        way.stop()
    with pytest.raises(StoreError, match="auth cannot be reached"):
        await scene.client.heartbeat(scene.node.target())


async def test_an_auth_that_only_says_that_it_is_there_is_left(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its network answers, and what was asked is never done: the next question goes elsewhere."""
    monkeypatch.setattr(calling, "CALL_TIMEOUT_S", 0.3)

    async def never(*_: object) -> None:
        await asyncio.get_running_loop().create_future()

    with monkeypatch.context() as hanging:
        hanging.setattr(scene.auth.stores, "heartbeat", never)
        with pytest.raises(NoAnswer):
            await scene.client.heartbeat(scene.node.target())
    monkeypatch.setattr(calling, "CALL_TIMEOUT_S", 10.0)
    await scene.client.heartbeat(scene.node.target())
    assert (scene.first.taken, scene.second.taken) == (1, 1)


async def test_what_is_cut_off_when_an_auth_is_left_has_no_answer(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not auth that has said no, so what it said before still counts (ADR-0023)."""
    begun = asyncio.Event()

    async def never(*_: object) -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(scene.auth.stores, "heartbeat", never)
    async with asyncio.TaskGroup() as tasks:

        async def ask() -> None:
            with pytest.raises(Away):
                await scene.client.heartbeat(scene.node.target())

        tasks.create_task(ask())
        await begun.wait()
        await scene.client._replace(None)


async def test_an_auth_that_answers_others_is_not_left(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One question may be too much for it."""
    monkeypatch.setattr(calling, "CALL_TIMEOUT_S", 1.0)

    async def never(*_: object) -> None:
        await scene.client.trust()
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(scene.auth.stores, "heartbeat", never)
    with pytest.raises(NoAnswer):
        await scene.client.heartbeat(scene.node.target())
    await scene.client.trust()
    assert (scene.first.taken, scene.second.taken) == (1, 0)


async def test_what_means_something_else_when_repeated_is_not(scene: Scene) -> None:
    """It fails when the connection breaks."""
    scene.first.stop()
    with pytest.raises(StoreError, match="auth cannot be reached"):
        await calling.call(scene.client._channel, replace(m.TRUST, once=True), m.AskTrust())

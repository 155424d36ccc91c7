"""R18 and R21: whoever is let in, and whatever answers as a target, makes nobody hold more than a constant."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from interlock.core import wire
from interlock.core.messages import Open, channel_message, channel_request, global_request
from interlock.core.wire import string, uint32
from interlock.domain.access import RoleOptions
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind
from interlock.testing.hostile import Gone, HostKey, RawSsh, connect_raw, raw_server
from interlock.testing.node import node_world
from interlock.testing.offences import NUMBER, announce, as_node, confirm, data, open_session
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import LOGIN, USER, Gateway

pytestmark = pytest.mark.slow

HELD = 12_000_000
"""Bytes by which the process may grow: buffers of both sides' sockets in the kernel are not its own."""
POURED = 40_000_000
Act = Callable[[RawSsh, Open], Awaitable[None]]


def resident() -> int:
    """Bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def pour(peer: RawSsh, message: bytes, size: int = POURED) -> int:
    """Send a message again and again until nobody takes it; how many bytes were taken."""
    peer.writer.transport.set_write_buffer_limits(high=65536)
    piece, sent = b"", 0
    with contextlib.suppress(ConnectionError, TimeoutError):
        while sent < size and not peer.writer.transport.is_closing():
            piece = b"".join(peer.packet(message) for _ in range(max(1, 65536 // len(message))))
            peer.write(piece)
            sent += len(piece)
            async with asyncio.timeout(0.4):
                await peer.writer.drain()
    return sent


def allow(world: Gateway, **options: Any) -> None:
    """What everybody's role says."""
    world.users.known_roles["access"] = Role("access", (LOGIN,), {"*": "*"}, RoleOptions(**options))


@contextlib.asynccontextmanager
async def between(world: Gateway, act: Act, *, start: bool = True) -> AsyncIterator[RawSsh]:
    """A client with a session (which runs) on a target that then does this."""

    async def script(peer: RawSsh) -> None:
        opened = await as_node(peer)
        if start:
            peer.send(confirm(opened))
            peer.send(announce(opened))
            await peer.expect(wire.CHANNEL_REQUEST)
        await act(peer, opened)

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line], sub_kind=SubKind.NODE)
        async with await world.raw_client("evil1") as client:
            client.send(open_session())
            if start:
                await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
                client.send(channel_request(NUMBER, b"shell"))
            yield client


BIG = bytes(32_000)
FROM_TARGET: dict[str, Callable[[Open], bytes]] = {
    "output": lambda o: data(o.sender, BIG),
    "error output": lambda o: bytes([95]) + uint32(o.sender) + uint32(1) + string(BIG),
    "other extended data": lambda o: bytes([95]) + uint32(o.sender) + uint32(99) + string(BIG),
    "global requests": lambda _: global_request(b"x@example.com", want_reply=True) + string(BIG),
    "channel requests": lambda o: channel_request(o.sender, b"x@example.com", want_reply=True, data=string(BIG)),
    "opens": lambda _: open_session(5, b"forwarded-tcpip") + string("h") + uint32(1) + string("h") + uint32(1),
    "ignored": lambda _: bytes([wire.IGNORE]) + string(BIG),
    "unknown": lambda _: bytes([200]) + BIG,
    "debug": lambda _: bytes([wire.DEBUG, 1]) + string(BIG) + string(""),
}


@pytest.mark.parametrize("what", FROM_TARGET)
async def test_r18_a_target_that_pours_at_a_client_that_reads_nothing(world: Gateway, what: str) -> None:
    """Whatever it pours waits with it, or ends the connection; nothing here grows."""
    done = asyncio.Event()

    async def act(peer: RawSsh, opened: Open) -> None:
        peer.stop_reading()
        await pour(peer, FROM_TARGET[what](opened))
        done.set()

    async with between(world, act) as client:
        client.stop_reading()
        before = resident()
        await done.wait()
        assert resident() - before < HELD


@pytest.mark.parametrize("what", ["output", "global requests", "channel requests", "opens", "unknown"])
async def test_r18_what_a_target_says_before_its_answer_is_not_held(world: Gateway, what: str) -> None:
    """Behind an open that it does not answer (GHSA-qw79-rh95-853p)."""
    done = asyncio.Event()

    async def act(peer: RawSsh, opened: Open) -> None:
        await pour(peer, FROM_TARGET[what](opened), 32_000_000)
        done.set()

    async with between(world, act, start=False) as client:
        before = resident()
        async with asyncio.timeout(20):
            await done.wait()
        assert resident() - before < HELD
        del client


FROM_CLIENT: dict[str, bytes] = {
    "input": data(NUMBER, BIG),
    "other extended data": bytes([95]) + uint32(NUMBER) + uint32(99) + string(BIG),
    "global requests": global_request(b"x@example.com", want_reply=True) + string(BIG),
    "channel requests": channel_request(NUMBER, b"x@example.com", want_reply=True, data=string(BIG)),
    "windows": bytes([93]) + uint32(NUMBER) + uint32(1),
    "unknown": bytes([200]) + BIG,
    "refused channels": open_session(9, b"direct-tcpip") + string("h") + uint32(1) + string("h") + uint32(1),
}


@pytest.mark.parametrize("what", FROM_CLIENT)
async def test_r18_a_client_that_pours_at_a_target_that_reads_nothing(world: Gateway, what: str) -> None:
    """The same the other way; beyond the target's window, too, which it has to watch itself."""
    running, poured = asyncio.Event(), asyncio.Event()

    async def act(peer: RawSsh, _opened: Open) -> None:
        peer.stop_reading()
        running.set()
        await poured.wait()

    async with between(world, act) as client:
        await running.wait()
        client.stop_reading()
        before = resident()
        await pour(client, FROM_CLIENT[what])
        poured.set()
        assert resident() - before < HELD


async def test_r18_more_than_the_window_ends_the_connection_to_a_node(tmp_path: Path) -> None:
    """A node counts what it lets come (mscdex/ssh2#1505)."""
    async with (
        node_world(tmp_path) as node,
        node.connect() as client,
        client.create_process("sleep 60", encoding=None) as process,
    ):
        channel: Any = process.channel
        channel._send_window = 1 << 30
        with contextlib.suppress(BrokenPipeError, ConnectionError, OSError):
            for _ in range(400):
                process.stdin.write(bytes(32_000))
        await client.wait_closed()


@pytest.mark.parametrize("what", ["input", "global requests", "unknown"])
async def test_r18_a_portal_holds_nothing_for_who_does_not_read(world: Gateway, what: str) -> None:
    """Requests to the portal are answered one at a time."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.log_in(USER, await world.credential())
        client.send(open_session())
        number = wire.Reader((await client.expect(91))[5:]).uint32()
        client.send(channel_request(number, b"subsystem", want_reply=True, data=string("interlock-portal")))
        client.stop_reading()
        before = resident()
        message = {"input": data(number, b'{"type":"nodes"}\n' * 1000)}.get(what, FROM_CLIENT.get(what, b""))
        await pour(client, message)
        assert resident() - before < HELD


async def test_r18_no_compression_is_offered(world: Gateway) -> None:
    """One small packet could become two hundred megabytes."""
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.exchange_versions()
        offered = await client.receive_any()
    assert b"zlib" not in offered
    assert offered.count(string("none")) == 2


@pytest.mark.parametrize("asked", [False, True])
async def test_r21_an_agent_is_reached_only_by_a_session_that_was_granted_it(world: Gateway, asked: bool) -> None:
    """And only if the client asked for it; what passes through is not read, however long it says that it is."""
    allow(world, agent_forwarding=True)
    answered = asyncio.Event()
    answers: list[int] = []

    async def act(peer: RawSsh, _opened: Open) -> None:
        if asked:
            peer.send(channel_message(wire.CHANNEL_SUCCESS, 0))
            await peer.expect(wire.CHANNEL_REQUEST)
        peer.send(open_session(3, b"auth-agent@openssh.com"))
        answers.append((await peer.expect(91, 92))[0])
        if answers == [91]:
            peer.send(data(1, uint32((1 << 32) - 1) + b"\x0b"))
        answered.set()
        with contextlib.suppress(Gone):
            await peer.wait_gone()

    async def script(peer: RawSsh) -> None:
        opened = await as_node(peer)
        peer.send(confirm(opened))
        peer.send(announce(opened))
        await peer.expect(wire.CHANNEL_REQUEST)
        await act(peer, opened)

    key = HostKey()
    async with raw_server(script, key) as port:
        world.add_target("evil1", port, host_keys=[key.line], sub_kind=SubKind.NODE)
        async with await world.raw_client("evil1") as client:
            client.send(open_session())
            await client.expect(91)
            if asked:
                client.send(channel_request(NUMBER, b"auth-agent-req@openssh.com", want_reply=True))
                await client.expect(wire.CHANNEL_SUCCESS)
            client.send(channel_request(NUMBER, b"shell"))
            if asked:
                opened = Open.decode(await client.expect(wire.CHANNEL_OPEN))
                assert opened.kind == "auth-agent@openssh.com"
                client.send(bytes([91]) + uint32(opened.sender) + uint32(1) + uint32(1 << 20) + uint32(32768))
            await answered.wait()
            assert answers == [91 if asked else 92]


async def test_r21_the_gateway_never_speaks_to_an_agent_of_its_own(
    world: Gateway, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever its environment says, to log in to a target it uses a fresh key and nothing else."""
    spoken: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        spoken.append(await reader.read(1))
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "agent"):
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))

        async def script(peer: RawSsh) -> None:
            await peer.admit()
            await peer.wait_gone()

        key = HostKey()
        async with raw_server(script, key) as port:
            world.add_target("evil1", port, host_keys=[key.line])
            async with await world.raw_client("evil1"):
                pass
    assert not spoken

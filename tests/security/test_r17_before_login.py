"""R17: whoever has not logged in costs little memory and little time, and costs nobody else anything."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from interlock.adapters.ssh.seams import patience
from interlock.core import wire
from interlock.core.limits import MAX_AUTH_REQUESTS
from interlock.core.wire import boolean, string, uint32
from interlock.testing.hostile import USERAUTH_FAILURE, RawSsh, connect_raw
from interlock.testing.node import node_world
from interlock.testing.plain_target import plain_target
from interlock.testing.ports import LOOPBACK
from interlock.testing.ssh_pair import USER, Gateway, gateway

POURED = 64_000_000


@dataclass(frozen=True)
class Door:
    """A port that strangers reach."""

    port: int

    async def connect(self) -> RawSsh:
        """Somebody is there."""
        return await connect_raw(LOOPBACK, self.port)


@pytest.fixture(params=["gateway", "node"])
async def door(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Door]:
    """The gateway's port, and a node's."""
    if request.param == "gateway":
        async with gateway(tmp_path) as world:
            yield Door(world.port)
            await world.wait_clean()
    else:
        async with node_world(tmp_path) as node:
            yield Door(node.port)


async def pour(client: RawSsh, message: bytes) -> int:
    """Send a message again and again until nobody takes it any more; how many bytes were taken."""
    piece, sent = b"", 0
    client.writer.transport.set_write_buffer_limits(high=65536)
    with contextlib.suppress(ConnectionError, TimeoutError):
        while sent < POURED and not client.writer.transport.is_closing():
            piece = b"".join(client.packet(message) for _ in range(max(1, 65536 // len(message))))
            client.write(piece)
            sent += len(piece)
            async with asyncio.timeout(1):
                await client.writer.drain()
    return sent


def ask(method: str, *, user: str = USER, more: bytes = b"") -> bytes:
    """USERAUTH_REQUEST."""
    return bytes([wire.USERAUTH_REQUEST]) + string(user) + string("ssh-connection") + string(method) + more


async def test_r17_what_is_not_understood_yet_waits_outside(
    world: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that take a step of the loop each come faster than that: what is read ahead of them is bounded."""
    monkeypatch.setattr(patience, "MAX_AUTH_REQUESTS", 1 << 30)
    async with await connect_raw(LOOPBACK, world.port) as client:
        await client.handshake()
        await client.request_service()
        [door] = world.proxy._doors
        flood = b"".join(client.packet(ask("none")) for _ in range(20_000))
        client.write(flood)
        held = 0
        while client.log.lines.count("< USERAUTH_FAILURE") < 500:
            held = max(held, len(door._inpbuf))
            await client.receive()
        assert held < 600_000


REQUESTS: dict[str, Callable[[int], bytes]] = {
    "none": lambda _: ask("none"),
    "questions": lambda _: ask("keyboard-interactive", more=string("") + string("")),
    "names": lambda n: ask("none", user=f"user{n}"),
    "passwords": lambda n: ask("password", more=boolean(False) + string(f"{n}")),
    "keys": lambda n: ask("publickey", more=boolean(False) + string("ssh-ed25519") + string(uint32(n))),
    "host keys": lambda _: ask("hostbased", more=string("ssh-ed25519") + string("k") + string("h") + string("u")),
    "GSSAPI": lambda _: ask("gssapi-with-mic", more=uint32(1000) + string(b"\x06\x01\x01") * 1000),
}


@pytest.mark.slow
@pytest.mark.parametrize("exchanging", [False, True], ids=["at rest", "in a key exchange"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_r17_requests_to_log_in_are_counted(door: Door, name: str, exchanging: bool) -> None:
    """Whatever they ask for; the answers wait nowhere, not behind a key exchange that never ends either."""
    async with await door.connect() as client:
        await client.handshake()
        await client.request_service()
        client.follows = not exchanging
        if exchanging:
            client.begin_exchange()
        for number in range(3 * MAX_AUTH_REQUESTS):
            client.send(REQUESTS[name](number))
        async with asyncio.timeout(10):
            await client.wait_gone()
        assert client.log.lines.count("< USERAUTH_FAILURE") <= MAX_AUTH_REQUESTS


@pytest.mark.slow
async def test_r17_who_does_not_read_the_answers_is_cut_off(door: Door) -> None:
    """A message that nobody knows is answered, whoever sends it."""
    async with await door.connect() as client:
        await client.handshake()
        client.stop_reading()
        assert await pour(client, bytes([10]) + b"x") < POURED


@pytest.mark.parametrize("length", [0, 1, 5, 256 * 1024 + 1, 1 << 31, (1 << 32) - 1])
@pytest.mark.parametrize("when", ["versions", "keys"])
async def test_r17_a_length_that_cannot_be_ends_the_connection(door: Door, length: int, when: str) -> None:
    """At once: nobody waits for four gigabytes."""
    async with await door.connect() as client:
        await (client.exchange_versions() if when == "versions" else client.handshake())
        client.write(uint32(length) + bytes(64))
        async with asyncio.timeout(5):
            await client.wait_gone()


@pytest.mark.parametrize("said", [b"", b"\n" * 70_000, b"GET / HTTP/1.0\r\n\r\n", b"SSH-1.5-x\r\n", b"S" * 70_000])
async def test_r17_whoever_speaks_something_else_is_no_burden(door: Door, said: bytes) -> None:
    """It is closed, or waits for its turn to be: others are served meanwhile."""
    async with await door.connect() as client:
        client.write(said)
        async with await door.connect() as other:
            async with asyncio.timeout(10):
                await other.handshake()


def big_rsa(bits: int) -> bytes:
    """A public key whose signatures would take long to verify; nobody has its private half."""
    modulus = b"\0" + b"\xff" * (bits // 8)
    return string("ssh-rsa") + string(b"\1\0\1") + string(modulus)


@pytest.mark.parametrize("bits", [16_384, 131_072])
async def test_r17_a_huge_key_is_not_worth_a_signature(door: Door, bits: int) -> None:
    """It is refused before anything is computed with it."""
    blob = big_rsa(bits)
    signature = string("rsa-sha2-512") + string(b"\x01" * (bits // 8))
    async with await door.connect() as client:
        await client.handshake()
        await client.request_service()
        began = time.thread_time()
        for _ in range(10):
            client.send(
                ask("publickey", more=boolean(True) + string("rsa-sha2-512") + string(blob) + string(signature))
            )
            await client.expect(USERAUTH_FAILURE)
        assert time.thread_time() - began < 1


@pytest.mark.slow
async def test_r17_half_open_connections_cost_little(world: Gateway) -> None:
    """A thousand from one place: as many wait as may, the others go, and who comes is served at once."""
    async with plain_target(world):
        silent = [await connect_raw(LOOPBACK, world.port) for _ in range(1000)]
        for client in silent[::3]:
            client.write(b"SSH-2.0-half\r\n")
        began = time.monotonic()
        async with await world.client("plain1") as other:
            assert (await other.run("exit 5", check=False)).exit_status == 5
        assert time.monotonic() - began < 5  # a second, and what the machine is busy with beside
        for client in silent:
            await client.close()


async def test_r17_a_key_exchange_that_never_ends_costs_nobody_else(door: Door) -> None:
    """Begun, and left."""
    stuck = [await door.connect() for _ in range(20)]
    for client in stuck:
        await client.exchange_versions()
        client.begin_exchange()
    async with await door.connect() as other:
        async with asyncio.timeout(10):
            await other.handshake()
    for client in stuck:
        await client.close()

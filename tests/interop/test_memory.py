"""What the gateway holds after much has passed, and while a peer asks for everything and reads nothing.

Counted is the anonymous memory of the gateway's own processes, from outside. Each test has processes of its own in
the one cluster, since memory that was let go of once would hide what is taken the next time.
"""

import asyncio
import shlex
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from interlock.core import wire
from interlock.core.messages import Open, channel_data, channel_request
from interlock.core.wire import string, uint32
from interlock.testing.gateway import Cluster
from interlock.testing.generations import admitted
from interlock.testing.hostile import HostKey, RawSsh, raw_server
from interlock.testing.ports import LOOPBACK
from interlock.testing.procs import cpu_clock, poll_until, run

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.xdist_group("memory")]

WINDOW = 1 << 30
STALLED_KB = 2000
"""What one peer that does not read may cost, in kB."""

PASSED_KB = 20_000
"""What a long transfer may leave."""

SIZE = 500_000_000
MEGABYTE = 1_000_000
FLOOD = "exec cat /dev/zero"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A gateway and a plain sshd."""
    with Cluster(tmp_path_factory.mktemp("memory") / "cluster", with_node=False) as made:
        made.admin("roles", "set", "access", "--option", "local_forwarding=yes")
        yield made


@pytest.fixture
def gateway(cluster: Cluster) -> Cluster:
    """Started afresh, and it has served somebody, so that what is loaded at the first session is there."""
    cluster.gateway.stop()
    cluster.gateway = cluster.start_gateway()
    client = cluster.client("first", cluster.person)
    place = cluster.route(cluster.agentless_name)
    client.run("-tt", *place, "head -c 20000000 /dev/zero").check()
    client.run(*place, "head -c 20000000 /dev/zero").check()
    client.run(*place, "cat >/dev/null", stdin=bytes(20 * MEGABYTE)).check()
    return cluster


@pytest.fixture
async def talker() -> AsyncIterator[int]:
    """The port of somebody who sends more than anybody takes."""
    met: list[asyncio.Transport] = []

    class Talker(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            met.append(transport)
            transport.write(bytes(64 * MEGABYTE))

    async with await asyncio.get_running_loop().create_server(Talker, LOOPBACK, 0) as server:
        yield server.sockets[0].getsockname()[1]
        for each in met:
            each.abort()


def held_kb(cluster: Cluster) -> int:
    """Anonymous memory of the gateway's processes once they have had nothing to do for a second."""
    pids = cluster.gateway.pids
    since, used = time.monotonic(), sum(map(cpu_clock, pids))

    def calm() -> bool:
        nonlocal since, used
        now, total = time.monotonic(), sum(map(cpu_clock, pids))
        if total - used > 0.03:
            since, used = now, total
        return now - since >= 1.0

    poll_until(calm, "a gateway with nothing to do", timeout=40)
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(
        int(line.split()[1]) for text in rollups for line in text.splitlines() if line.startswith("Anonymous:")
    )


async def wide_channel(client: RawSsh, kind: bytes = b"session", more: bytes = b"") -> int:
    """A channel whose client would take a gigabyte; the other side's number of it."""
    fields = string(kind) + uint32(0) + uint32(WINDOW) + uint32(32768)
    client.send(bytes([wire.CHANNEL_OPEN]) + fields + more)
    confirmation = await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
    return wire.Reader(confirmation[5:]).uint32()


async def run_command(client: RawSsh) -> None:
    """Output without a terminal."""
    client.send(channel_request(await wide_channel(client), b"exec", data=string(FLOOD)))


async def run_at_terminal(client: RawSsh) -> None:
    """Output of a terminal, all of which is recorded."""
    number = await wide_channel(client)
    size = uint32(80) + uint32(24) + uint32(0) + uint32(0)
    client.send(channel_request(number, b"pty-req", data=string("xterm") + size + string("")))
    client.send(channel_request(number, b"exec", data=string(FLOOD)))


async def get_file(client: RawSsh) -> None:
    """A file by SFTP, asked for in as many pieces as a client may wait for."""
    number = await wide_channel(client)
    client.send(channel_request(number, b"subsystem", want_reply=True, data=string("sftp")))
    await client.expect(wire.CHANNEL_SUCCESS)

    def ask(kind: int, fields: bytes) -> None:
        client.send(channel_data(number, uint32(1 + len(fields)) + bytes([kind]) + fields))

    ask(1, uint32(3))
    await client.expect(wire.CHANNEL_DATA)
    ask(3, uint32(0) + string("/dev/zero") + uint32(1) + uint32(0))
    handle = wire.Reader((await client.expect(wire.CHANNEL_DATA))[18:]).string()
    for each in range(2000):
        ask(5, uint32(1 + each) + string(handle) + bytes(8) + uint32(32768))


PASSES = {
    "down": "{ssh} 'head -c {size} /dev/zero' >/dev/null",
    "up": "{ssh} 'cat >/dev/null' <{big}",
    "get": "echo 'get {big} /dev/null' | sftp -q -b - -D \"{ssh} -s sftp\"",
    "put": "echo 'put {big} /dev/null' | sftp -q -b - -D \"{ssh} -s sftp\"",
    "terminal": "{ssh} -tt 'stty raw -echo; exec head -c {size} /dev/zero' >/dev/null",
}

STALLS = {"command": run_command, "terminal": run_at_terminal, "sftp": get_file}


@pytest.mark.parametrize("what", STALLS)
async def test_a_client_that_asks_for_everything_and_reads_nothing(gateway: Cluster, what: str) -> None:
    """Its target is not read any more, before two megabytes of what it sends wait in the gateway."""
    assert await grown_kb(gateway, STALLS[what]) < STALLED_KB


async def test_a_forward_that_nobody_reads(gateway: Cluster, talker: int) -> None:
    """The same of a port that is forwarded, at which somebody talks without end."""

    async def forward(client: RawSsh) -> None:
        to = string(LOOPBACK) + uint32(talker) + string(LOOPBACK) + uint32(1)
        await wide_channel(client, b"direct-tcpip", to)

    assert await grown_kb(gateway, forward) < STALLED_KB


async def grown_kb(gateway: Cluster, stall: Callable[[RawSsh], Awaitable[None]]) -> int:
    """By how much the gateway is larger while a client does this and then reads no more."""
    before = await asyncio.to_thread(held_kb, gateway)
    async with AsyncExitStack() as stack:
        client = await admitted(stack, gateway, gateway.person, gateway.agentless_name)
        await stall(client)
        client.stop_reading()
        return await asyncio.to_thread(held_kb, gateway) - before


async def test_a_target_that_takes_everything_and_reads_nothing(gateway: Cluster, tmp_path: Path) -> None:
    """The same the other way round."""
    running = asyncio.Event()

    async def script(peer: RawSsh) -> None:
        await peer.admit()
        opened = Open.decode(await peer.expect(wire.CHANNEL_OPEN))
        wide = uint32(opened.sender) + uint32(0) + uint32(WINDOW) + uint32(32768)
        peer.send(bytes([wire.CHANNEL_OPEN_CONFIRMATION]) + wide)
        await peer.expect(wire.CHANNEL_REQUEST)
        peer.stop_reading()
        running.set()
        await asyncio.Event().wait()

    key = HostKey()
    async with raw_server(script, key) as port, AsyncExitStack() as stack:
        line = tmp_path / "raw.pub"
        line.write_text(key.line)
        address = f"{LOOPBACK}:{port}"
        add = ("nodes", "add", "raw1", "--addr", address, "--labels", "env=test", "--host-key", str(line))
        await asyncio.to_thread(gateway.ilctl, *add)
        before = await asyncio.to_thread(held_kb, gateway)
        client = await admitted(stack, gateway, gateway.person, "raw1")
        number = await wide_channel(client)
        client.send(channel_request(number, b"exec", data=string("cat")))
        await running.wait()
        pour = asyncio.create_task(_pour(client, number))
        assert await asyncio.to_thread(held_kb, gateway) - before < STALLED_KB
        pour.cancel()


async def _pour(client: RawSsh, number: int) -> None:
    """Send until nobody takes more."""
    for _ in range(WINDOW // 32768 // 2):
        client.send(channel_data(number, bytes(32768)))
        await client.flush()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("what", PASSES)
def test_what_passes_leaves_nothing(gateway: Cluster, tmp_path: Path, what: str) -> None:
    """Hundreds of megabytes, and the gateway is as large as before."""
    client, place = gateway.client("long", gateway.person), gateway.route(gateway.agentless_name)
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(SIZE)
    before = held_kb(gateway)
    ssh = " ".join(map(shlex.quote, client.argv(*place)))
    script = PASSES[what].format(ssh=ssh, big=big, size=SIZE)
    run(["sh", "-c", script], timeout=100).check()
    assert held_kb(gateway) - before < PASSED_KB

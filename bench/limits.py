"""What a gateway holds while much passes, and what peers that do not read can make it hold."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass

from bench import measure
from bench.figures import Road
from bench.rig import Rig, progress
from bench.ways import Gateway
from bench.weigh import held_kb, wait_calm
from interlock.core import wire
from interlock.core.messages import Open, channel_request
from interlock.core.wire import string, uint32
from interlock.testing.generations import admitted
from interlock.testing.hostile import HostKey, RawSsh, raw_server
from interlock.testing.openssh import clean_env

LONG = 4_000_000_000
"""Bytes of a long transfer."""

WARM = 200_000_000
"""Bytes that pass before, so that buffers which are made once do not count."""

WINDOW = 1 << 30
"""Bytes that the peer says it would take."""


@dataclass(frozen=True, slots=True)
class Memory:
    """By how much a gateway is larger after a long transfer than before, and while somebody stops reading."""

    name: str = "memory"
    rounds: int = 1
    quick: int = 0

    def run(self, rig: Rig, rounds: int) -> None:
        """Each gateway after the other."""
        for gateway in rig.site.wanted_gateways():
            for _ in range(rounds):
                with rig.site.fresh(gateway) as fresh:
                    self._pass(rig, fresh)
                    self._stall(rig, fresh)

    def _pass(self, rig: Rig, gateway: Gateway) -> None:
        way = gateway.way(Road.ROUTE)
        source = rig.memory / "long"
        with source.open("wb") as file:
            file.truncate(WARM)
        measure.download(way, WARM, 0.0)
        measure.upload(way, WARM, 0.0, source)
        with source.open("wb") as file:
            file.truncate(LONG)
        for direction in ("down", "up"):
            progress(f"{self.name}: {LONG} bytes {direction}")
            wait_calm(lambda: gateway.pids)
            before = held_kb(gateway.pids)
            if direction == "down":
                measure.download(way, LONG, 0.0)
            else:
                measure.upload(way, LONG, 0.0, source)
            grown = held_kb(gateway.pids) - before
            rig.results.add(f"rss_growth_{direction}_mb", gateway.name, grown / 1000)
        progress("")

    @staticmethod
    def _stall(rig: Rig, gateway: Gateway) -> None:
        for who, stalled in (("client", _client_kb), ("target", _target_kb)):
            wait_calm(lambda: gateway.pids)
            before = held_kb(gateway.pids)
            grown = asyncio.run(stalled(gateway)) - before
            rig.results.add(f"stalled_{who}_mb", gateway.name, grown / 1000)


async def _client_kb(gateway: Gateway) -> int:
    """What the gateway holds when a client has asked for more than it ever reads."""
    async with AsyncExitStack() as stack:
        client = await admitted(stack, gateway.cluster, gateway.cluster.person, gateway.cluster.agentless_name)
        wide = string("session") + uint32(0) + uint32(WINDOW) + uint32(32768)
        client.send(bytes([wire.CHANNEL_OPEN]) + wide)
        confirmation = await client.expect(wire.CHANNEL_OPEN_CONFIRMATION)
        number = wire.Reader(confirmation[5:]).uint32()
        client.stop_reading()
        client.send(channel_request(number, b"exec", data=string("cat /dev/zero")))
        await asyncio.to_thread(wait_calm, lambda: gateway.pids, for_s=2.0)
        return held_kb(gateway.pids)


async def _target_kb(gateway: Gateway) -> int:
    """What it holds when a target has said that it would take more than it ever reads."""
    cluster, key = gateway.cluster, HostKey()
    running, over = asyncio.Event(), asyncio.Event()

    async def stall(peer: RawSsh) -> None:
        await peer.admit()
        opened = Open.decode(await peer.expect(wire.CHANNEL_OPEN))
        wide = uint32(opened.sender) + uint32(0) + uint32(WINDOW) + uint32(32768)
        peer.send(bytes([wire.CHANNEL_OPEN_CONFIRMATION]) + wide)
        await peer.expect(wire.CHANNEL_REQUEST)
        peer.send(bytes([wire.CHANNEL_SUCCESS]) + uint32(opened.sender))
        peer.stop_reading()
        running.set()
        await over.wait()

    async with raw_server(stall, key) as port:
        line = cluster.directory / "stalled.pub"
        line.write_text(key.line)
        where = ("--addr", f"{cluster.host}:{port}", "--labels", "env=test", "--host-key", line)
        await asyncio.to_thread(cluster.ilctl, "nodes", "add", "stalled1", *where)
        argv = cluster.client("stalled", cluster.person).argv(*cluster.route("stalled1"), "cat")
        words = ("sh", "-c", 'exec "$@" </dev/zero', "sh", *argv)
        client = await asyncio.create_subprocess_exec(*words, env=clean_env())
        try:
            await asyncio.wait_for(running.wait(), timeout=20)
            await asyncio.to_thread(wait_calm, lambda: gateway.pids, for_s=2.0)
            return held_kb(gateway.pids)
        finally:
            client.kill()
            await client.wait()
            over.set()

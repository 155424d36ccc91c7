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
from interlock.core.messages import channel_request
from interlock.core.wire import string, uint32
from interlock.testing.generations import admitted

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
        wait_calm(lambda: gateway.pids)
        before = held_kb(gateway.pids)
        grown = asyncio.run(_stalled_kb(gateway)) - before
        rig.results.add("stalled_client_mb", gateway.name, grown / 1000)


async def _stalled_kb(gateway: Gateway) -> int:
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

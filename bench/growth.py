"""What a session costs when many are live, and what many idle ones hold and do."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import measure
from bench.crowd import Crowd
from bench.figures import Road, case
from bench.rig import Rig, progress
from bench.ways import Gateway, Way
from bench.weigh import held_kb, tree, wait_calm, wake_ups

IDLE_S = 21.0
"""Long enough for two of the marks that a recording gets every ten seconds while nothing happens."""

TIMED = 9
"""Set-ups at each size."""

COUNTED = 20
"""Sessions at each size whose CPU time is taken."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Sets up sessions beside so many idle ones with recorded terminals, at a gateway that has served no others.

    ``watched``: from this size on it is watched how the gateway idles.
    """

    name: str
    rounds: int
    sizes: Sequence[int]
    watched: int
    quick: int = 0

    def run(self, rig: Rig, rounds: int) -> None:
        """Each gateway after the other."""
        for gateway in rig.site.wanted_gateways():
            for _ in range(rounds):
                with rig.site.fresh(gateway) as fresh:
                    self._grow(rig, fresh)

    def _grow(self, rig: Rig, gateway: Gateway) -> None:
        way, cluster = gateway.way(Road.ROUTE), gateway.cluster
        for _ in range(5):
            measure.set_up_ms(way)  # what is made once, for the first session, is not a session's
        wait_calm(lambda: gateway.pids)
        empty = held_kb(gateway.pids)
        user = f"{cluster.login_name}%{cluster.agentless_name}"
        with Crowd(cluster.host, cluster.port, user, cluster.person.key) as crowd:
            for size in self.sizes:
                progress(f"{self.name}: {gateway.name}, {size} sessions")
                crowd.grow(size)
                wait_calm(lambda: gateway.pids)
                if size >= self.watched:
                    self._watch(rig, gateway, size, empty)
                self._set_up(rig, gateway, way, size)
        progress("")

    @staticmethod
    def _watch(rig: Rig, gateway: Gateway, size: int, empty: int) -> None:
        name = case(gateway.name, size)
        rig.results.add("idle_kb_per_session", name, (held_kb(gateway.pids) - empty) / size)
        began, used, woken = time.monotonic(), gateway.cpu_s(), wake_ups(gateway.pids)
        time.sleep(IDLE_S)  # nothing happens: that is what is measured
        taken = time.monotonic() - began
        rig.results.add("idle_cpu_percent", name, (gateway.cpu_s() - used) / taken * 100)
        rig.results.add("idle_wakeups_per_s", name, (wake_ups(gateway.pids) - woken) / taken)

    @staticmethod
    def _set_up(rig: Rig, gateway: Gateway, way: Way, size: int) -> None:
        for _ in range(TIMED):
            for each in (way, rig.site.direct):
                rig.results.add("setup_live_ms", case(each.name, size), measure.set_up_ms(each))
        spent = measure.session_cpu_ms(gateway, way, COUNTED)
        rig.results.add("cpu_live_ms_per_session", case(way.name, size), spent)


@dataclass(frozen=True, slots=True)
class Held:
    """What our node holds for an idle session with a terminal, and what sshd does: without the program it runs."""

    name: str = "held"
    rounds: int = 1
    quick: int = 0
    size: int = 50

    def run(self, rig: Rig, rounds: int) -> None:
        """Each gateway's node after the other."""
        for gateway in rig.site.wanted_gateways():
            for _ in range(rounds):
                with rig.site.fresh(gateway, with_node=True) as fresh:
                    for road in (Road.NODE, Road.ROUTE):
                        self._weigh(rig, fresh, road)

    def _weigh(self, rig: Rig, gateway: Gateway, road: Road) -> None:
        cluster = gateway.cluster
        target = cluster.node_name if road is Road.NODE else cluster.agentless_name
        server = cluster.daemon_of(target)
        measure.set_up_ms(gateway.way(road))

        def pids() -> list[int]:
            return tree(server.pid, without="sleep")

        wait_calm(pids)
        empty = held_kb(pids())
        with Crowd(cluster.host, cluster.port, f"{cluster.login_name}%{target}", cluster.person.key) as crowd:
            progress(f"{self.name}: {self.size} sessions at {target}")
            crowd.grow(self.size)
            wait_calm(pids)
            held = held_kb(pids()) - empty
        rig.results.add("target_kb_per_session", road.of(gateway.name), held / self.size)
        progress("")

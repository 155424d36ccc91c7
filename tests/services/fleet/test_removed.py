"""What a node may still ask that was removed."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from interlock.core.errors import Denied, StoreError
from interlock.core.ids import DaemonId
from interlock.domain.target import DELIVERS_FOR
from interlock.services.fleet.removed import REFRESH_S, RemovedNodes
from interlock.services.keys.daemonca import DaemonKind, HostIdentity
from interlock.testing.clock import FakeClock

NODE = HostIdentity("demo", DaemonId("11111111-0000-4000-8000-000000000001"), ("web1",), DaemonKind.NODE)
PROXY = HostIdentity("demo", NODE.id, ("gate",), DaemonKind.PROXY)


class Stored:
    """`ports.RemovedSource`."""

    def __init__(self) -> None:
        self.removed: dict[DaemonId, datetime] = {}
        self.asked = 0
        self.away = False

    async def removed_nodes(self) -> Mapping[DaemonId, datetime]:
        self.asked += 1
        await asyncio.sleep(0)  # others ask meanwhile
        if self.away:
            raise StoreError("the database is away")
        return dict(self.removed)


async def test_a_removed_node_delivers_for_a_while_and_then_nothing() -> None:
    """A second later at most it may ask for nothing more."""
    stored, clock = Stored(), FakeClock()
    nodes = RemovedNodes(stored, clock)
    for delivers in (True, False):
        await nodes.check(NODE, delivers=delivers)
    assert stored.asked == 1
    stored.removed[NODE.id] = clock.now()
    clock.advance(REFRESH_S)
    await nodes.check(NODE, delivers=True)
    with pytest.raises(Denied, match="removed from the cluster: to take it in again, start it with a new join"):
        await nodes.check(NODE, delivers=False)
    clock.advance(DELIVERS_FOR.total_seconds())
    with pytest.raises(Denied):
        await nodes.check(NODE, delivers=True)


async def test_others_are_not_concerned() -> None:
    """Proxies are in a list of their own."""
    stored, clock = Stored(), FakeClock()
    stored.removed[NODE.id] = clock.now() - timedelta(days=1)
    nodes = RemovedNodes(stored, clock)
    await nodes.check(PROXY, delivers=False)
    await nodes.check(HostIdentity("demo", DaemonId("other"), ("web2",), DaemonKind.NODE), delivers=False)


async def test_nobody_is_let_in_before_it_is_known_who_was_removed() -> None:
    """Not while the list is read for the first time, nor when that has failed."""
    stored, clock = Stored(), FakeClock()
    stored.removed[NODE.id] = clock.now() - DELIVERS_FOR
    nodes = RemovedNodes(stored, clock)
    stored.away = True
    with pytest.raises(StoreError):
        await nodes.check(NODE, delivers=True)
    stored.away = False
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(_refused(nodes), name=f"asks {number}") for number in range(2)]
    assert [each.result() for each in asked] == [True, True]


async def _refused(nodes: RemovedNodes) -> bool:
    try:
        await nodes.check(NODE, delivers=True)
    except Denied:
        return True
    return False

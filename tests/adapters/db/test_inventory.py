"""Targets: who is listed, for how long, and whose name it is."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from interlock.adapters.db.engine import Database
from interlock.adapters.db.inventory import SqlInventory
from interlock.core.errors import Denied, NotFound
from interlock.core.ids import DaemonId
from interlock.domain.target import SubKind, Target
from interlock.testing.clock import START, FakeClock

EXPIRY = timedelta(seconds=30)
NODE = Target(
    DaemonId("11111111-0000-4000-8000-000000000001"),
    "web1",
    "10.0.0.5",
    3022,
    SubKind.NODE,
    {"env": "test"},
    version="0.1.0",
    expires=START + EXPIRY,
)
TWIN = replace(NODE, id=DaemonId("33333333-0000-4000-8000-000000000003"), host="192.0.2.66")
PLAIN = Target(
    DaemonId("22222222-0000-4000-8000-000000000002"),
    "plain1",
    "::1",
    22,
    SubKind.AGENTLESS,
    host_keys=("ssh-ed25519 AAAA",),
)


@pytest.fixture
def inventory(database: Database, clock: FakeClock) -> SqlInventory:
    """The inventory."""
    return SqlInventory(database, clock)


async def test_targets_are_found_by_name_and_by_id(inventory: SqlInventory) -> None:
    """Whole, whichever way they were registered, and listed by hostname."""
    await inventory.heartbeat(NODE)
    assert await inventory.add_target(PLAIN)
    for target in (NODE, PLAIN):
        assert await inventory.target(target.hostname) == target
        assert await inventory.target(target.id) == target
    assert await inventory.targets() == [PLAIN, NODE]


async def test_a_silent_node_disappears_and_a_registered_host_stays(
    inventory: SqlInventory, clock: FakeClock
) -> None:
    """At the second of its expiry, until the next heartbeat."""
    await inventory.heartbeat(NODE)
    await inventory.add_target(PLAIN)
    clock.advance(EXPIRY)
    assert await inventory.targets() == [PLAIN]
    with pytest.raises(NotFound, match="unknown node web1: run `ilsh ls`"):
        await inventory.target("web1")
    again = replace(NODE, host="10.0.0.6", expires=clock.now() + EXPIRY)
    await inventory.heartbeat(again)
    assert await inventory.target("web1") == again


async def test_a_registered_hosts_name_cannot_be_taken(inventory: SqlInventory) -> None:
    """Not by a node; and by hand not that of a live node either."""
    await inventory.heartbeat(NODE)
    await inventory.add_target(PLAIN)
    with pytest.raises(Denied, match="already called"):
        await inventory.heartbeat(replace(TWIN, hostname="plain1"))
    assert not await inventory.add_target(replace(PLAIN, id=TWIN.id, hostname="web1"))
    assert await inventory.targets() == [PLAIN, NODE]


async def test_nodes_of_one_name_are_told_apart_by_their_ids(inventory: SqlInventory) -> None:
    """The name alone leads nowhere, and removes nothing."""
    await inventory.heartbeat(TWIN)
    await inventory.heartbeat(NODE)
    assert await inventory.targets() == [NODE, TWIN]
    assert await inventory.named("WEB1") == [NODE, TWIN]
    assert await inventory.named(TWIN.id) == [TWIN]
    assert await inventory.target(TWIN.id) == TWIN
    with pytest.raises(NotFound, match="2 nodes are called web1"):
        await inventory.target("web1")
    with pytest.raises(NotFound, match=f"by its ID: {NODE.id}, {TWIN.id}"):
        await inventory.meant("web1")
    await inventory.remove_targets(await inventory.meant(TWIN.id))
    assert await inventory.target("web1") == NODE


async def test_a_node_that_was_installed_anew_replaces_itself(
    inventory: SqlInventory, database: Database, clock: FakeClock
) -> None:
    """The expired one of the same name is forgotten, so that rows do not pile up."""
    await inventory.heartbeat(NODE)
    clock.advance(EXPIRY)
    successor = replace(TWIN, expires=clock.now() + EXPIRY)
    await inventory.heartbeat(successor)
    assert await inventory.target("web1") == successor
    assert [row.id for row in await database.rows(text("SELECT id FROM nodes"))] == [TWIN.id]


async def test_how_a_node_is_reached_is_kept(inventory: SqlInventory) -> None:
    """One that dials out has no address."""
    outbound = replace(NODE, host="", port=0, tunnel=True)
    await inventory.heartbeat(outbound)
    assert await inventory.target("web1") == outbound
    assert outbound.addr == ""


async def test_a_dead_nodes_name_is_free_for_a_registration(inventory: SqlInventory, clock: FakeClock) -> None:
    """The administrator's word replaces what has expired."""
    await inventory.heartbeat(NODE)
    clock.advance(EXPIRY)
    assert await inventory.add_target(replace(PLAIN, hostname="web1"))
    assert (await inventory.target("web1")).id == PLAIN.id


async def test_a_hostname_cannot_shadow_anothers_id(inventory: SqlInventory) -> None:
    """A node may be called like a UUID; whoever asks for that ID still gets its owner."""
    await inventory.add_target(PLAIN)
    await inventory.heartbeat(replace(NODE, hostname=PLAIN.id))
    assert (await inventory.target(PLAIN.id)).hostname == "plain1"


async def test_a_removed_target_is_gone(inventory: SqlInventory) -> None:
    """By name or by ID, once."""
    await inventory.add_target(PLAIN)
    await inventory.remove_targets(await inventory.meant("plain1"))
    assert await inventory.removed_nodes() == {}  # which are those that have joined
    assert await inventory.targets() == []
    with pytest.raises(NotFound):
        await inventory.meant(PLAIN.id)


@pytest.mark.parametrize(
    ("column", "value"), [("labels", '{"env": 1}'), ("host_keys", "null"), ("sub_kind", "vm")]
)
async def test_a_target_that_cannot_be_read_in_full_is_not_reachable(
    inventory: SqlInventory, database: Database, column: str, value: str
) -> None:
    """R6: lost pins must not turn into "any key will do"."""
    await inventory.add_target(PLAIN)
    await database.change(text(f"UPDATE nodes SET {column} = :value"), {"value": value})
    with capture_logs() as logs:
        assert await inventory.targets() == []
        with pytest.raises(NotFound):
            await inventory.target("plain1")
    assert {line["node"] for line in logs} == {"plain1"}


async def test_names_that_differ_in_case_are_one(inventory: SqlInventory) -> None:
    """ssh lowers the host of a jump, so WEB1 beside web1 would lead people to the wrong one."""
    assert await inventory.add_target(PLAIN)
    assert not await inventory.add_target(replace(PLAIN, id=DaemonId("other"), hostname="PLAIN1"))
    assert await inventory.target("Plain1") == PLAIN
    with pytest.raises(Denied):
        await inventory.heartbeat(replace(NODE, hostname="PLAIN1"))
    await inventory.remove_targets(await inventory.meant("PLAIN1"))
    assert await inventory.targets() == []


async def test_a_node_that_was_removed_does_not_come_back(inventory: SqlInventory) -> None:
    """Whatever it says; nor does one that was not even listed."""
    await inventory.heartbeat(NODE)
    await inventory.remove_targets([NODE.id, TWIN.id])
    for node in (NODE, TWIN, replace(NODE, hostname="other")):
        with pytest.raises(Denied, match="was removed from the cluster"):
            await inventory.heartbeat(node)
    assert await inventory.targets() == []
    assert set(await inventory.removed_nodes()) == {NODE.id, TWIN.id}
    await inventory.remove_targets([NODE.id])

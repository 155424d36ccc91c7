"""The installation's record and keys are made once; whoever comes second gets the first one's."""

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import insert

from interlock.adapters.db import schema
from interlock.adapters.db.authorities import SqlAuthorityStore, SqlClusterStore
from interlock.adapters.db.engine import Database
from interlock.core.errors import NotFound, StoreError
from interlock.domain.duties import RecordingMode
from interlock.domain.modes import ModePolicy, ModeRule
from interlock.ports import AuthorityKey, Cluster, DaemonCaKeys
from interlock.services.keys.sealing import ClearSealing
from interlock.testing.clock import START, FakeClock

CLUSTER = Cluster("cccccccc-0000-4000-8000-000000000001", "demo", RecordingMode.NODE, START)
KEY = AuthorityKey("user", "private", "public", START)


async def test_the_cluster_is_recorded_once(database: Database) -> None:
    """A later start with another name changes nothing; the recording mode is changed on purpose only."""
    store = SqlClusterStore(database)
    with pytest.raises(NotFound):
        await store.cluster()
    assert await store.ensure_cluster(CLUSTER) == CLUSTER
    assert await store.ensure_cluster(replace(CLUSTER, name="other")) == CLUSTER
    await store.set_recording_mode(RecordingMode.PROXY)
    assert (await store.cluster()).recording_mode is RecordingMode.PROXY


async def test_two_daemons_agree_on_one_key(database: Database, clock: FakeClock) -> None:
    """Both proposals at once: one is stored and both get it."""
    store = SqlAuthorityStore(database, clock, ClearSealing())
    with pytest.raises(NotFound):
        await store.authority("user")
    async with asyncio.TaskGroup() as tasks:
        proposals = [
            tasks.create_task(store.ensure_authority(replace(KEY, private_key=f"private{n}"))) for n in range(4)
        ]
    kept = await store.authority("user")
    assert [task.result() for task in proposals] == [kept] * 4
    assert await store.ensure_authority(replace(KEY, kind="host")) == replace(KEY, kind="host")


async def test_the_daemons_authority_is_kept_beside_the_others(database: Database, clock: FakeClock) -> None:
    """Made once, too."""
    store = SqlAuthorityStore(database, clock, ClearSealing())
    assert await store.daemon_ca() is None
    keys = DaemonCaKeys("private", "certificate")
    assert await store.keep_daemon_ca(keys) == keys
    assert await store.keep_daemon_ca(DaemonCaKeys("late", "late")) == keys
    assert await store.daemon_ca() == keys


async def test_recording_rules_are_kept_by_their_labels(database: Database) -> None:
    """The same labels in another order are the same rule; default and rules come together."""
    store = SqlClusterStore(database)
    with pytest.raises(NotFound):
        await store.mode_policy()
    await store.ensure_cluster(CLUSTER)
    assert await store.mode_policy() == ModePolicy(RecordingMode.NODE)
    await store.put_mode_rule(ModeRule({"env": "prod", "a": "b"}, RecordingMode.PROXY))
    await store.put_mode_rule(ModeRule({"a": "b", "env": "prod"}, RecordingMode.PROXY_SYNC))
    await store.put_mode_rule(ModeRule({"*": "*"}, RecordingMode.OFF))
    await store.set_recording_mode(RecordingMode.NODE_SYNC)
    rules = (
        ModeRule({"*": "*"}, RecordingMode.OFF),
        ModeRule({"a": "b", "env": "prod"}, RecordingMode.PROXY_SYNC),
    )
    assert await store.mode_policy() == ModePolicy(RecordingMode.NODE_SYNC, rules)
    await store.remove_mode_rule({"env": "prod", "a": "b"})
    with pytest.raises(NotFound, match="a=b,env=prod"):
        await store.remove_mode_rule({"a": "b", "env": "prod"})
    assert await store.mode_policy() == ModePolicy(RecordingMode.NODE_SYNC, rules[:1])


@pytest.mark.parametrize("row", [{"labels": "[]", "mode": "node"}, {"labels": "{}", "mode": "somewhere"}])
async def test_a_rule_that_cannot_be_read_voids_the_policy(database: Database, row: dict[str, str]) -> None:
    """Nobody is let in on the strength of a guess (R6)."""
    store = SqlClusterStore(database)
    await store.ensure_cluster(CLUSTER)
    await database.change(insert(schema.mode_rules).values(row))
    with pytest.raises(StoreError, match="the recording rules cannot be read"):
        await store.mode_policy()

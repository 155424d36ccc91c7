"""The installation's record and keys are made once; whoever comes second gets the first one's."""

import asyncio
from dataclasses import replace

import pytest

from interlock.adapters.db.authorities import SqlAuthorityStore, SqlClusterStore
from interlock.adapters.db.engine import Database
from interlock.core.errors import NotFound
from interlock.domain.duties import RecordingMode
from interlock.ports import AuthorityKey, Cluster, DaemonCaKeys
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
    store = SqlAuthorityStore(database, clock)
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
    store = SqlAuthorityStore(database, clock)
    assert await store.daemon_ca() is None
    keys = DaemonCaKeys("private", "certificate")
    assert await store.keep_daemon_ca(keys) == keys
    assert await store.keep_daemon_ca(DaemonCaKeys("late", "late")) == keys
    assert await store.daemon_ca() == keys

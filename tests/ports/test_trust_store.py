"""What every store of trusted clusters does: a record of each cluster and relation, a cluster of each name."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from interlock.adapters.db.clusters import SqlTrustStore
from interlock.adapters.db.engine import open_database
from interlock.core.errors import Denied, NotFound
from interlock.domain.cluster import Relation, TrustedCluster
from interlock.ports import TrustStore
from interlock.testing.clock import START
from interlock.testing.database import put_database
from interlock.testing.postgres import NewPlace
from interlock.testing.stores import MemoryTrusts

ROOT = TrustedCluster(
    "main",
    "11111111-0000-4000-8000-000000000001",
    Relation.ROOT,
    START,
    user_cas=("ssh-ed25519 AAAA main",),
    roles={"admin": ("dev", "ops"), "*": ("guest",)},
    insists=True,
)
LEAF = TrustedCluster(
    "leaf",
    "11111111-0000-4000-8000-000000000002",
    Relation.LEAF,
    START,
    host_cas=("ssh-ed25519 BBBB",),
    proxy="l:1",
)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def store(request: pytest.FixtureRequest, new_place: NewPlace) -> AsyncIterator[TrustStore]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield MemoryTrusts()
        return
    database = await open_database(new_place(request.param))
    yield SqlTrustStore(database)
    await database.close()


async def test_records_come_back_whole_and_by_name(store: TrustStore) -> None:
    """All of them, or those of one relation."""
    await store.put_trust(ROOT)
    await store.put_trust(LEAF)
    assert await store.trusted_clusters() == [LEAF, ROOT]
    assert await store.trusted_clusters(Relation.ROOT) == [ROOT]
    assert await store.trusted_cluster(Relation.LEAF, "leaf") == LEAF


async def test_names_are_kept_in_lower_case(store: TrustStore) -> None:
    """ssh lowers them on the way."""
    await store.put_trust(replace(LEAF, name="Leaf"))
    assert (await store.trusted_cluster(Relation.LEAF, "LEAF")).name == "leaf"


async def test_a_cluster_that_comes_again_takes_its_old_place(store: TrustStore) -> None:
    """Also under another name."""
    await store.put_trust(LEAF)
    await store.put_trust(replace(LEAF, name="oak", proxy="l:2"))
    assert await store.trusted_clusters() == [replace(LEAF, name="oak", proxy="l:2")]


async def test_another_cluster_cannot_take_a_name(store: TrustStore) -> None:
    """And leaves its own record as it was."""
    await store.put_trust(LEAF)
    with pytest.raises(Denied, match="another leaf cluster is called leaf already"):
        await store.put_trust(replace(LEAF, id=ROOT.id))
    assert await store.trusted_clusters() == [LEAF]


async def test_root_and_leaf_may_be_one_cluster(store: TrustStore) -> None:
    """Two clusters can be each other's leaf."""
    await store.put_trust(LEAF)
    both = replace(ROOT, name=LEAF.name, id=LEAF.id)
    await store.put_trust(both)
    assert await store.trusted_cluster(Relation.ROOT, "leaf") == both
    await store.remove_trust(Relation.LEAF, "leaf")
    assert await store.trusted_clusters() == [both]


async def test_a_removed_cluster_is_gone(store: TrustStore) -> None:
    """Once."""
    await store.put_trust(ROOT)
    await store.remove_trust(Relation.ROOT, "MAIN")
    with pytest.raises(NotFound, match="there is no root cluster called main"):
        await store.trusted_cluster(Relation.ROOT, "main")
    with pytest.raises(NotFound):
        await store.remove_trust(Relation.ROOT, "main")


async def test_a_record_that_cannot_be_read_counts_for_nothing(tmp_path: Path) -> None:
    """Half a mapping of roles is none (R6)."""
    put_database(tmp_path / "test.db")
    database = await open_database(tmp_path / "test.db")
    store = SqlTrustStore(database)
    await store.put_trust(ROOT)
    await store.put_trust(LEAF)
    await database.change(text("UPDATE trusted_clusters SET roles = '{\"admin\": \"dev\"}' WHERE name = 'main'"))
    assert await store.trusted_clusters() == [LEAF]
    with pytest.raises(NotFound):
        await store.trusted_cluster(Relation.ROOT, "main")
    await database.close()

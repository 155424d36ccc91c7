"""What every store of proxies does."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from interlock.adapters.db.engine import open_database
from interlock.adapters.db.proxies import SqlProxyStore
from interlock.core.errors import Denied, NotFound
from interlock.core.ids import DaemonId
from interlock.ports import MemberProxy, ProxyStore
from interlock.testing.clock import START
from interlock.testing.postgres import NewPlace
from interlock.testing.stores import MemoryProxies

EAST = MemberProxy(DaemonId("11111111-0000-4000-8000-000000000001"), ("east.example.com", "gate"), START)
WEST = MemberProxy(DaemonId("11111111-0000-4000-8000-000000000002"), ("west.example.com", "gate"), START)
NODE = DaemonId("11111111-0000-4000-8000-000000000003")
LATER = START + timedelta(seconds=30)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def store(request: pytest.FixtureRequest, new_place: NewPlace) -> AsyncIterator[ProxyStore]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield MemoryProxies()
        return
    database = await open_database(new_place(request.param))
    yield SqlProxyStore(database)
    await database.close()


async def test_what_a_proxy_says_of_itself_is_known(store: ProxyStore) -> None:
    """Until then it is a member that was never heard of."""
    await store.add_proxy(WEST)
    await store.add_proxy(EAST)
    assert await store.proxies() == [EAST, WEST]
    assert not EAST.lives(now=START)
    await store.report_proxy(EAST.id, peer="10.0.0.1:3027", tunnels=[NODE], expires=LATER)
    told = (await store.proxies())[0]
    assert told == MemberProxy(EAST.id, EAST.names, START, "10.0.0.1:3027", (NODE,), LATER)
    assert told.lives(now=START)
    assert not told.lives(now=LATER)


async def test_who_was_removed_says_nothing_any_more(store: ProxyStore) -> None:
    """And cannot be removed twice."""
    await store.add_proxy(EAST)
    await store.remove_proxy(EAST.id)
    assert await store.proxies() == []
    with pytest.raises(Denied, match="was removed"):
        await store.report_proxy(EAST.id, peer="", tunnels=[], expires=LATER)
    with pytest.raises(NotFound):
        await store.remove_proxy(EAST.id)


async def test_a_host_key_is_learnt_once(store: ProxyStore) -> None:
    """Whoever has stolen a proxy cannot say later that it has another one."""
    await store.add_proxy(EAST)
    await store.add_proxy(WEST)
    await store.pin_host_key(EAST.id, "ssh-ed25519 AAAA")
    await store.pin_host_key(EAST.id, "ssh-ed25519 BBBB")
    assert [each.host_key for each in await store.proxies()] == ["ssh-ed25519 AAAA", ""]

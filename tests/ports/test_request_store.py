"""What every store of requests for access does."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.adapters.db.engine import open_database
from interlock.adapters.db.requests import SqlRequestStore
from interlock.core.errors import Denied, NotFound
from interlock.domain.request import KEPT_FOR, MAX_PENDING, PENDING_FOR, AccessRequest, Act, RequestState
from interlock.ports import RequestStore
from interlock.testing.clock import START
from interlock.testing.postgres import NewPlace
from interlock.testing.requests import MemoryRequests

ASKED = AccessRequest("r1", "alice", ("dba", "ops"), "why · not", START, timedelta(hours=2), approvals=2)
LATER = START + timedelta(minutes=1)


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
async def store(request: pytest.FixtureRequest, new_place: NewPlace) -> AsyncIterator[RequestStore]:
    """Each implementation in turn."""
    if request.param == "memory":
        yield MemoryRequests()
        return
    database = await open_database(new_place(request.param))
    yield SqlRequestStore(database)
    await database.close()


async def test_requests_come_back_whole(store: RequestStore) -> None:
    """With their reviews and their end."""
    await store.add_request(ASKED)
    assert await store.request("r1") == ASKED
    once = ASKED.act(Act.APPROVE, "bob", "fine", now=LATER)
    twice = once.act(Act.APPROVE, "carol", "", now=LATER)
    assert await store.replace_request(ASKED, once)
    assert await store.replace_request(once, twice)
    found = await store.request("r1")
    assert found == twice
    assert found.state(LATER) is RequestState.APPROVED


async def test_of_two_who_decide_one_is_told_that_the_other_was_faster(store: RequestStore) -> None:
    """So that no word is lost."""
    await store.add_request(ASKED)
    assert await store.replace_request(ASKED, ASKED.act(Act.APPROVE, "bob", "", now=LATER))
    assert not await store.replace_request(ASKED, ASKED.act(Act.DENY, "carol", "", now=LATER))


async def test_the_newest_are_listed(store: RequestStore) -> None:
    """Of one user or of all."""
    newer = replace(ASKED, id="r2", created=LATER)
    other = replace(ASKED, id="r3", user="bob", created=START - timedelta(minutes=1))
    for each in (ASKED, newer, other):
        await store.add_request(each)
    assert await store.requests(limit=9) == [newer, ASKED, other]
    assert await store.requests(user="alice", limit=1) == [newer]


async def test_what_is_removed_is_gone(store: RequestStore) -> None:
    """Once."""
    await store.add_request(ASKED)
    await store.remove_request("r1")
    for gone in (store.remove_request("r1"), store.request("r1")):
        with pytest.raises(NotFound):
            await gone


async def test_nobody_fills_the_table(store: RequestStore) -> None:
    """So many of one person may wait; what was over long ago is forgotten."""
    for number in range(MAX_PENDING):
        await store.add_request(replace(ASKED, id=f"r{number}"))
    with pytest.raises(Denied, match="cancel some"):
        await store.add_request(replace(ASKED, id="more"))
    await store.add_request(replace(ASKED, id="other", user="bob"))
    await store.add_request(replace(ASKED, id="later", created=START + PENDING_FOR))
    await store.add_request(replace(ASKED, id="last", created=START + KEPT_FOR + timedelta(seconds=1)))
    assert {each.id for each in await store.requests(limit=99)} == {"later", "last"}

"""What browsers do is stored by digests; what may happen once happens once; nothing is without a bound."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.adapters.db.browser import SqlBrowserStore
from interlock.adapters.db.engine import Database
from interlock.domain.browser import (
    BrowserSignIn,
    Confirmation,
    Errand,
    Link,
    LinkPurpose,
    Purpose,
    Verdict,
)
from interlock.testing.clock import START

LATER = START + timedelta(minutes=5)
LINK = Link(b"\x00l", "alice", LinkPurpose.RESET, START, LATER)
SIGN_IN = BrowserSignIn(b"\x00s", "alice", "local", "phone", "192.0.2.7:1", START, START, START)
ERRAND = Errand(b"\x00e", "passkey", "192.0.2.7", {"challenge": "c"}, LATER)
WAITING = Confirmation("w1", b"\x00c", Purpose.SIGN_IN, "alice", "192.0.2.7:1", START, LATER)


@pytest.fixture
def store(database: Database) -> SqlBrowserStore:
    """The store."""
    return SqlBrowserStore(database)


async def test_links_are_spent_once_and_replaced(store: SqlBrowserStore) -> None:
    """There is one of each user."""
    await store.put_link(LINK)
    await store.put_link(replace(LINK, digest=b"b", user="bob", purpose=LinkPurpose.INVITE))
    assert await store.link(LINK.digest) == LINK
    await store.put_link(replace(LINK, digest=b"2"))
    assert await store.link(LINK.digest) is None
    async with asyncio.TaskGroup() as tasks:
        spent = [tasks.create_task(store.spend_link(b"2")) for _ in range(5)]
    assert sorted(task.result() for task in spent) == [False] * 4 + [True]
    assert await store.link(b"b") is not None


async def test_the_oldest_sign_ins_of_a_user_give_way(store: SqlBrowserStore) -> None:
    """Of the same user only."""
    await store.put_sign_in(replace(SIGN_IN, digest=b"bob", user="bob"), most=1)
    for number in range(5):
        each = replace(SIGN_IN, digest=b"%d" % number, created=START + timedelta(seconds=number))
        await store.put_sign_in(each, most=3)
    found = [await store.sign_in(b"%d" % number) for number in range(5)]
    assert [each is not None for each in found] == [False, False, True, True, True]
    assert found[4] == replace(SIGN_IN, digest=b"4", created=START + timedelta(seconds=4))
    await store.touch_sign_in(b"4", used=LATER, proved=START)
    touched = await store.sign_in(b"4")
    assert touched is not None
    assert (touched.used, touched.proved) == (LATER, START)
    await store.remove_sign_in(b"4")
    assert await store.remove_sign_ins("alice") == 2
    await store.put_sign_in(replace(SIGN_IN, digest=b"carol", user="carol", created=START + timedelta(1)), most=3)
    assert await store.sign_in(b"bob") is None, "nobody has it any more: it ended half a day ago"


async def test_errands_are_taken_once_and_bounded(store: SqlBrowserStore) -> None:
    """In all and of each source; expired ones make room, and one with the same digest gives way."""

    async def put(digest: bytes, source: str = "192.0.2.7") -> bool:
        errand = replace(ERRAND, digest=digest, source=source)
        return await store.put_errand(errand, now=START, most=4, of_source=2)

    assert await put(b"1")
    assert await put(b"2")
    assert not await put(b"3")
    assert await put(b"2")
    assert await put(b"4", "192.0.2.8")
    assert await put(b"5", "192.0.2.9")
    assert await store.take_errand(b"1", "other") is None
    async with asyncio.TaskGroup() as tasks:
        taken = [tasks.create_task(store.take_errand(b"1", "passkey")) for _ in range(3)]
    assert [each.result() for each in taken if each.result()] == [replace(ERRAND, digest=b"1")]
    assert await put(b"6")
    assert await put(b"7", "192.0.2.10"), "the source with most gives way"
    assert await store.take_errand(b"2", "passkey") is None, "its oldest"
    assert not await put(b"8", "192.0.2.11"), "all have one"
    later = replace(ERRAND, digest=b"7", expires=LATER + timedelta(minutes=5))
    assert await store.put_errand(later, now=LATER, most=1, of_source=1)


async def test_a_confirmation_is_decided_once_and_collected_once(store: SqlBrowserStore) -> None:
    """Found by its ID for who waits, by its code for who confirms."""
    assert await store.put_confirmation(WAITING, now=START, most=9, of_source=2)
    assert await store.confirmation("w1") == await store.confirmation_of(b"\x00c") == WAITING
    assert not await store.spend_confirmation("w1")
    assert await store.decide("w1", Verdict.CONFIRMED, by="alice", method="local", device="phone")
    assert not await store.decide("w1", Verdict.REFUSED, by="eve", method="local", device="")
    decided = replace(WAITING, verdict=Verdict.CONFIRMED, by="alice", method="local", device="phone")
    assert await store.confirmation("w1") == decided
    assert [await store.spend_confirmation("w1") for _ in range(2)] == [True, False]


async def test_confirmations_are_bounded(store: SqlBrowserStore) -> None:
    """Whatever port a source comes from; an IPv6 network is one."""

    async def put(number: int, source: str) -> bool:
        each = replace(WAITING, id=f"w{number}", digest=b"%d" % number, source=source)
        return await store.put_confirmation(each, now=START, most=4, of_source=2)

    assert [await put(n, f"[2001:db8::{n}]:2") for n in range(3)] == [True, True, False]
    assert [await put(n, f"192.0.2.{n}:2") for n in range(3, 7)] == [True, True, True, False]
    assert await store.confirmation("w0") is None
    later = replace(WAITING, id="x", digest=b"x", expires=LATER + timedelta(minutes=5))
    assert await store.put_confirmation(later, now=LATER, most=1, of_source=1)

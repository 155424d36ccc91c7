"""Machine users beside their accounts: what counts once counts once, whoever asks at the same time."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from interlock.adapters.db.accounts import SqlUserStore
from interlock.adapters.db.bots import SqlBotStore
from interlock.adapters.db.engine import Database
from interlock.domain.bot import Bot
from interlock.ports import User
from interlock.testing.clock import START

BOT = Bot("robot", ("root", "app"), timedelta(hours=1), ("192.0.2.0/24",), START)
LATER = START + timedelta(hours=1)


async def test_a_bot_is_kept_as_it_is(database: Database) -> None:
    """Changed, it keeps its number and its key; it goes with its account."""
    store, users = SqlBotStore(database), SqlUserStore(database)
    await users.add_user(User("robot", ("dev",), None, must_change=False, created=START))
    assert await store.bot("robot") is None
    await store.put_bot(BOT, b"token", LATER)
    assert await store.bots() == [BOT]
    assert await store.advance("robot", 0, "SHA256:a", START)
    counted = replace(BOT, generation=1, key="SHA256:a", signed=START)
    assert await store.bot("robot") == counted
    await store.put_bot(replace(BOT, logins=("app",)), b"another", LATER)
    assert await store.bot("robot") == replace(counted, logins=("app",))
    await users.remove_user("robot")
    assert await store.bots() == []


async def test_a_token_is_spent_once(database: Database) -> None:
    """Of many at once one gets it; not too late, and not by another hash or name."""
    store = SqlBotStore(database)
    await store.put_bot(BOT, b"token", LATER)
    assert not await store.spend_token("robot", b"other", START)
    assert not await store.spend_token("other", b"token", START)
    assert not await store.spend_token("robot", b"token", LATER)
    async with asyncio.TaskGroup() as tasks:
        tries = [tasks.create_task(store.spend_token("robot", b"token", START)) for _ in range(5)]
    assert sorted(each.result() for each in tries) == [False] * 4 + [True]


async def test_a_number_is_given_once(database: Database) -> None:
    """Of many who renew at once one goes on."""
    store = SqlBotStore(database)
    await store.put_bot(BOT, b"token", LATER)
    async with asyncio.TaskGroup() as tasks:
        tries = [tasks.create_task(store.advance("robot", 0, f"SHA256:{n}", START)) for n in range(5)]
    assert sorted(each.result() for each in tries) == [False] * 4 + [True]
    found = await store.bot("robot")
    assert found is not None
    assert found.generation == 1

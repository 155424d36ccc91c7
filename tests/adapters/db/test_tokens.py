"""Join tokens are spent at most as often as they were made for."""

import asyncio
from datetime import timedelta

import pytest

from interlock.adapters.db.engine import Database
from interlock.adapters.db.tokens import SqlTokenStore
from interlock.core.errors import NotFound
from interlock.ports import JoinToken
from interlock.testing.clock import START

TOKEN = JoinToken("t1", b"\x00\xffdigest", START, START + timedelta(hours=1), 1)


@pytest.fixture
def tokens(database: Database) -> SqlTokenStore:
    """The tokens."""
    return SqlTokenStore(database)


async def test_a_token_comes_back_as_stored(tokens: SqlTokenStore) -> None:
    """Listed by expiry; unknown ones are None."""
    sooner = JoinToken("t2", b"x", START, START + timedelta(minutes=1), 3)
    await tokens.add_token(TOKEN)
    await tokens.add_token(sooner)
    assert await tokens.token("t1") == TOKEN
    assert await tokens.token("t9") is None
    assert await tokens.tokens() == [sooner, TOKEN]


async def test_a_single_use_token_has_one_winner(tokens: SqlTokenStore) -> None:
    """Of ten daemons that try at once."""
    await tokens.add_token(TOKEN)
    async with asyncio.TaskGroup() as group:
        attempts = [group.create_task(tokens.spend_token("t1")) for _ in range(10)]
    assert sorted(task.result() for task in attempts) == [False] * 9 + [True]
    assert not await tokens.spend_token("t9")
    left = await tokens.token("t1")
    assert left is not None
    assert left.uses == 0


async def test_a_removed_token_is_gone(tokens: SqlTokenStore) -> None:
    """Once."""
    await tokens.add_token(TOKEN)
    await tokens.remove_token("t1")
    with pytest.raises(NotFound):
        await tokens.remove_token("t1")

"""Machine users, beside their accounts."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump_strings, load_strings
from interlock.adapters.db.engine import Database
from interlock.adapters.db.words import insert
from interlock.domain.bot import Bot

_BOTS = schema.bots


class SqlBotStore:
    """`ports.BotStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def bots(self) -> list[Bot]:
        """`ports.BotStore`."""
        return [_bot(row) for row in await self._database.rows(select(_BOTS).order_by(_BOTS.c.user))]

    async def bot(self, user: str) -> Bot | None:
        """`ports.BotStore`."""
        rows = await self._database.rows(select(_BOTS).where(_BOTS.c.user == user))
        return _bot(rows[0]) if rows else None

    async def put_bot(self, bot: Bot, token_hash: bytes, expires: datetime) -> None:
        """`ports.BotStore`."""
        row = {
            "user": bot.user,
            "logins": dump_strings(bot.logins),
            "life_s": int(bot.life.total_seconds()),
            "sources": dump_strings(bot.sources),
            "created": bot.created,
            "generation": bot.generation,
            "key": bot.key,
            "signed": bot.signed,
            "token_hash": token_hash,
            "token_expires": expires,
        }
        kept = ("user", "created", "generation", "key", "signed")
        fresh = {name: value for name, value in row.items() if name not in kept}
        await self._database.change(
            insert(_BOTS).values(row).on_conflict_do_update(index_elements=["user"], set_=fresh)
        )

    async def spend_token(self, user: str, token_hash: bytes, now: datetime) -> bool:
        """`ports.BotStore`."""
        this = (_BOTS.c.user == user, _BOTS.c.token_hash == token_hash, _BOTS.c.token_expires > now)
        spent = update(_BOTS).where(*this).values(token_hash=None, token_expires=None)
        return await self._database.change(spent) == 1

    async def advance(self, user: str, before: int, key: str, now: datetime) -> bool:
        """`ports.BotStore`."""
        this = (_BOTS.c.user == user, _BOTS.c.generation == before)
        counted = update(_BOTS).where(*this).values(generation=before + 1, key=key, signed=now)
        return await self._database.change(counted) == 1


def _bot(row: Row[Any]) -> Bot:
    return Bot(
        row.user,
        load_strings(row.logins),
        timedelta(seconds=row.life_s),
        load_strings(row.sources),
        row.created,
        row.generation,
        row.key,
        row.signed,
    )

"""Join tokens of daemons: digests and counters, never secrets."""

from typing import Any

from sqlalchemy import Row, delete, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.engine import Database
from interlock.adapters.db.words import insert
from interlock.core.errors import NotFound
from interlock.ports import JoinToken, TokenKind


class SqlTokenStore:
    """`ports.TokenStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_token(self, token: JoinToken) -> None:
        """Store a new token."""
        row = {
            "id": token.id,
            "secret_hash": token.secret_hash,
            "created": token.created,
            "expires": token.expires,
            "uses": token.uses,
            "kind": token.kind.value,
        }
        await self._database.change(insert(schema.tokens).values(row))

    async def token(self, token_id: str) -> JoinToken | None:
        """The token with this ID, spent or expired ones included; None if there is none."""
        wanted = select(schema.tokens).where(schema.tokens.c.id == token_id)
        return next(map(_token, await self._database.rows(wanted)), None)

    async def spend_token(self, token_id: str) -> bool:
        """Take one use away, atomically; False when none was left."""
        table = schema.tokens
        spend = update(table).where(table.c.id == token_id, table.c.uses > 0).values(uses=table.c.uses - 1)
        return await self._database.change(spend) == 1

    async def tokens(self) -> list[JoinToken]:
        """All tokens, by expiry."""
        wanted = select(schema.tokens).order_by(schema.tokens.c.expires, schema.tokens.c.id)
        return [_token(row) for row in await self._database.rows(wanted)]

    async def remove_token(self, token_id: str) -> None:
        """Forget a token; NotFound if there is none."""
        if not await self._database.change(delete(schema.tokens).where(schema.tokens.c.id == token_id)):
            raise NotFound(f"there is no join token {token_id}")


def _token(row: Row[Any]) -> JoinToken:
    return JoinToken(row.id, row.secret_hash, row.created, row.expires, row.uses, TokenKind(row.kind))

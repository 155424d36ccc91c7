"""Narrow protocols: machine users."""

from datetime import datetime
from typing import Protocol

from interlock.domain.bot import Bot


class BotStore(Protocol):
    """What is known of bots beside their accounts."""

    async def bots(self) -> list[Bot]:
        """All of them, by name."""
        ...

    async def bot(self, user: str) -> Bot | None:
        """The bot with this account; None if it is a person's, or nobody's."""
        ...

    async def put_bot(self, bot: Bot, token_hash: bytes, expires: datetime) -> None:
        """Store a bot, or change one, with a token that it may sign in by once."""
        ...

    async def spend_token(self, user: str, token_hash: bytes, now: datetime) -> bool:
        """Whether this is the bot's token and counts; it does not from then on. Atomic."""
        ...

    async def advance(self, user: str, before: int, key: str, now: datetime) -> bool:
        """Count on from generation ``before`` to the next, whose key this is; False if it is another. Atomic."""
        ...

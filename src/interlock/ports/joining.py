"""Narrow protocols: the tokens with which daemons join."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Protocol


class TokenKind(Enum):
    """What may join with a token."""

    NODE = "node"
    PROXY = "proxy"  # one apart from auth
    CLUSTER = "cluster"  # a leaf


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A join token as it is stored: never the secret itself."""

    id: str
    secret_hash: bytes  # SHA-256 of the secret, which has 256 random bits: no salt, no stretching needed
    created: datetime
    expires: datetime
    uses: int  # how many daemons may still join with it
    kind: TokenKind = TokenKind.NODE


class TokenStore(Protocol):
    """Join tokens of daemons."""

    async def add_token(self, token: JoinToken) -> None:
        """Store a new token."""
        ...

    async def token(self, token_id: str) -> JoinToken | None:
        """The token with this ID, spent or expired ones included; None if there is none."""
        ...

    async def spend_token(self, token_id: str) -> bool:
        """Take one use away, atomically; False when none was left."""
        ...

    async def tokens(self) -> list[JoinToken]:
        """All tokens, by expiry."""
        ...

    async def remove_token(self, token_id: str) -> None:
        """Forget a token; NotFound if there is none."""
        ...

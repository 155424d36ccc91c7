"""Narrow protocols: identity providers and the people they vouch for."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from interlock.domain.sso import Connector
from interlock.ports.access import User


class ConnectorStore(Protocol):
    """Providers as administrators keep them, with the secrets that they know us by."""

    async def connectors(self) -> list[Connector]:
        """All that can be read, by name."""
        ...

    async def connector(self, name: str) -> tuple[Connector, str]:
        """One, and its client secret; NotFound."""
        ...

    async def add_connector(self, connector: Connector, secret: str) -> bool:
        """Store a new one; False if the name or the issuer is taken."""
        ...

    async def set_connector(self, connector: Connector, secret: str) -> None:
        """Replace it; NotFound."""
        ...

    async def remove_connector(self, name: str) -> None:
        """Forget it; NotFound. Whom it has vouched for is nobody at any provider then, and `is_vouched` still."""
        ...


@dataclass(frozen=True, slots=True)
class Vouched:
    """Whose account somebody's is: that one, and no later one of the same name."""

    user: str
    created: datetime


class VouchedStore(Protocol):
    """Who somebody at a provider is here. It outlives the account: who was removed does not come back so."""

    async def vouched_for(self, issuer: str, subject: str) -> Vouched | None:
        """Who that is here; None for somebody new."""
        ...

    async def is_vouched(self, user: User) -> bool:
        """Whether this account is a provider's."""
        ...

    async def adopt(self, issuer: str, subject: str, user: User) -> bool:
        """Make the account of somebody new, and bind it; False, and nothing is done, if either is taken."""
        ...

    async def forget_vouched(self, user: str) -> int:
        """Let whoever had this name be somebody new; how many there were."""
        ...


class ProviderHttp(Protocol):
    """How providers are asked: bounded in size and time, by TLS, without following anybody elsewhere."""

    async def get(self, url: str, *, bearer: str = "") -> Mapping[str, object]:
        """A JSON object; Away if there is none."""
        ...

    async def post(
        self, url: str, fields: Mapping[str, str], *, basic: tuple[str, str] | None
    ) -> Mapping[str, object]:
        """The answer to a form; Away. ``basic``: name and secret, for the header."""
        ...

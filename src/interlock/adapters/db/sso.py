"""Identity providers, and whom they vouch for. A connector that cannot be read in full lets nobody in (R6)."""

from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Row, delete, func, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.accounts import user_row
from interlock.adapters.db.columns import dump
from interlock.adapters.db.engine import Database
from interlock.adapters.db.sealed import open_text, purpose_of, seal_text
from interlock.adapters.db.words import insert
from interlock.core.errors import NotFound
from interlock.domain.sso import Connector, Rule, check_connector
from interlock.ports import Sealing, User
from interlock.ports.sso import Vouched

_log = structlog.get_logger(__name__)

NOBODY = ""
"""In place of the issuer: the provider was removed."""

_CONNECTORS, _VOUCHED = schema.connectors, schema.vouched


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[str, ...]
    scopes: tuple[str, ...]
    user_claim: str
    traits: dict[str, str]


_SETTINGS = msgspec.json.Decoder(_Settings, strict=True)


class SqlSsoStore:
    """`ports.sso.ConnectorStore` and `VouchedStore`."""

    def __init__(self, database: Database, sealing: Sealing) -> None:
        self._database = database
        self._sealing = sealing

    async def connectors(self) -> list[Connector]:
        """`ConnectorStore`."""
        rows = await self._database.rows(select(_CONNECTORS).order_by(_CONNECTORS.c.name))
        return [each for row in rows if (each := _connector(row)) is not None]

    async def connector(self, name: str) -> tuple[Connector, str]:
        """`ConnectorStore`."""
        rows = await self._database.rows(select(_CONNECTORS).where(_CONNECTORS.c.name == name))
        found = _connector(rows[0]) if rows else None
        if found is None:
            raise _no_connector(name)
        return found, open_text(self._sealing, _purpose(name), rows[0].secret)

    async def add_connector(self, connector: Connector, secret: str) -> bool:
        """`ConnectorStore`."""
        row = self._row(connector, secret) | {"name": connector.name}
        return await self._database.change(insert(_CONNECTORS).values(row).on_conflict_do_nothing()) == 1

    async def set_connector(self, connector: Connector, secret: str) -> None:
        """`ConnectorStore`."""
        wanted = update(_CONNECTORS).where(_CONNECTORS.c.name == connector.name)
        if not await self._database.change(wanted.values(self._row(connector, secret))):
            raise _no_connector(connector.name)

    async def remove_connector(self, name: str) -> None:
        """`ConnectorStore`."""

        def remove(connection: Connection) -> int:
            # its accounts are still none of ours: without it nobody says any more that they may come in
            orphaned = update(_VOUCHED).values(issuer=NOBODY, subject=_VOUCHED.c.user)
            issuers = select(_CONNECTORS.c.issuer).where(_CONNECTORS.c.name == name)
            connection.execute(orphaned.where(_VOUCHED.c.issuer.in_(issuers)))
            return connection.execute(delete(_CONNECTORS).where(_CONNECTORS.c.name == name)).rowcount

        if not await self._database.write(remove):
            raise _no_connector(name)

    async def vouched_for(self, issuer: str, subject: str) -> Vouched | None:
        """`VouchedStore`."""
        wanted = select(_VOUCHED).where(_VOUCHED.c.issuer == issuer, _VOUCHED.c.subject == subject)
        return next((Vouched(row.user, row.created) for row in await self._database.rows(wanted)), None)

    async def is_vouched(self, user: User) -> bool:
        """`VouchedStore`."""
        same = _VOUCHED.c.user == user.name, _VOUCHED.c.created == user.created
        return bool((await self._database.rows(select(func.count()).select_from(_VOUCHED).where(*same)))[0][0])

    async def adopt(self, issuer: str, subject: str, user: User) -> bool:
        """`VouchedStore`."""
        bound = {"issuer": issuer, "subject": subject, "user": user.name, "created": user.created}
        account = user_row(user)

        def both(connection: Connection) -> bool:
            taken = select(schema.users.c.name).where(schema.users.c.name == user.name)
            bound_to = select(_VOUCHED.c.user).where(_VOUCHED.c.user == user.name)
            if connection.execute(taken).first() or connection.execute(bound_to).first():
                return False
            if not connection.execute(insert(_VOUCHED).values(bound).on_conflict_do_nothing()).rowcount:
                return False
            connection.execute(insert(schema.users).values(account))
            return True

        return await self._database.write(both)

    async def forget_vouched(self, user: str) -> int:
        """`VouchedStore`."""
        return await self._database.change(delete(_VOUCHED).where(_VOUCHED.c.user == user))

    def _row(self, connector: Connector, secret: str) -> dict[str, object]:
        settings = _Settings(
            tuple(map(str, connector.rules)), connector.scopes, connector.user_claim, dict(connector.traits)
        )
        return {
            "issuer": connector.issuer,
            "client_id": connector.client_id,
            "secret": seal_text(self._sealing, _purpose(connector.name), secret),
            "settings": dump(settings),
        }


def _connector(row: Row[Any]) -> Connector | None:
    try:
        said = _SETTINGS.decode(row.settings)
        rules = tuple(map(Rule.parse, said.rules))
        return check_connector(
            Connector(row.name, row.issuer, row.client_id, rules, said.scopes, said.user_claim, said.traits)
        )
    except ValueError as error:
        _log.error("connector.unreadable", connector=row.name, error=str(error))
        return None


def _purpose(name: str) -> str:
    return purpose_of(_CONNECTORS.c.secret, name)


def _no_connector(name: str) -> NotFound:
    return NotFound(f"there is no OIDC connector called {name}")

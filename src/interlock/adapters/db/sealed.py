"""Columns that hold secrets, all of them in one list, and the cluster's data key as it is wrapped.

A column of bytes holds what `ports.Sealing` makes. One of text holds the secret itself while it is in the clear,
as it always did, and ``sealed:`` with base64 otherwise.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, LargeBinary, Row, Table, delete, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.engine import Database
from interlock.adapters.db.words import insert
from interlock.core.errors import StoreError
from interlock.ports import KeyWrapper, Sealing

_PREFIX = "sealed:"
_CLEAR = b"\x00"

SEALED: tuple[Column[Any], ...] = (
    schema.authorities.c.private_key,
    schema.mfa_devices.c.secret,
    schema.connectors.c.secret,
)
"""Every column whose values are sealed. A new one is named here, and its store uses `purpose_of`."""


def purpose_of(column: "Column[Any]", *key: object) -> str:
    """What a value of this column is sealed for: the column and the row's primary key."""
    return "/".join((column.table.name, column.name, *map(str, key)))


def seal_text(sealing: Sealing, purpose: str, secret: str) -> str:
    """What a column of text stores."""
    sealed = sealing.seal(purpose, secret.encode())
    return secret if sealed[:1] == _CLEAR else _PREFIX + base64.b64encode(sealed).decode()


def open_text(sealing: Sealing, purpose: str, stored: str) -> str:
    """The secret; StoreError."""
    return sealing.open(purpose, _raw(stored)).decode()


@dataclass(frozen=True, slots=True)
class Count:
    """How the secrets of one column are stored."""

    column: str
    sealed: int
    clear: int


class SqlKeyWrappers:
    """The wrapped data key, and all that is sealed by it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def wrappers(self) -> list[KeyWrapper]:
        """All ways to the data key; none: the cluster's keys are in the clear."""
        return [_wrapper(row) for row in await self._database.rows(select(schema.key_wrappers))]

    async def fresh(self) -> bool:
        """Whether no secret has been stored yet."""
        return not await self._database.rows(select(schema.authorities.c.kind).limit(1))

    async def start(self, wrapper: KeyWrapper) -> None:
        """Keep the first wrapper of a new cluster, unless somebody else was faster."""

        def work(connection: Connection) -> None:
            if connection.execute(select(schema.key_wrappers.c.name)).first() is None:
                connection.execute(insert(schema.key_wrappers).values(_row(wrapper)))

        await self._database.write(work)

    async def replace(
        self, wrappers: Sequence[KeyWrapper], before: Sealing | None = None, after: Sealing | None = None
    ) -> int:
        """Keep exactly these wrappers, and seal all secrets anew from ``before`` to ``after``; how many."""

        def work(connection: Connection) -> int:
            connection.execute(delete(schema.key_wrappers))
            for wrapper in wrappers:
                connection.execute(insert(schema.key_wrappers).values(_row(wrapper)))
            if before is None or after is None:
                return 0
            return sum(_reseal(connection, column, before, after) for column in SEALED)

        return await self._database.write(work)

    async def counts(self) -> list[Count]:
        """How each column's secrets are stored."""

        def work(connection: Connection) -> list[Count]:
            found = []
            for column in SEALED:
                rows = connection.execute(select(column).where(column.is_not(None))).all()
                sealed = sum(_raw(row[0])[:1] != _CLEAR for row in rows)
                found.append(Count(f"{column.table.name}.{column.name}", sealed, len(rows) - sealed))
            return found

        return await self._database.read(work)


def _reseal(connection: Connection, column: "Column[Any]", before: Sealing, after: Sealing) -> int:
    table = column.table
    if not isinstance(table, Table):
        raise TypeError(table)
    keys = list(table.primary_key.columns)
    rows = connection.execute(select(*keys, column).where(column.is_not(None))).all()
    for row in rows:
        *key, stored = row
        purpose = purpose_of(column, *key)
        secret = before.open(purpose, _raw(stored))
        fresh: bytes | str = after.seal(purpose, secret)
        if not isinstance(column.type, LargeBinary):
            fresh = seal_text(after, purpose, secret.decode())
        same = [name == value for name, value in zip(keys, key, strict=True)]
        connection.execute(update(table).where(*same).values({column.name: fresh}))
    return len(rows)


def _raw(stored: str | bytes) -> bytes:
    if isinstance(stored, bytes):
        return stored
    if not stored.startswith(_PREFIX):
        return _CLEAR + stored.encode()
    try:
        return base64.b64decode(stored.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        public = "a sealed key in the database is damaged"
        raise StoreError(public, reason=f"{public}: {error}") from error


def _row(wrapper: KeyWrapper) -> dict[str, object]:
    return {
        "name": wrapper.name,
        "kind": wrapper.kind,
        "parameters": json.dumps(dict(wrapper.parameters), sort_keys=True),
        "wrapped": wrapper.wrapped,
        "created": wrapper.created,
    }


def _wrapper(row: Row[Any]) -> KeyWrapper:
    try:
        parameters = json.loads(row.parameters)
    except ValueError as error:
        public = f"the wrapper {row.name} of the cluster's keys cannot be read"
        raise StoreError(public, reason=f"{public}: {error}") from error
    if not isinstance(parameters, Mapping):
        raise StoreError(f"the wrapper {row.name} of the cluster's keys cannot be read")
    return KeyWrapper(row.name, row.kind, parameters, row.wrapped, row.created)

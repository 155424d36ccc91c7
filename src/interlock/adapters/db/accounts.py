"""Users and roles. A policy that cannot be read in full counts for nothing: absent means denied (R6)."""

from collections.abc import Iterable
from typing import Any

import structlog
from sqlalchemy import Connection, Row, bindparam, delete, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.columns import dump_labels, dump_strings, load_labels, load_strings
from interlock.adapters.db.engine import Database
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.words import insert
from interlock.core.errors import NotFound
from interlock.core.ids import parse_login, parse_name
from interlock.domain.access import RoleOptions, dump_options, load_options
from interlock.domain.rbac import Role
from interlock.ports import User

_log = structlog.get_logger(__name__)

_USER = Prepared(select(schema.users).where(schema.users.c.name == bindparam("name")))
_ROLE = Prepared(select(schema.roles).where(schema.roles.c.name == bindparam("name")))

_OF_A_USER = (schema.mfa_devices, schema.recovery_codes, schema.user_keys)
"""What goes with the account, so that the next one of that name does not inherit it."""


class SqlUserStore:
    """`ports.UserStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def user(self, name: str) -> User:
        """The account; NotFound otherwise."""
        rows = await self._database.look(_USER, name=name)
        if not rows:
            raise _no_user(name)
        return _user(rows[0])

    async def users(self) -> list[User]:
        """All accounts, by name."""
        rows = await self._database.rows(select(schema.users).order_by(schema.users.c.name))
        return [_user(row) for row in rows]

    async def add_user(self, user: User) -> bool:
        """Create the account; False if the name is taken."""
        row = {
            "name": parse_name(user.name),
            "password_hash": user.password_hash,
            "must_change": user.must_change,
            "roles": dump_strings(user.roles),
            "created": user.created,
        }
        return await self._database.change(insert(schema.users).values(row).on_conflict_do_nothing()) == 1

    async def set_password(self, name: str, password_hash: str, *, must_change: bool) -> None:
        """Replace the password; NotFound if there is no such account."""
        change = update(schema.users).where(schema.users.c.name == name)
        changed = change.values(password_hash=password_hash, must_change=must_change)
        if not await self._database.change(changed):
            raise _no_user(name)

    async def remove_user(self, name: str) -> None:
        """Delete the account and all that proves it; NotFound if there is none."""

        def remove(connection: Connection) -> int:
            for table in _OF_A_USER:
                connection.execute(delete(table).where(table.c.user == name))
            return connection.execute(delete(schema.users).where(schema.users.c.name == name)).rowcount

        if not await self._database.write(remove):
            raise _no_user(name)


class SqlRoleStore:
    """`ports.RoleStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def roles(self, names: Iterable[str]) -> list[Role]:
        """The named roles that exist and can be read."""
        rows = [row for name in sorted(set(names)) for row in await self._database.look(_ROLE, name=name)]
        return [role for row in rows if (role := _role(row)) is not None]

    async def all_roles(self) -> list[Role]:
        """Every role that can be read, by name."""
        rows = await self._database.rows(select(schema.roles).order_by(schema.roles.c.name))
        return [role for row in rows if (role := _role(row)) is not None]

    async def add_role(self, role: Role) -> bool:
        """Create the role; False if the name is taken."""
        row = {
            "name": parse_name(role.name),
            "logins": dump_strings(role.logins),
            "node_labels": dump_labels(role.node_labels),
            "options": dump_options(role.options),
        }
        return await self._database.change(insert(schema.roles).values(row).on_conflict_do_nothing()) == 1

    async def set_options(self, name: str, options: RoleOptions) -> None:
        """Replace the role's options; NotFound if there is no such role."""
        wanted = update(schema.roles).where(schema.roles.c.name == name)
        if not await self._database.change(wanted.values(options=dump_options(options))):
            raise NotFound(f"there is no role called {name}")

    async def remove_role(self, name: str) -> None:
        """Delete the role; NotFound if there is none."""
        if not await self._database.change(delete(schema.roles).where(schema.roles.c.name == name)):
            raise NotFound(f"there is no role called {name}")


def _no_user(name: str) -> NotFound:
    return NotFound(f"there is no user called {name}")


def _user(row: Row[Any]) -> User:
    try:
        roles = load_strings(row.roles)
    except ValueError as error:
        _log.error("user.roles.unreadable", user=row.name, error=str(error))
        roles = ()
    return User(row.name, roles, row.password_hash, bool(row.must_change), row.created)


def _role(row: Row[Any]) -> Role | None:
    try:
        logins = tuple(parse_login(each) for each in load_strings(row.logins))
        return Role(parse_name(row.name), logins, load_labels(row.node_labels), load_options(row.options))
    except ValueError as error:
        _log.error("role.unreadable", role=row.name, error=str(error), consequence="the role allows nothing")
        return None

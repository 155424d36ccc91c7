"""Users and roles. A policy that cannot be read in full counts for nothing: absent means denied (R6)."""

from collections.abc import Iterable
from typing import Any

import structlog
from sqlalchemy import Connection, Row, bindparam, delete, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.columns import (
    dump_labels,
    dump_role_map,
    dump_strings,
    load_labels,
    load_role_map,
    load_strings,
)
from interlock.adapters.db.engine import Database
from interlock.adapters.db.policy import change_policy, count_change
from interlock.adapters.db.prepared import Prepared
from interlock.adapters.db.words import insert
from interlock.core.errors import NotFound
from interlock.core.ids import parse_name
from interlock.domain.access import dump_options, load_options
from interlock.domain.rbac import Role, unreadable
from interlock.domain.traits import Traits, check_role, check_traits
from interlock.ports import User

_log = structlog.get_logger(__name__)

_USER = Prepared(select(schema.users).where(schema.users.c.name == bindparam("name")))
_ROLE = Prepared(select(schema.roles).where(schema.roles.c.name == bindparam("name")))

_OF_A_USER = (
    schema.bots,
    schema.mfa_devices,
    schema.recovery_codes,
    schema.user_keys,
    schema.links,
    schema.browser_sign_ins,
    schema.access_requests,
)
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
        added = insert(schema.users).values(user_row(user)).on_conflict_do_nothing()
        return await self._database.change(added) == 1

    async def set_password(self, name: str, password_hash: str, *, must_change: bool) -> None:
        """Replace the password; NotFound if there is no such account."""
        change = update(schema.users).where(schema.users.c.name == name)
        changed = change.values(password_hash=password_hash, must_change=must_change)
        if not await self._database.change(changed):
            raise _no_user(name)

    async def set_access(self, name: str, roles: Iterable[str], traits: Traits) -> None:
        """Replace roles and traits; NotFound if there is no such account."""
        change = update(schema.users).where(schema.users.c.name == name)
        changed = change.values(roles=dump_strings(roles), traits=dump_role_map(check_traits(traits)))
        if not await change_policy(self._database, changed):
            raise _no_user(name)

    async def remove_user(self, name: str) -> None:
        """Delete the account and all that proves it; NotFound if there is none."""

        def remove(connection: Connection) -> int:
            for table in _OF_A_USER:
                connection.execute(delete(table).where(table.c.user == name))
            count_change(connection)
            return connection.execute(delete(schema.users).where(schema.users.c.name == name)).rowcount

        if not await self._database.write(remove):
            raise _no_user(name)


class SqlRoleStore:
    """`ports.RoleStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def roles(self, names: Iterable[str]) -> list[Role]:
        """The named roles that exist; for one that cannot be read, one that denies everything."""
        rows = [row for name in sorted(set(names)) for row in await self._database.look(_ROLE, name=name)]
        return [_role(row) or unreadable(row.name) for row in rows]

    async def all_roles(self) -> list[Role]:
        """Every role that can be read, by name."""
        rows = await self._database.rows(select(schema.roles).order_by(schema.roles.c.name))
        return [role for row in rows if (role := _role(row)) is not None]

    async def add_role(self, role: Role) -> bool:
        """Create the role; False if the name is taken."""
        added = insert(schema.roles).values(_row(role)).on_conflict_do_nothing()
        return await change_policy(self._database, added) == 1  # users may have its name already, and it may deny

    async def replace_role(self, role: Role) -> None:
        """Replace all that the role of this name says; NotFound if there is none."""
        wanted = update(schema.roles).where(schema.roles.c.name == role.name)
        if not await change_policy(self._database, wanted.values(_row(role))):
            raise NotFound(f"there is no role called {role.name}")

    async def remove_role(self, name: str) -> None:
        """Delete the role; NotFound if there is none."""
        if not await change_policy(self._database, delete(schema.roles).where(schema.roles.c.name == name)):
            raise NotFound(f"there is no role called {name}")


def user_row(user: User) -> dict[str, object]:
    """A new account as it is stored."""
    return {
        "name": parse_name(user.name),
        "password_hash": user.password_hash,
        "must_change": user.must_change,
        "roles": dump_strings(user.roles),
        "traits": dump_role_map(check_traits(user.traits)),
        "created": user.created,
    }


def _no_user(name: str) -> NotFound:
    return NotFound(f"there is no user called {name}")


def _user(row: Row[Any]) -> User:
    try:
        roles, traits = load_strings(row.roles), check_traits(load_role_map(row.traits))
    except ValueError as error:
        _log.error("user.roles.unreadable", user=row.name, error=str(error))
        roles, traits = (), {}
    return User(row.name, roles, row.password_hash, bool(row.must_change), row.created, traits)


def _row(role: Role) -> dict[str, str]:
    check_role(role)
    return {
        "name": role.name,
        "logins": dump_strings(role.logins),
        "node_labels": dump_labels(role.node_labels),
        "options": dump_options(role.options),
    }


def _role(row: Row[Any]) -> Role | None:
    try:
        labels, options = load_labels(row.node_labels), load_options(row.options)
        return check_role(Role(row.name, load_strings(row.logins), labels, options))
    except ValueError as error:
        _log.error("role.unreadable", role=row.name, error=str(error), consequence="the role denies everything")
        return None

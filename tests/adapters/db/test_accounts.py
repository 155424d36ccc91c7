"""Users and roles: what was stored comes back, and what cannot be read allows nothing and denies everything."""

from dataclasses import replace

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from interlock.adapters.db.accounts import SqlRoleStore, SqlUserStore
from interlock.adapters.db.engine import Database
from interlock.core.errors import NotFound
from interlock.domain.access import Deny, RoleOptions
from interlock.domain.rbac import Role, unreadable
from interlock.ports import User
from interlock.testing.clock import START

ALICE = User(
    "alice", ("dev", "ops"), "$argon2id$x", must_change=True, created=START, traits={"logins": ("alice", "www")}
)
DEV = Role("dev", ("root", "ubuntu"), {"env": "test", "tier": "*"})


@pytest.fixture
def users(database: Database) -> SqlUserStore:
    """Accounts."""
    return SqlUserStore(database)


@pytest.fixture
def roles(database: Database) -> SqlRoleStore:
    """Roles."""
    return SqlRoleStore(database)


async def test_a_user_comes_back_as_stored_and_names_are_taken_once(users: SqlUserStore) -> None:
    """A second one of that name is not created and changes nothing."""
    assert await users.add_user(ALICE)
    assert not await users.add_user(User("alice", (), None, must_change=False, created=START))
    assert await users.user("alice") == ALICE
    assert await users.users() == [ALICE]


async def test_a_new_password_replaces_the_old_one(users: SqlUserStore) -> None:
    """Only for users who exist."""
    await users.add_user(ALICE)
    await users.set_password("alice", "new", must_change=False)
    assert await users.user("alice") == replace(ALICE, password_hash="new", must_change=False)
    with pytest.raises(NotFound):
        await users.set_password("bob", "new", must_change=False)


async def test_a_removed_user_is_gone(users: SqlUserStore) -> None:
    """And cannot be removed twice."""
    await users.add_user(ALICE)
    await users.remove_user("alice")
    for attempt in (users.user("alice"), users.remove_user("alice")):
        with pytest.raises(NotFound, match="no user called alice"):
            await attempt


async def test_names_that_mean_something_else_are_not_stored(users: SqlUserStore, roles: SqlRoleStore) -> None:
    """R26: whoever calls."""
    with pytest.raises(ValueError, match="not a valid name"):
        await users.add_user(User("a,b", (), None, must_change=False, created=START))
    with pytest.raises(ValueError, match="not a valid name"):
        await roles.add_role(Role("-x", ("root",), {"*": "*"}))


async def test_roles_come_back_as_stored(roles: SqlRoleStore) -> None:
    """Named ones that exist; all of them by name; none twice."""
    assert await roles.add_role(DEV)
    assert await roles.add_role(Role("a", ("x",), {"*": "*"}))
    assert not await roles.add_role(Role("dev", ("x",), {"*": "*"}))
    assert await roles.roles(["dev", "ghost"]) == [DEV]
    assert await roles.roles([]) == []
    assert [role.name for role in await roles.all_roles()] == ["a", "dev"]
    await roles.remove_role("dev")
    assert await roles.roles(["dev"]) == []
    with pytest.raises(NotFound):
        await roles.remove_role("dev")


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("logins", "not json"),
        ("logins", '"root"'),
        ("logins", "[1]"),
        ("logins", '["root,web"]'),
        ("node_labels", "[]"),
        ("node_labels", '{"env": null}'),
        ("node_labels", '{"env": ["test"]}'),
        ("options", '{"require_mfa": "yes"}'),
        ("options", '{"recording": {"strict": true}}'),
        ("options", "null"),
        ("options", '{"deny": {"logins": ["root"], "users": ["alice"]}}'),
        ("logins", '["{{env.HOME}}"]'),
        ("node_labels", '{"env": "{{trait.env"}'),
    ],
)
async def test_a_role_that_cannot_be_read_in_full_denies_everything(
    roles: SqlRoleStore, database: Database, column: str, value: str
) -> None:
    """R6: what is malformed or of a newer version may have been a denial; a line in the log tells of it."""
    await roles.add_role(DEV)
    await database.change(text(f"UPDATE roles SET {column} = :value"), {"value": value})
    with capture_logs() as logs:
        assert await roles.roles(["dev"]) == [unreadable("dev")]
        assert await roles.all_roles() == []
    assert [line["role"] for line in logs] == ["dev", "dev"]


async def test_a_role_is_replaced_in_full(roles: SqlRoleStore) -> None:
    """With all that it says, and only if it is there."""
    await roles.add_role(DEV)
    options = RoleOptions(max_sessions=3, deny=Deny(("root", "svc-*"), {"env": "prod|{{trait.env}}"}))
    changed = Role("dev", ("{{trait.logins}}",), {"env": "test-*"}, options)
    await roles.replace_role(changed)
    assert await roles.roles(["dev"]) == [changed]
    with pytest.raises(NotFound):
        await roles.replace_role(Role("ghost"))


async def test_roles_and_traits_of_a_user_are_replaced(users: SqlUserStore) -> None:
    """The password stays."""
    await users.add_user(ALICE)
    await users.set_access("alice", ["ops"], {"team": ("db",)})
    found = await users.user("alice")
    assert (found.roles, found.traits, found.password_hash) == (("ops",), {"team": ("db",)}, ALICE.password_hash)
    with pytest.raises(NotFound):
        await users.set_access("ghost", [], {})


@pytest.mark.parametrize("traits", ["{}x", '{"a": "b"}', '{"a": ["\\n"]}', '{"a b": ["c"]}'])
async def test_a_user_whose_traits_cannot_be_read_has_no_roles(
    users: SqlUserStore, database: Database, traits: str
) -> None:
    """They may have been for a denial."""
    await users.add_user(ALICE)
    await database.change(text("UPDATE users SET traits = :traits"), {"traits": traits})
    with capture_logs():
        found = await users.user("alice")
    assert (found.roles, found.traits) == ((), {})


async def test_a_user_whose_roles_cannot_be_read_has_none(users: SqlUserStore, database: Database) -> None:
    """R6: the account remains, its access does not."""
    await users.add_user(ALICE)
    await database.change(text("UPDATE users SET roles = '[\"dev\", 3]'"))
    with capture_logs() as logs:
        assert (await users.user("alice")).roles == ()
    assert logs[0]["user"] == "alice"

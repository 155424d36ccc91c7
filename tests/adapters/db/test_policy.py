"""What counts up the number of policy: everything that may take something away from who is here, and no more."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from interlock.adapters.db.accounts import SqlRoleStore, SqlUserStore
from interlock.adapters.db.authorities import SqlClusterStore
from interlock.adapters.db.clusters import SqlTrustStore
from interlock.adapters.db.engine import Database
from interlock.adapters.db.factors import SqlFactorStore
from interlock.adapters.db.policy import policy_number
from interlock.adapters.db.requests import SqlRequestStore
from interlock.domain.cluster import Relation, TrustedCluster
from interlock.domain.duties import RecordingMode
from interlock.domain.factor import EnrolledKey
from interlock.domain.rbac import Role
from interlock.domain.request import AccessRequest, Act
from interlock.ports import Cluster, User
from interlock.services.keys.sealing import ClearSealing
from interlock.testing.clock import START

ALICE = User("alice", ("dev",), None, must_change=False, created=START)
DEV = Role("dev", ("root",), {"env": "test"})
KEY = EnrolledKey(b"key", "alice", "laptop", START)
ROOT = TrustedCluster("main", "22222222-0000-4000-8000-000000000002", Relation.ROOT, START)
ASKED = AccessRequest("r1", "alice", ("dev",), "why", START, timedelta(hours=1))
APPROVED = ASKED.act(Act.APPROVE, "bob", "", now=START)


class Stores:
    """All that says who may do what, with one of each."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.users, self.roles = SqlUserStore(database), SqlRoleStore(database)
        self.factors, self.trusts = SqlFactorStore(database, ClearSealing()), SqlTrustStore(database)
        self.requests, self.clusters = SqlRequestStore(database), SqlClusterStore(database)

    async def fill(self) -> None:
        """One of each."""
        await self.clusters.ensure_cluster(Cluster("c", "demo", RecordingMode.NODE, START))
        await self.users.add_user(ALICE)
        await self.roles.add_role(DEV)
        await self.factors.enrol_key(KEY)
        await self.trusts.put_trust(ROOT)
        await self.requests.add_request(ASKED)
        await self.requests.add_request(replace(APPROVED, id="r2"))


Change = Callable[[Stores], Awaitable[object]]

TAKES: dict[str, Change] = {
    "roles and traits of a user": lambda stores: stores.users.set_access("alice", (), {}),
    "a user": lambda stores: stores.users.remove_user("alice"),
    "what a role says": lambda stores: stores.roles.replace_role(replace(DEV, logins=())),
    "a role": lambda stores: stores.roles.remove_role("dev"),
    "a role that may deny": lambda stores: stores.roles.add_role(replace(DEV, name="no")),
    "a key": lambda stores: stores.factors.remove_key("alice", KEY.blob),
    "the mapping of a cluster": lambda stores: stores.trusts.put_trust(replace(ROOT, roles={"x": ("dev",)})),
    "a cluster": lambda stores: stores.trusts.remove_trust(Relation.ROOT, "main"),
    "access by a request": lambda stores: stores.requests.remove_request("r2"),
    "approved access": lambda stores: stores.requests.replace_request(
        replace(APPROVED, id="r2"), replace(APPROVED, id="r2", until=START)
    ),
}

GIVES: dict[str, Change] = {
    "a user": lambda stores: stores.users.add_user(replace(ALICE, name="bob")),
    "a password": lambda stores: stores.users.set_password("alice", "x", must_change=False),
    "a key": lambda stores: stores.factors.enrol_key(replace(KEY, blob=b"other", name="other")),
    "an approval": lambda stores: stores.requests.replace_request(ASKED, APPROVED),
    "a request": lambda stores: stores.requests.add_request(replace(ASKED, id="r3")),
    "a role of that name": lambda stores: stores.roles.add_role(DEV),
}


@pytest.fixture
async def stores(database: Database) -> Stores:
    """Filled."""
    made = Stores(database)
    await made.fill()
    return made


@pytest.mark.parametrize("what", TAKES)
async def test_what_may_take_something_away_is_counted(stores: Stores, what: str) -> None:
    """In the same transaction, so nobody hears of it before it is so."""
    before = await policy_number(stores.database)
    await TAKES[what](stores)
    assert int(await policy_number(stores.database)) > int(before)


@pytest.mark.parametrize("what", GIVES)
async def test_what_only_gives_is_not(stores: Stores, what: str) -> None:
    """Nobody who is here has to be looked at for it."""
    before = await policy_number(stores.database)
    await GIVES[what](stores)
    assert await policy_number(stores.database) == before


async def test_there_is_no_number_before_the_first_start(database: Database) -> None:
    """And nobody who could be here."""
    assert await policy_number(database) == ""

"""Providers come back as stored, their secrets sealed; a subject is one account's, and no later namesake's."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from interlock.adapters.db import schema
from interlock.adapters.db.accounts import SqlUserStore
from interlock.adapters.db.engine import Database
from interlock.adapters.db.sso import SqlSsoStore
from interlock.core.errors import NotFound
from interlock.domain.sso import Connector, Rule
from interlock.ports import User
from interlock.ports.sso import Vouched
from interlock.services.keys.sealing import DATA_KEY, KeySealing
from interlock.testing.clock import START
from interlock.testing.entropy import FakeEntropy

COMPANY = Connector(
    "company", "https://id.example", "us", (Rule("groups", "a:b", ("dev", "ops")),), traits={"team": "groups"}
)
ERIN = User("erin", ("dev",), None, must_change=False, created=START)


@pytest.fixture
def store(database: Database) -> SqlSsoStore:
    """The store, with a data key."""
    return SqlSsoStore(database, KeySealing(bytes(DATA_KEY), FakeEntropy()))


async def test_connectors_come_back_as_stored(store: SqlSsoStore, database: Database) -> None:
    """One of each name and issuer; the secret is not in the database as it is."""
    assert await store.add_connector(COMPANY, "s3cret")
    assert not await store.add_connector(replace(COMPANY, name="other"), "x")
    assert not await store.add_connector(replace(COMPANY, issuer="https://other.example"), "x")
    assert await store.connectors() == [COMPANY]
    assert await store.connector("company") == (COMPANY, "s3cret")
    [row] = await database.rows(select(schema.connectors.c.secret))
    assert "s3cret" not in row.secret
    await store.set_connector(replace(COMPANY, rules=()), "other")
    assert await store.connector("company") == (replace(COMPANY, rules=()), "other")
    await store.remove_connector("company")
    for attempt in (
        store.connector("company"),
        store.remove_connector("company"),
        store.set_connector(COMPANY, "x"),
    ):
        with pytest.raises(NotFound):
            await attempt


async def test_a_connector_that_cannot_be_read_lets_nobody_in(store: SqlSsoStore, database: Database) -> None:
    """R6: a rule of a later version might be a restriction."""
    assert await store.add_connector(COMPANY, "s")
    await database.change(update(schema.connectors).values(settings='{"rules":[],"deny":1}'))
    with capture_logs() as logs:
        assert await store.connectors() == []
        with pytest.raises(NotFound):
            await store.connector("company")
    assert [each["event"] for each in logs] == ["connector.unreadable"] * 2


async def test_a_subject_is_one_accounts(store: SqlSsoStore, database: Database) -> None:
    """It outlives the account, and is none of a later one of that name."""
    users = SqlUserStore(database)
    assert await store.vouched_for("i", "s") is None
    assert await store.adopt("i", "s", ERIN)
    assert await store.vouched_for("i", "s") == Vouched("erin", START)
    assert await store.is_vouched(await users.user("erin"))
    assert not await store.adopt("i", "s", replace(ERIN, name="other"))
    assert not await store.adopt("i", "t", ERIN)
    assert [each.name for each in await users.users()] == ["erin"]
    await users.remove_user("erin")
    assert not await store.adopt("i", "t", ERIN)
    later = replace(ERIN, created=START + timedelta(1))
    assert await users.add_user(later)
    assert not await store.is_vouched(later)
    assert await store.forget_vouched("erin") == 1
    assert await store.vouched_for("i", "s") is None


async def test_nobody_is_vouched_for_without_the_connector(store: SqlSsoStore, database: Database) -> None:
    """Nor when one with the same issuer comes again; but no account becomes one of ours by that."""
    assert await store.add_connector(COMPANY, "s")
    assert await store.adopt(COMPANY.issuer, "s", ERIN)
    assert await store.adopt("https://other.example", "s", replace(ERIN, name="frank"))
    await store.remove_connector("company")
    assert await store.vouched_for(COMPANY.issuer, "s") is None
    assert await store.vouched_for("https://other.example", "s") is not None
    users = SqlUserStore(database)
    assert await store.is_vouched(await users.user("erin"))
    assert await store.forget_vouched("erin") == 1
    assert not await store.is_vouched(await users.user("erin"))

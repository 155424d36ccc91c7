"""Every column with secrets is sealed, opened and sealed anew as one."""

import pytest
from sqlalchemy import LargeBinary, Text, update

from interlock.adapters.db import schema
from interlock.adapters.db.authorities import SqlAuthorityStore
from interlock.adapters.db.engine import Database
from interlock.adapters.db.sealed import SEALED, Count, SqlKeyWrappers
from interlock.core.errors import StoreError
from interlock.ports import AuthorityKey, Sealing
from interlock.services.keys.sealing import DATA_KEY, ClearSealing, KeySealing, PassphraseWrapping
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy

SEALING = KeySealing(bytes(DATA_KEY), FakeEntropy())
USER, HOST = (AuthorityKey(kind, f"private {kind}", "public", START) for kind in ("user", "host"))


def test_sealed_columns_can_be_found_by_their_rows() -> None:
    """Text or bytes, in a table with a primary key that is not the secret itself."""
    for column in SEALED:
        assert isinstance(column.type, Text | LargeBinary)
        assert column.table.primary_key
        assert not column.primary_key


async def _stored(database: Database, clock: FakeClock, sealing: Sealing) -> SqlAuthorityStore:
    store = SqlAuthorityStore(database, clock, sealing)
    for key in (USER, HOST):
        assert await store.ensure_authority(key) == key
    return store


async def test_from_the_clear_to_sealed_and_back(database: Database, clock: FakeClock) -> None:
    """What stores give is the same throughout; who has no key is told so."""
    await _stored(database, clock, ClearSealing())
    wrappers = SqlKeyWrappers(database)
    wrapper = PassphraseWrapping(b"correct horse battery", FakeEntropy()).wrap("p", bytes(DATA_KEY), now=START)
    assert (await wrappers.counts())[:1] == [Count("authorities.private_key", 0, 2)]
    assert await wrappers.replace([wrapper], ClearSealing(), SEALING) == 2
    assert await wrappers.wrappers() == [wrapper]
    assert (await wrappers.counts())[:1] == [Count("authorities.private_key", 2, 0)]
    await _stored(database, clock, SEALING)
    with pytest.raises(StoreError, match="restart"):
        await SqlAuthorityStore(database, clock, ClearSealing()).authority("user")
    other = KeySealing(bytes(DATA_KEY)[1:] + b"x", FakeEntropy())
    assert await wrappers.replace([wrapper], SEALING, other) == 2
    await _stored(database, clock, other)
    assert await wrappers.replace([], other, ClearSealing()) == 2
    assert await wrappers.wrappers() == []
    await _stored(database, clock, ClearSealing())


async def test_nothing_changes_if_one_secret_does_not_open(database: Database, clock: FakeClock) -> None:
    """All of it is one transaction."""
    await _stored(database, clock, SEALING)
    columns = schema.authorities.c
    await database.change(
        update(schema.authorities).where(columns.kind == "host").values(private_key="sealed:AQ==")
    )
    wrappers = SqlKeyWrappers(database)
    with pytest.raises(StoreError):
        await wrappers.replace([], SEALING, ClearSealing())
    assert (await SqlAuthorityStore(database, clock, SEALING).authority("user")) == USER


async def test_a_sealed_key_is_its_own_rows(database: Database, clock: FakeClock) -> None:
    """Moved to another row it does not open, nor does a key in the clear that somebody wrote there."""
    store = await _stored(database, clock, SEALING)
    columns = schema.authorities.c
    for text in (
        (await database.rows(schema.authorities.select().where(columns.kind == "user")))[0].private_key,
        "private host",
        "sealed:%%%",
    ):
        await database.change(update(schema.authorities).where(columns.kind == "host").values(private_key=text))
        with pytest.raises(StoreError):
            await store.authority("host")

"""Statements compiled once give what SQLAlchemy gives."""

from datetime import timedelta

import pytest
from sqlalchemy import bindparam, insert, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.engine import Database, open_database
from interlock.adapters.db.prepared import Prepared
from interlock.core.errors import StoreError
from interlock.testing.clock import START
from interlock.testing.postgres import Place

TABLE = schema.trackers
ROW = {
    "sid": "s1",
    "state": 0,
    "swept": True,
    "daemon_id": "d",
    "created": START,
    "expires": START + timedelta(seconds=1),
    "body": "{}",
}
PUT = Prepared(insert(TABLE).values({each.name: bindparam(each.name) for each in TABLE.c}))
FIND = Prepared(select(TABLE).where(TABLE.c.sid == bindparam("sid"), TABLE.c.state < 5))


async def test_values_are_converted_as_the_types_say(database: Database) -> None:
    """Times and truth values, on both ways, beside what is written in the statement itself."""
    await database.write(lambda connection: PUT.run(connection, **ROW))
    [here] = await database.look(FIND, sid="s1")
    [there] = await database.rows(select(TABLE))
    assert here._asdict() == there._asdict() == ROW
    assert await database.look(FIND, sid="other") == []


async def test_a_change_tells_how_many_rows_it_met(database: Database) -> None:
    """As SQLAlchemy's does."""
    change = Prepared(update(TABLE).where(TABLE.c.sid == bindparam("which")).values(state=bindparam("new")))
    rows = [ROW, ROW | {"sid": "s2"}]
    await database.write(lambda connection: PUT.run_all(connection, rows))
    assert await database.write(lambda connection: change.run(connection, which="s2", new=3)) == 1
    assert [(row.sid, row.state) for row in await database.rows(select(TABLE))] == [("s1", 0), ("s2", 3)]


async def test_a_look_sees_what_another_process_has_just_written(database: Database, place: Place) -> None:
    """There is nothing in between that could be out of date."""
    other = await open_database(place)
    assert await database.look(FIND, sid="s1") == database.glance(FIND, sid="s1") == []
    await other.write(lambda connection: PUT.run(connection, **ROW))
    assert len(await database.look(FIND, sid="s1")) == len(database.glance(FIND, sid="s1")) == 1
    await other.close()


async def test_its_errors_are_store_errors(database: Database) -> None:
    """In a look and in a write."""
    await database.write(lambda connection: PUT.run(connection, **ROW))
    with pytest.raises(StoreError, match="not available"):
        await database.write(lambda connection: PUT.run(connection, **ROW))
    await database.write(lambda connection: connection.exec_driver_sql("DROP TABLE trackers").rowcount)
    with pytest.raises(StoreError, match="not available"):
        await database.look(FIND, sid="s1")
    with pytest.raises(StoreError, match="not available"):
        database.glance(FIND, sid="s1")

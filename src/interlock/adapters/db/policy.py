"""Who may do what has a number: what may have taken something away counts it up, in the same transaction.

Daemons hear of it with the locks (`domain.lock.LockList.policy`) and judge again whoever is live (ADR-0033). What
only gives does not count it: nobody has to be looked at for that.
"""

from sqlalchemy import Connection, Executable, select, update

from interlock.adapters.db import schema
from interlock.adapters.db.engine import Database
from interlock.adapters.db.prepared import Prepared

_NUMBER = Prepared(select(schema.cluster.c.policy))
_COUNT = update(schema.cluster).values(policy=schema.cluster.c.policy + 1)


async def policy_number(database: Database) -> str:
    """As it is; empty before the first start."""
    return "".join(str(row.policy) for row in await database.look(_NUMBER))


def count_change(connection: Connection) -> None:
    """Something may have been taken away."""
    connection.execute(_COUNT)


async def change_policy(database: Database, statement: Executable) -> int:
    """Run one statement that may take something away; how many rows it has changed."""

    def work(connection: Connection) -> int:
        if changed := connection.execute(statement).rowcount:
            count_change(connection)
        return changed

    return await database.write(work)

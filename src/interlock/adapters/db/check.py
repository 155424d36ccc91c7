"""Whether a database is sound, as far as it can say so itself."""

import asyncio
import threading

from sqlalchemy import Connection

from interlock.adapters.db.backend import driver
from interlock.adapters.db.engine import Database

_CHECK = "PRAGMA integrity_check(10)"
_STEPS = 100_000  # of SQLite's machine between two looks at whether anybody still waits: some milliseconds


async def damage(database: Database, *, within: float) -> list[str] | None:
    """What SQLite finds wrong with its file, in its words; nothing if all is well, or if it is no SQLite.

    None if it has not looked at all of it ``within`` seconds. It looks no further then.
    """
    stop = threading.Event()

    def check(connection: Connection) -> list[str]:
        if connection.dialect.name != "sqlite":
            return []
        own = driver(connection)
        own.set_progress_handler(stop.is_set, _STEPS)
        try:
            return [str(text) for text in connection.exec_driver_sql(_CHECK).scalars() if text != "ok"]
        finally:
            own.set_progress_handler(None, 0)

    try:
        async with asyncio.timeout(within):
            return await database.read(check)
    except TimeoutError:
        return None
    finally:
        stop.set()

"""New databases for tests whose question is not how tables come to be: migrated once in a process, then copied."""

import asyncio
import threading
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from interlock.adapters.db.engine import open_database


def put_database(path: Path) -> None:
    """Make the file that `open_database` would make, with its mode, so that it finds nothing left to do."""
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "template.db"
        # The caller's thread may be running an event loop already.
        thread = threading.Thread(target=lambda: asyncio.run(_make(path)), name="database-template")
        thread.start()
        thread.join()
        return path.read_bytes()


async def _make(path: Path) -> None:
    database = await open_database(path)
    await database.close()

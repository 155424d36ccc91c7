"""SQLite: a file of this machine, opened privately.

Writers take the write lock when they begin (BEGIN IMMEDIATE): one that reads first and writes later would fail at
once, without waiting, when another process wrote in between.
"""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from time import sleep
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

from interlock.adapters.db.backend import BUSY_TIMEOUT_MS, WRITES, driver, named_errors
from interlock.core.errors import StoreError

_WAL_ATTEMPTS, _WAL_PAUSE_S = 100, 0.02


class Sqlite:
    """`backend.Backend`."""

    near = True
    error: type[Exception] = sqlite3.Error
    writing: Mapping[str, Any] = MappingProxyType({WRITES: True})
    version = "PRAGMA data_version"

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self) -> None:
        """Make the file, for its owner only (0600), if there is none; StoreError."""
        path = self._path
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"cannot open the database {path}: {error.strerror}", reason=str(error)) from error

    def engine(self) -> Engine:
        """`Backend.engine`."""
        engine = create_engine(f"sqlite:///{self._path}", hide_parameters=True)
        event.listen(engine, "connect", _prepare)
        event.listen(engine, "begin", _begin)
        return engine

    @property
    def telling(self) -> None:
        """A file tells nothing."""
        return

    @property
    def apart(self) -> None:
        """It is a file of this machine."""
        return

    def undone(self, connection: Connection) -> bool:
        """As it does when the disk is full."""
        return not driver(connection).in_transaction

    def hung_up(self, connection: Connection) -> bool:
        """It is in this process."""
        del connection
        return False

    def collided(self, error: BaseException) -> bool:
        """There is one writer."""
        del error
        return False

    def scrub(self) -> None:
        """`Backend.scrub`: a new file without the pages that are not used, and nothing in the log beside it."""
        with named_errors(self), closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def reason(self, error: Exception) -> str:
        """Its words name columns, never values."""
        return str(error)


def _prepare(connection: Any, record: object) -> None:
    del record
    connection.isolation_level = None  # transactions begin where _begin says, not where the driver guesses
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    for pause in (*(_WAL_PAUSE_S,) * _WAL_ATTEMPTS, None):
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError:  # another process is switching a new file; SQLite does not wait for that
            if pause is None:
                raise
            sleep(pause)
    cursor.close()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(WRITES, False):
        driver(connection).execute("BEGIN IMMEDIATE")  # SQLAlchemy's own way costs a fifth of a short transaction

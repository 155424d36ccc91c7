"""A copy of a SQLite database at one moment, made while others write."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from interlock.core.errors import StoreError

PAGES = 2048
"""Pages copied at once: between two such steps writers go on."""


def copy_database(source: Path, copy: Path) -> None:
    """Make ``copy`` (0600), whole and sound. StoreError if that fails; nothing of it stays then. Blocks."""
    try:
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        try:
            with (
                closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as reader,
                closing(sqlite3.connect(copy)) as writer,
            ):
                reader.backup(writer, pages=PAGES)
                writer.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
                _check(writer)
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"the database could not be copied: {error}") from error


def _check(copy: sqlite3.Connection) -> None:
    found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(str(found))

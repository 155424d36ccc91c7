"""Which database a data directory's cluster is in: what the configuration says, kept there for others who open it.

These are workers and ``ilctl``, which have no configuration. Unlike other settings it stays when nobody says it
any more: a gateway that was started once without its database's name must not become an empty cluster.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from interlock.adapters.db.claims import SqlSharedClaims
from interlock.adapters.db.engine import Database
from interlock.adapters.db.months import EventMonths
from interlock.core.errors import ConfigError, StoreError
from interlock.ports import Clock

if TYPE_CHECKING:  # the driver takes half a second to import
    from interlock.adapters.db.postgres import PostgresUrl

DATABASE = "interlock.db"
"""The file in the data directory, unless the database is elsewhere."""

FILE = "sqlite"
"""The setting that leads back to it."""

TEND_S = 3600.0
"""Seconds between two looks at the calendar."""

AGAIN_S = 300.0
"""Seconds until the next one when something was in the way, as somebody who reads all of the log."""

CLAIMED = timedelta(days=1)
"""For which a claim is kept. It counts until something is stored of its session, which tells the same."""

_KEPT = "database-url"

_log = structlog.get_logger()


def check_database(setting: str) -> None:
    """ConfigError, which repeats nothing of the setting, if it names no database."""
    if setting not in ("", FILE):
        _parse(setting)


def keep_database(data_dir: Path, setting: str) -> None:
    """Note in the directory where its database is, if the setting says so; ConfigError if that cannot be."""
    kept = data_dir / _KEPT
    if not setting or setting == _noted(kept):
        return
    try:
        if setting == FILE:
            kept.unlink(missing_ok=True)
            return
        _parse(setting)
        if (data_dir / DATABASE).exists() and not kept.exists():
            raise ConfigError(
                f"the cluster of {data_dir} is in {DATABASE} there: use a new directory for one in PostgreSQL"
            )
        fresh = kept.with_suffix(".new")
        with suppress(FileNotFoundError):
            fresh.unlink()
        fresh.touch(0o600)
        fresh.write_text(setting)
        fresh.replace(kept)
    except OSError as error:
        raise ConfigError(f"cannot use {kept}: {error.strerror}", reason=str(error)) from error


def database_place(data_dir: Path) -> "Path | PostgresUrl":
    """Where the directory's database is. ConfigError if that cannot be read."""
    noted = _noted(data_dir / _KEPT)
    return _parse(noted) if noted else data_dir / DATABASE


def has_database(data_dir: Path) -> bool:
    """Whether a gateway has been started with this directory."""
    return (data_dir / DATABASE).exists() or (data_dir / _KEPT).exists()


async def tend_database(database: Database, clock: Clock) -> None:
    """Keep up with the calendar until cancelled."""
    months = EventMonths(database)
    while True:
        pause = TEND_S
        try:
            made, dropped = await months.tend(clock.now())
            if database.shared:
                await SqlSharedClaims(database).forget(clock.now() - CLAIMED)
        except StoreError as error:
            pause = AGAIN_S
            _log.warning("database.not_tended", reason=error.reason)
        else:
            if made or dropped:
                _log.info("database.tended", months=made, dropped=dropped)
        await asyncio.sleep(pause)


def _noted(kept: Path) -> str:
    try:
        return kept.read_text()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise ConfigError(f"cannot use {kept}: {error.strerror}", reason=str(error)) from error


def _parse(setting: str) -> "PostgresUrl":
    from interlock.adapters.db.postgres import PostgresUrl

    return PostgresUrl.parse(setting)

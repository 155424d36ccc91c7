"""Where finished recordings are: what the configuration says, kept in the data directory for others who open it.

These are workers and ``ilctl``, which have no configuration. What is kept names the storage and holds no secret.
"""

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog

from interlock.adapters.blob.bucket import Bucket, BucketPlace
from interlock.adapters.blob.disk import DiskOfRecordings
from interlock.adapters.blob.files import FileRecordings
from interlock.adapters.blob.objects import BucketRecordings
from interlock.core.errors import ConfigError, StoreError
from interlock.daemons.config import RecordingsConfig
from interlock.domain.room import Bounds
from interlock.ports import Clock
from interlock.services.recordings.room import Room

TIDY_S = 3600.0
"""Seconds between two looks for uploads in parts that nobody will finish."""

PATIENCE_S = 5.0
"""Seconds that a start waits for the storage."""

STALE = timedelta(days=1)
"""Age at which an upload in parts counts as given up. The storage bills what it has of it."""

_KEPT = "recordings-store.json"

_log = structlog.get_logger()


def place_of(config: RecordingsConfig) -> BucketPlace | None:
    """The bucket, if recordings go to one; ConfigError names the setting that is wrong."""
    if not config.store:
        return None
    return BucketPlace.parse(
        config.store,
        endpoint=config.endpoint,
        region=config.region,
        credentials=config.credentials,
        path_style=config.path_style,
    )


def keep_place(data_dir: Path, config: RecordingsConfig) -> None:
    """Note in the data directory where recordings go; ConfigError if it cannot be written."""
    place, kept = place_of(config), data_dir / _KEPT
    try:
        if place is None:
            kept.unlink(missing_ok=True)
            return
        fresh = kept.with_suffix(".new")
        fresh.touch(0o600)
        fresh.write_bytes(msgspec.json.encode(place))
        fresh.replace(kept)
    except OSError as error:
        raise ConfigError(f"cannot use {kept}: {error.strerror}", reason=str(error)) from error


def open_recordings(data_dir: Path, directory: Path) -> FileRecordings:
    """The store of this data directory; ``directory``: of what is on this disk. Connects to nothing yet."""
    kept = data_dir / _KEPT
    try:
        place = msgspec.json.decode(kept.read_bytes(), type=BucketPlace)
    except FileNotFoundError:
        return FileRecordings(directory)
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(f"cannot use {kept}: {error}") from error
    return BucketRecordings(directory, Bucket(place))


def open_room(config: RecordingsConfig, directory: Path, *, keeper: bool = True) -> Room:
    """The room for recordings in this directory. ``keeper``: of several processes of one daemon one is."""
    mib = 1024 * 1024

    def bounds(total: int) -> Bounds:
        return Bounds.of(
            total,
            spill=config.spill_below_mib * mib,
            refuse=config.refuse_below_mib * mib,
            reserve=config.reserve_mib * mib,
        )

    return Room(DiskOfRecordings(directory), bounds, keeper=keeper)


async def check_store(recordings: FileRecordings) -> None:
    """ConfigError if recordings would not be safe in the storage. One that is away is no reason not to start."""
    if isinstance(recordings, BucketRecordings):
        try:
            async with asyncio.timeout(PATIENCE_S):
                await recordings.check()
        except TimeoutError:
            _log.warning("recordings.storage_away", reason=f"no answer within {PATIENCE_S:g} s")
        except StoreError as error:
            _log.warning("recordings.storage_away", reason=error.reason)


async def tend_store(recordings: FileRecordings, clock: Clock) -> None:
    """Tidy up until cancelled."""
    while isinstance(recordings, BucketRecordings):
        try:
            given_up = await recordings.tidy(clock.now() - STALE)
        except StoreError as error:
            _log.warning("recordings.not_tidied", reason=error.reason)
        else:
            if given_up:
                _log.info("recordings.tidied", uploads=given_up)
        await asyncio.sleep(TIDY_S)

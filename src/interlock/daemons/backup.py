"""Backups of a gateway: one tar file with all that cannot be made anew, and back from it.

::

    manifest.json      what it is, and the SHA-256 of everything behind it
    interlock.db       a copy of the database at one moment: authorities, people, roles, hosts, audit log
    daemon-id, ssh_host_ed25519_key, node/…   every other file beside it, so that nobody has to trust anew
    recordings/…       stored recordings, if asked for

It has the private keys of the cluster's authorities, so whoever has it is the cluster: files are 0600. Live
sessions and recordings in the making are not in it; their daemons finish them by themselves.
"""

import errno
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any

from interlock.adapters.db.snapshot import copy_database
from interlock.core.errors import ConfigError, NotFound
from interlock.daemons.database import DATABASE, database_place
from interlock.daemons.local import RECORDINGS
from interlock.domain.audit import rfc3339

FORMAT = "interlock-backup-1"

_MANIFEST = "manifest.json"
_LONGEST_MANIFEST = 64 * 1024 * 1024
_NOT_KEPT = ("lock", f"{DATABASE}-wal", f"{DATABASE}-shm", DATABASE)  # the last is copied by itself
_NODE = "node"  # the directory of a node in the gateway's own process
_STORED = (".ilr", ".completed")  # endings of stored recordings, and of notes on them
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}  # then it is copied
_PIECE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup has."""

    made: str
    files: int
    octets: int
    recordings: int


def make_backup(data_dir: Path, out: IO[bytes], *, recordings: bool, now: datetime) -> Contents:
    """Write a backup of this directory; the gateway may run meanwhile. NotFound if there is none. Blocks."""
    if not isinstance(database_place(data_dir), Path):
        raise ConfigError(
            "this cluster's database is PostgreSQL, which has its own backups: see docs/OPERATIONS.md"
        )
    if not (data_dir / DATABASE).exists():
        raise NotFound(f"there is no gateway in {data_dir}")
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".backup-") as folder:
        copy, kept = Path(folder) / DATABASE, Path(folder) / RECORDINGS
        if recordings:
            _keep(data_dir / RECORDINGS, kept)
        copy_database(data_dir / DATABASE, copy)
        members = {DATABASE: copy, **dict(_beside(data_dir))}
        if recordings:
            _keep(data_dir / RECORDINGS, kept)  # of which the database may tell already
            members |= {f"{RECORDINGS}/{path.name}": path for path in sorted(kept.iterdir())}
        sizes = {name: path.stat().st_size for name, path in members.items()}
        sums = {name: {"size": sizes[name], "sha256": _digest(path)} for name, path in members.items()}
        manifest = {"format": FORMAT, "made": rfc3339(now), "files": sums}
        with tarfile.open(fileobj=out, mode="w|") as tar:
            _add(tar, _MANIFEST, json.dumps(manifest, indent=1).encode())
            for name, path in members.items():
                with path.open("rb") as file:
                    tar.addfile(_info(name, sizes[name]), file)
    return _contents(manifest)


def restore_backup(source: IO[bytes], data_dir: Path) -> Contents:
    """Make a data directory of a backup. ConfigError if there is something already, or the backup is not whole.

    The directory appears when all of it was checked, and not at all if something is wrong. Blocks.
    """
    if data_dir.exists() and any(data_dir.iterdir()):
        raise ConfigError(f"{data_dir} is not empty: restore into a new directory")
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data_dir.parent, prefix=".restore-") as folder:
        made = Path(folder) / "data"
        made.mkdir(mode=0o700)
        manifest = _unpack(source, made)
        _sync(made)
        if data_dir.exists():
            data_dir.rmdir()
        made.rename(data_dir)
        _sync_directory(data_dir.parent)
    return _contents(manifest)


def _unpack(source: IO[bytes], made: Path) -> dict[str, Any]:
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            members = iter(tar)
            manifest = _manifest(tar, next(members, None))
            missing = dict(manifest["files"])
            for member in members:
                expected = missing.pop(member.name, None)
                content = tar.extractfile(member) if member.isreg() else None
                if expected is None or content is None:
                    raise ConfigError(f"this backup is damaged: {member.name[:100]!r} does not belong into it")
                if _write(made / member.name, content) != expected["sha256"]:
                    raise ConfigError(f"this backup is damaged: {member.name} is not what it was")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ConfigError(f"this backup cannot be read: {error}") from error
    if missing:
        raise ConfigError(f"this backup is damaged: {min(missing)} is missing")
    return manifest


def _manifest(tar: tarfile.TarFile, member: tarfile.TarInfo | None) -> dict[str, Any]:
    content = tar.extractfile(member) if member is not None and member.isreg() else None
    if member is None or content is None or member.name != _MANIFEST or member.size > _LONGEST_MANIFEST:
        raise ConfigError("this is not a backup of Interlock")
    try:
        manifest: dict[str, Any] = json.loads(content.read())
        known = manifest["format"] == FORMAT and DATABASE in manifest["files"]
        names = [PurePosixPath(name) for name in manifest["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError("this is not a backup of Interlock") from error
    if not known:
        raise ConfigError("this backup was made by another version of Interlock")
    if any(name.is_absolute() or ".." in name.parts for name in names):
        raise ConfigError("this backup is damaged: it has names that lead out of its directory")
    return manifest


def _beside(data_dir: Path) -> Iterator[tuple[str, Path]]:
    """The files of the directory itself, and of a node in it; not those below."""
    for folder in (data_dir, data_dir / _NODE):
        for path in sorted(folder.glob("*")):
            if path.is_file() and not path.is_symlink() and path.name not in _NOT_KEPT:
                yield path.relative_to(data_dir).as_posix(), path


def _keep(directory: Path, kept: Path) -> None:
    """Link what is stored there, since the gateway may remove it meanwhile; what has just gone is left out."""
    kept.mkdir(exist_ok=True)
    for path in directory.glob("*"):
        there = kept / path.name
        if path.suffix not in _STORED or not path.is_file() or there.exists():
            continue
        try:
            os.link(path, there)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            with suppress(FileNotFoundError):
                shutil.copyfile(path, there)


def _contents(manifest: dict[str, Any]) -> Contents:
    files = manifest["files"]
    return Contents(
        made=str(manifest["made"]),
        files=len(files),
        octets=sum(int(each["size"]) for each in files.values()),
        recordings=sum(name.startswith(f"{RECORDINGS}/") and name.endswith(_STORED[0]) for name in files),
    )


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o600
    return info


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    tar.addfile(_info(name, len(data)), io.BytesIO(data))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, content: IO[bytes]) -> str:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while piece := content.read(_PIECE):
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _sync(directory: Path) -> None:
    for path in (directory, *(each for each in directory.rglob("*") if each.is_dir())):
        _sync_directory(path)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Backups: whole, of one moment, and refused when they are not what they were."""

import errno
import io
import json
import os
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from interlock.adapters.db.snapshot import copy_database
from interlock.core.errors import ConfigError, NotFound
from interlock.core.ids import SessionId
from interlock.daemons.backup import make_backup, restore_backup
from interlock.daemons.database import DATABASE
from interlock.daemons.local import open_local
from interlock.ports import User

NOW = datetime(2026, 1, 2, tzinfo=UTC)
FOLDERS = ("live", "quarantine", "sync")
SID = SessionId("3a1b3ee8-e1a6-4bbe-8cbb-5b1d3a8f4a11")


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A gateway's directory with somebody in it, a host key, and a stored recording."""
    directory = tmp_path / "data"
    async with open_local(directory) as local:
        await local.users.add_user(User("alice", (), None, must_change=False, created=NOW))
        part = local.recordings.path(SID)
        part.write_bytes(b"a recording")
        await local.recordings.store(SID, part)
        part.unlink()
    (directory / "ssh_host_ed25519_key").write_text("key")
    (directory / "node").mkdir(exist_ok=True)
    (directory / "node" / "identity.json").write_text("{}")
    (directory / "lock").write_text("1")
    return directory


def backed_up(data: Path, *, recordings: bool = True) -> bytes:
    """A backup."""
    out = io.BytesIO()
    make_backup(data, out, recordings=recordings, now=NOW)
    return out.getvalue()


async def test_what_is_restored_is_what_was_there(data: Path, tmp_path: Path) -> None:
    """The same authorities and people, the identities, the recording; private; and no lock."""
    async with open_local(data) as local:
        authority = local.authority.export("user")
    new = tmp_path / "new"
    contents = restore_backup(io.BytesIO(backed_up(data)), new)
    assert (contents.recordings, contents.made) == (1, "2026-01-02T00:00:00.000Z")
    async with open_local(new) as local:
        assert local.authority.export("user") == authority
        assert [user.name for user in await local.users.users()] == ["alice"]
        assert b"".join([piece async for piece in local.recordings.read(SID)]) == b"a recording"
    assert (new / "daemon-id").read_text() == (data / "daemon-id").read_text()
    assert (new / "node" / "identity.json").read_text() == "{}"
    assert (new / "ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
    assert (new.stat().st_mode & 0o777, (new / "lock").exists()) == (0o700, False)


async def test_recordings_are_left_out_unless_they_are_asked_for(data: Path, tmp_path: Path) -> None:
    """They may be large, and stored elsewhere."""
    assert restore_backup(io.BytesIO(backed_up(data, recordings=False)), tmp_path / "new").recordings == 0


async def test_recordings_may_be_removed_and_stored_meanwhile(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By policy, and by sessions that end: what was there at any moment is in it, whole."""
    recordings = data / "recordings"
    removed, stored = recordings / f"{SID}.ilr", recordings / f"{SID[:-1]}2.ilr"

    def meanwhile(source: Path, copy: Path) -> None:
        copy_database(source, copy)
        removed.unlink()
        stored.write_bytes(b"a new one")

    monkeypatch.setattr("interlock.daemons.backup.copy_database", meanwhile)
    with tarfile.open(fileobj=io.BytesIO(backed_up(data))) as tar:
        for path, content in ((removed, b"a recording"), (stored, b"a new one")):
            file = tar.extractfile(f"recordings/{path.name}")
            assert file is not None
            assert file.read() == content
    assert sorted(recordings.glob("*")) == sorted([*(recordings / each for each in FOLDERS), stored])


async def test_a_recording_that_vanishes_is_left_out(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look at the directory and the look at it."""
    link = os.link

    def gone(source: Path, target: Path) -> None:
        source.unlink()
        link(source, target)

    monkeypatch.setattr("interlock.daemons.backup.os.link", gone)
    with tarfile.open(fileobj=io.BytesIO(backed_up(data))) as tar:
        assert not [name for name in tar.getnames() if name.startswith("recordings/")]


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EPERM])
async def test_a_disk_without_links_is_copied(data: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """As some file systems have none."""

    def refused(_source: Path, _target: Path) -> None:
        raise OSError(code, "no links here")

    monkeypatch.setattr("interlock.daemons.backup.os.link", refused)
    with tarfile.open(fileobj=io.BytesIO(backed_up(data))) as tar:
        assert f"recordings/{SID}.ilr" in tar.getnames()


async def test_a_backup_is_of_one_moment_while_others_write(data: Path, tmp_path: Path) -> None:
    """Two rows that are always written together are both in it, or neither is."""
    with closing(sqlite3.connect(data / DATABASE)) as setup, setup:
        setup.execute("CREATE TABLE pair (n INTEGER, half INTEGER)")
    going, done = threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(data / DATABASE, timeout=30)) as writer:
            for n in range(100_000):
                with writer:
                    writer.executemany("INSERT INTO pair VALUES (?, ?)", [(n, 0), (n, 1)])
                going.set()
                if done.is_set():
                    return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        going.wait(10)
        for n in range(3):
            restore_backup(io.BytesIO(backed_up(data)), tmp_path / str(n))
    finally:
        done.set()
        thread.join()
    for n in range(3):
        with closing(sqlite3.connect(tmp_path / str(n) / DATABASE)) as copy:
            counted = dict(copy.execute("SELECT half, COUNT(*) FROM pair GROUP BY half"))
        assert counted[0] == counted[1] > 0


def rewritten(data: bytes, change: Callable[[str, bytes], list[tuple[str, bytes]]]) -> bytes:
    """The same tar with other members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=out, mode="w") as new:
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            for name, octets in change(member.name, content.read()):
                info = tarfile.TarInfo(name)
                info.size = len(octets)
                new.addfile(info, io.BytesIO(octets))
    return out.getvalue()


def with_manifest(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The same with another manifest."""

    def one(name: str, octets: bytes) -> list[tuple[str, bytes]]:
        if name != "manifest.json":
            return [(name, octets)]
        manifest = json.loads(octets)
        change(manifest)
        return [(name, json.dumps(manifest).encode())]

    return rewritten(data, one)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "is not a backup": lambda _data: b"hello" * 1000,
    "cannot be read": lambda data: data[: len(data) // 2],
    "is not what it was": lambda data: rewritten(
        data, lambda n, o: [(n, o[:-1] + b"?" if n == "daemon-id" else o)]
    ),
    "is missing": lambda data: rewritten(data, lambda n, o: [] if n == "daemon-id" else [(n, o)]),
    "does not belong": lambda data: rewritten(
        data, lambda n, o: [(n, o), ("extra", b"")] if n == DATABASE else [(n, o)]
    ),
    "another version": lambda data: with_manifest(data, lambda m: m.update(format="interlock-backup-9")),
    "lead out": lambda data: with_manifest(data, lambda m: m["files"].update({"../x": {}})),
}


@pytest.mark.parametrize("words", DAMAGES)
async def test_a_damaged_backup_leaves_nothing(words: str, data: Path, tmp_path: Path) -> None:
    """And says what is wrong with it."""
    damaged = DAMAGES[words](backed_up(data))
    with pytest.raises(ConfigError) as caught:
        restore_backup(io.BytesIO(damaged), tmp_path / "place" / "new")
    if words != "is not a backup":
        assert words in caught.value.public
    assert list((tmp_path / "place").iterdir()) == []


async def test_nothing_is_overwritten(data: Path, tmp_path: Path) -> None:
    """Where something is, nothing is restored to; where there is no gateway, nothing is backed up."""
    backup = backed_up(data)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    with pytest.raises(ConfigError, match="not empty"):
        restore_backup(io.BytesIO(backup), tmp_path / "used")
    with pytest.raises(NotFound, match="there is no gateway"):
        make_backup(tmp_path / "typo", io.BytesIO(), recordings=False, now=NOW)
    assert not (tmp_path / "typo").exists()

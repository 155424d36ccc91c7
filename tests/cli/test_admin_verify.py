"""``ilctl recordings verify``."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from interlock.daemons.local import Local, open_local
from interlock.domain.audit import Kind
from interlock.domain.recording import Header
from interlock.domain.signing import DaemonRole
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.warrants import OwnKey
from interlock.testing.recordings import HEADER, NODE, SID, Made, made

Ilctl = Callable[..., Any]
OLD = Path(__file__).parents[1] / "domain" / "container" / "data" / "format1.ilr"


def local(data: Path, work: Callable[[Local], Awaitable[Made]]) -> Made:
    """Do something with the data directory."""

    async def run() -> Made:
        async with open_local(data, cluster_name="demo") as opened:
            return await work(opened)

    return asyncio.run(run())


@pytest.fixture
def stored(tmp_path: Path) -> Made:
    """A recording that a node has signed and auth has stored, with its session's start in the audit log."""

    async def work(local: Local) -> Made:
        key = OwnKey(local.authority, NODE, DaemonRole.NODE, clock=local.clock, entropy=local.entropy)
        recording = made(by=key(), header=_now(local))
        factory = EventFactory(cluster="demo", clock=local.clock, entropy=local.entropy)
        await local.audit.append(
            [factory.make(Kind.SESSION_START, {"user": "jeff", "recorded_by": local.daemon_id}, sid=SID)]
        )
        path = tmp_path / "arriving"
        path.write_bytes(recording.data)
        await local.recordings.store(SID, path)
        path.unlink()
        return recording

    return local(tmp_path / "data", work)


def _now(local: Local) -> Header:
    return replace(HEADER, start=local.clock.now().isoformat())


def test_a_stored_recording_is_verified(ilctl: Ilctl, stored: Made) -> None:
    """By its session's ID, among all, and as a file; by the gateway's own key or an exported one."""
    found = ilctl("recordings", "verify", SID)
    assert (found.code, found.out) == (0, f"{SID}: signed by node {NODE}; {len(stored.data)} bytes\n")
    assert ilctl("recordings", "verify", "--all").out == found.out
    [row] = ilctl("recordings", "verify", SID, "--format", "json").json()
    assert (row["ok"], row["vouched_bytes"], row["signer_role"]) == (True, len(stored.data), "node")
    assert not row["encrypted"]


def test_a_file_needs_nothing_but_the_exported_key(ilctl: Ilctl, stored: Made, tmp_path: Path) -> None:
    """Offline, and elsewhere; another installation's key says nothing about it."""
    file, key = tmp_path / "x.ilr", tmp_path / "key"
    file.write_bytes(stored.data)
    key.write_text(ilctl("auth", "export", "--type", "recordings").out)
    assert ilctl("recordings", "verify", file).code == 0
    assert ilctl("--data-dir", "/nonexistent", "recordings", "verify", file, "--key", key).code == 0
    (tmp_path / "other").mkdir(mode=0o700)
    key.write_text(ilctl("--data-dir", tmp_path / "other", "auth", "export", "--type", "recordings").out)
    wrong = ilctl("recordings", "verify", file, "--key", key)
    assert wrong.code == 1
    assert f"at byte {stored.offset(2)}: signed with a key" in wrong.out


def test_damage_is_named_and_fails(ilctl: Ilctl, stored: Made, tmp_path: Path) -> None:
    """On the disk where it is stored."""
    path = tmp_path / "data" / "recordings" / f"{SID}.ilr"
    path.chmod(0o600)
    path.write_bytes(stored.data[:-10])
    for which in (SID, "--all"):
        found = ilctl("recordings", "verify", which)
        assert found.code == 1
        assert found.out.startswith(f"{SID}: not what was recorded: at byte {stored.offset(8)}: ")
    path.unlink()
    assert ilctl("recordings", "verify", SID).code == 3
    gone = ilctl("recordings", "verify", "--all")
    assert (gone.code, gone.out) == (1, f"{SID}: missing\n")


def test_what_is_not_signed_fails_too(ilctl: Ilctl, tmp_path: Path) -> None:
    """Of format 1 or without a key: whole, but no proof."""
    (tmp_path / "x.ilr").write_bytes(made().data)
    found = ilctl("recordings", "verify", tmp_path / "x.ilr")
    assert (found.code, found.out) == (1, f"{tmp_path / 'x.ilr'}: not signed\n")
    old = ilctl("recordings", "verify", OLD)
    assert (old.code, old.out) == (1, f"{OLD}: not signed (format 1)\n")


def test_what_cannot_be_meant(ilctl: Ilctl, tmp_path: Path) -> None:
    """Nothing, two things, no file, no key."""
    assert ilctl("recordings", "verify").code == 2
    assert ilctl("recordings", "verify", SID, "--all").code == 2
    assert ilctl("recordings", "verify", tmp_path / "missing").code == 3
    (tmp_path / "key").write_text("no key")
    assert ilctl("recordings", "verify", OLD, "--key", tmp_path / "key").code == 1

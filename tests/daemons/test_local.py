"""A data directory is made once, kept private, and opened the same by everybody."""

import asyncio
import os
import stat
from pathlib import Path

import pytest

from interlock.core.errors import ConfigError
from interlock.daemons.local import Local, default_data_dir, open_local
from interlock.domain.duties import RecordingMode
from interlock.testing.clock import START, FakeClock
from interlock.testing.entropy import FakeEntropy


def everything_below(directory: Path) -> dict[str, int]:
    """Permissions of all files."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.rglob("*") if path.is_file()}


async def test_the_first_start_makes_everything_and_the_second_finds_it(tmp_path: Path) -> None:
    """Same daemon, same cluster, same authorities; the name given later does not count."""
    found: list[tuple[str, ...]] = []
    for name in ("demo", "other"):
        async with open_local(tmp_path / "data", cluster_name=name) as local:
            exports = (local.authority.export(kind) for kind in ("user", "host", "openssh", "recordings"))
            found.append((local.daemon_id, local.cluster.id, local.cluster.name, *exports))
            assert local.cluster.recording_mode is RecordingMode.NODE
    assert found[0] == found[1]
    assert found[0][2] == "demo"


async def test_nobody_has_access_at_first(tmp_path: Path) -> None:
    """No user, no role, no target: absent means denied."""
    async with open_local(tmp_path / "data") as local:
        assert await local.users.users() == []
        assert await local.roles.all_roles() == []
        assert await local.inventory.targets() == []


async def test_time_and_chance_come_from_outside(tmp_path: Path) -> None:
    """Down to the record of the cluster."""
    async with open_local(tmp_path / "data", clock=FakeClock(), entropy=FakeEntropy(5)) as local:
        assert local.cluster.created == START
        assert local.daemon_id.startswith("00000005-")


async def test_what_is_secret_is_private(tmp_path: Path) -> None:
    """The directory is 0700 and the database, which holds the authorities' keys, 0600."""
    async with open_local(tmp_path / "data"):
        modes = await asyncio.to_thread(everything_below, tmp_path / "data")
    assert modes["interlock.db"] == 0o600
    assert stat.S_IMODE((await asyncio.to_thread((tmp_path / "data").stat)).st_mode) == 0o700


async def test_two_processes_may_start_on_an_empty_directory_at_once(tmp_path: Path) -> None:
    """``ilctl`` beside the gateway: both see one daemon, one cluster, one set of keys."""

    async def open_once() -> tuple[str, str, str]:
        async with open_local(tmp_path / "data") as local:
            return local.daemon_id, local.cluster.id, local.authority.export("user")

    async with asyncio.TaskGroup() as tasks:
        both = [tasks.create_task(open_once()) for _ in range(3)]
    assert len({task.result() for task in both}) == 1


async def open_and_close(directory: Path) -> None:
    """Just that."""
    async with open_local(directory) as local:
        assert isinstance(local, Local)


async def test_a_directory_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    """Before anything is written into it."""
    for mode in (0o755, 0o710, 0o701):
        await asyncio.to_thread(tmp_path.chmod, mode)
        with pytest.raises(ConfigError, match="open to other users: run chmod 700"):
            await open_and_close(tmp_path)
    assert await asyncio.to_thread(everything_below, tmp_path) == {}


async def test_what_is_no_usable_directory_is_refused(tmp_path: Path) -> None:
    """A file in its place, and a directory of another user's."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot use the data directory"):
        await open_and_close(tmp_path / "file")


async def test_somebody_elses_directory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could read every key in it."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigError, match=r"belongs to .+: run this as .+"):
        await open_and_close(tmp_path)


async def test_a_damaged_daemon_id_is_not_replaced(tmp_path: Path) -> None:
    """A new one would orphan the sessions and recordings of the old one."""
    await open_and_close(tmp_path / "data")
    (tmp_path / "data" / "daemon-id").write_text("nonsense")
    with pytest.raises(ConfigError, match="restore it from your backup"):
        await open_and_close(tmp_path / "data")


def test_root_and_other_users_have_different_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the file system standard has it."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_data_dir() == Path("/var/lib/interlock")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("HOME", "/home/alice")
    assert default_data_dir() == Path("/home/alice/.local/share/interlock")

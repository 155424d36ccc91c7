"""Parts reach the disk while their sessions write, and a disk that does not keep them is told of once."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from interlock.adapters.blob import syncing
from interlock.adapters.blob.parts import LivePart
from interlock.adapters.blob.syncing import MANY, Syncer


class Disk:
    """Notes what is synced; a sync may be held, or fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.synced: list[str] = []
        self.error: OSError | None = None
        self.loop = asyncio.get_running_loop()
        self.changed = asyncio.Event()
        self._real = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", self._fdatasync)

    def _fdatasync(self, descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        error = self.error
        self.loop.call_soon_threadsafe(self._note, name)
        if error is not None:
            raise error
        self._real(descriptor)

    def _note(self, name: str) -> None:
        self.synced.append(name)
        self.changed.set()

    async def wait(self, count: int) -> None:
        """Until so many syncs were begun."""
        while len(self.synced) < count:
            self.changed.clear()
            async with asyncio.timeout(10):
                await self.changed.wait()


async def until(condition: Callable[[], bool]) -> None:
    """What a thread makes true, and announces to nobody."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def turns() -> None:
    """Let what is due in the loop happen."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_is_written_is_synced_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second write on: a header alone says nothing that the audit log does not say."""
    disk, part = Disk(monkeypatch), LivePart(tmp_path / "a", Syncer(tmp_path))
    part.append(b"header")
    await turns()
    assert disk.synced == []
    part.append(b"block")
    await disk.wait(1)
    part.append(b"block")
    await disk.wait(2)
    assert disk.synced == ["a", "a"]
    part.close()


async def test_a_part_that_is_closed_in_the_same_step_is_left_to_whoever_stores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short session costs no sync more than before."""
    disk, syncer = Disk(monkeypatch), Syncer(tmp_path)
    short, long = LivePart(tmp_path / "short", syncer), LivePart(tmp_path / "long", syncer)
    for part in (short, long):
        part.append(b"header")
        part.append(b"end")
    short.close()
    await disk.wait(1)
    assert disk.synced == ["long"]
    long.close()


async def test_a_failed_sync_is_the_next_writes_error_and_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel may report it once and forget it: a second sync that succeeds would prove nothing."""
    disk, part = Disk(monkeypatch), LivePart(tmp_path / "a", Syncer(tmp_path))
    disk.error = OSError(5, "Input/output error")
    part.append(b"header")
    part.append(b"block")
    await disk.wait(1)
    disk.error = None

    def refused() -> bool:
        try:
            part.append(b"more")
        except OSError as error:
            return error.errno == 5
        return False

    await until(refused)
    assert refused()
    part.close()


async def test_many_parts_are_synced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real syncfs; no part by itself. Its failure is every part's."""
    disk, syncer = Disk(monkeypatch), Syncer(tmp_path)
    rounds: list[OSError | None] = []
    done = asyncio.Event()
    real = syncing._sync_file_system

    def counted(directory: Path) -> OSError | None:
        rounds.append(real(directory))
        disk.loop.call_soon_threadsafe(done.set)
        return OSError(28, "No space left on device")

    monkeypatch.setattr(syncing, "_sync_file_system", counted)
    parts = [LivePart(tmp_path / str(n), syncer) for n in range(MANY + 1)]
    for part in parts:
        part.append(b"header")
        part.append(b"block")
    async with asyncio.timeout(10):
        await done.wait()
    assert (rounds, disk.synced) == ([None], [])
    await until(lambda: all(part._unsound is not None for part in parts))
    for part in parts:
        part.close()


async def test_a_part_may_be_closed_while_it_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits: the thread closes it."""
    import threading

    entered, leave = threading.Event(), threading.Event()

    def slow(_descriptor: int) -> None:
        entered.set()
        assert leave.wait(10)

    monkeypatch.setattr(os, "fdatasync", slow)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    part = LivePart(tmp_path / "a", Syncer(tmp_path))
    part.append(b"header")
    part.append(b"block")
    await asyncio.to_thread(entered.wait, 10)
    part.close()
    leave.set()
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before)  # noqa: PTH208

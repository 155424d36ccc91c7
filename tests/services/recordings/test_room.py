"""Room for recordings, looked at in time and not for every block."""

import asyncio

import pytest

from interlock.core.errors import RecordingError, StoreError
from interlock.domain.room import Bounds, Step, Usage
from interlock.services.recordings.room import LOOK_S, SHARE, Room
from interlock.testing.clock import FakeClock
from interlock.testing.stores import VirtualSleep

KIB = 1024
BOUNDS = Bounds(spill=1000 * KIB, refuse=500 * KIB, reserve=100 * KIB)


class Disk:
    """`ports.RecordingDisk` that says what the test wants."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.held = 0
        self.looks = 0
        self.broken = False

    def usage(self) -> Usage:
        """As it is."""
        self.looks += 1
        if self.broken:
            raise StoreError("broken")
        return Usage(10_000 * KIB, self.free, self.held)

    def hold(self, size: int) -> None:
        """Takes it from what is free."""
        if self.free < size:
            raise StoreError("full")
        self.free, self.held = self.free + self.held - size, size

    def release(self) -> None:
        """Gives it back."""
        self.free, self.held = self.free + self.held, 0


def room_on(disk: Disk, *, keeper: bool = True) -> Room:
    """A room that nobody looks at but the test."""
    return Room(disk, lambda _total: BOUNDS, keeper=keeper)


def test_a_new_recording_looks_and_is_refused_in_words() -> None:
    """However long ago the last look was."""
    disk = Disk(5000 * KIB)
    room = room_on(disk)
    room.admit()
    disk.free = 500 * KIB
    with pytest.raises(RecordingError, match="no room left for recordings") as caught:
        room.admit()
    assert "512000 bytes free" in caught.value.reason
    assert room.counts.refused == 1
    disk.free = 5000 * KIB
    room.admit()


def test_writers_look_after_a_share_of_what_is_free() -> None:
    """So that many processes cannot fill it between two looks, and a block is no system call."""
    disk = Disk(9000 * KIB)
    room = room_on(disk)
    room.look()
    above = disk.free - BOUNDS.reserve - BOUNDS.last
    looks = disk.looks
    for _ in range(above // SHARE // KIB):
        assert room.take(KIB)
    assert disk.looks == looks
    assert room.take(KIB)
    assert disk.looks == looks + 1


def test_at_the_last_step_nothing_is_written_and_the_reserve_is_given_away() -> None:
    """Every process stops; the one that keeps the reserve gives it away."""
    disk = Disk(BOUNDS.last - 1)
    disk.held = BOUNDS.reserve
    other = room_on(disk, keeper=False)
    assert not other.take(1)
    assert disk.held == BOUNDS.reserve
    keeper = room_on(disk)
    assert not keeper.take(1)
    assert disk.held == 0
    assert keeper.step is Step.RESERVE
    assert not keeper.take(1)
    assert (keeper.counts.stopped, keeper.counts.steps) == (2, 1)


def test_a_disk_that_cannot_be_read_changes_nothing() -> None:
    """The disk itself will say when it is full."""
    disk = Disk(9000 * KIB)
    room = room_on(disk)
    room.look()
    disk.broken = True
    assert room.look() is Step.ENOUGH
    room.admit()


async def test_every_second_is_looked_and_the_reserve_made_again() -> None:
    """Steps are told up and down, each once."""
    disk, clock = Disk(9000 * KIB), FakeClock()
    sleep = VirtualSleep(clock)
    room = Room(disk, lambda _total: BOUNDS, sleep=sleep)
    told: list[tuple[Step, Step]] = []
    room.follow(lambda before, now, _usage: told.append((before, now)))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(room.run())
        await sleep.wait_sleeper(LOOK_S)
        assert disk.held == BOUNDS.reserve
        disk.free = 0
        sleep.advance(LOOK_S)
        await sleep.wait_sleeper(LOOK_S)
        assert disk.held == 0
        disk.free = 9000 * KIB
        sleep.advance(LOOK_S)
        await sleep.wait_sleeper(LOOK_S)
        assert disk.held == BOUNDS.reserve
        running.cancel()
    assert told == [(Step.ENOUGH, Step.RESERVE), (Step.RESERVE, Step.ENOUGH)]

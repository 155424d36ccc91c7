"""What a daemon does when the disk of its recordings fills up: the steps of `domain.room`, looked at and acted on.

At the last step nothing is recorded any more, and the file that held some room goes: what it held is for the audit
log, the database of whoever signs in, and the ends of recordings. So people whose roles ask for best effort get in
and are told of in the audit log, however full the disk is.
"""

import asyncio
import errno
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from interlock.core.errors import RecordingError, StoreError
from interlock.domain.room import Bounds, Step, Usage
from interlock.ports import RecordingDisk, RecordingPart
from interlock.services.audit.outbox import Sleep

LOOK_S = 1.0
"""Seconds between two looks. Who begins to record looks as well, and who has recorded a share of what was free."""

SHARE = 16
"""Recorders may write a sixteenth of what is free above the last step's bound before they look again: there may be
as many processes."""

NO_ROOM = "the session cannot be recorded: there is no room left for recordings, please tell an administrator"

_log = structlog.get_logger()

OnStep = Callable[[Step, Step, Usage], None]
"""Gets the step before, the step now, and what led to it."""


@dataclass(slots=True)
class RoomCounts:
    """What happened so far, for whoever watches."""

    steps: int = 0  # from one step to another
    refused: int = 0  # recordings that did not begin
    stopped: int = 0  # blocks that were not written


class Room:
    """Of one process. `run` belongs into a TaskGroup of the daemon."""

    def __init__(
        self,
        disk: RecordingDisk,
        bounds: Callable[[int], Bounds],
        *,
        keeper: bool = True,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``bounds``: of a disk of that size. ``keeper``: whether this process sets something aside, and tells."""
        self.keeper = keeper
        self.counts = RoomCounts()
        self.usage = Usage(0, 0, 0)
        self.step = Step.ENOUGH
        self._disk = disk
        self._bounds_of = bounds
        self._bounds = bounds(0)
        self._sleep = sleep
        self._followers: list[OnStep] = []
        self._budget = 0  # bytes that may be written before the next look
        self._failing = False

    def follow(self, on_step: OnStep) -> None:
        """Call this at every step, from now on."""
        self._followers.append(on_step)

    def look(self) -> Step:
        """Where the disk is now. One that cannot be read changes nothing."""
        try:
            usage = self._disk.usage()
        except StoreError as error:
            if not self._failing:
                _log.error("room.unknown", reason=error.reason)
            self._failing = True
            return self.step
        self._failing = False
        if usage.total != self.usage.total:
            self._bounds = self._bounds_of(usage.total)
        self.usage = usage
        before, self.step = self.step, self._bounds.step(usage, self.step)
        above = usage.free + usage.held - self._bounds.reserve - self._bounds.last
        self._budget = max(0, above // SHARE)
        if self.step is Step.RESERVE and self.keeper:
            self._disk.release()
        if self.step is not before:
            self.counts.steps += 1
            _log.warning("room.step", was=before.name, now=self.step.name, free=usage.free)
            for on_step in self._followers:
                on_step(before, self.step, usage)
        return self.step

    def admit(self) -> None:
        """A recording is about to begin; RecordingError if there is no room for it."""
        try:
            self.check()
        except RecordingError:
            self.counts.refused += 1
            raise

    def check(self) -> None:
        """RecordingError if no recording may begin."""
        if self.look() >= Step.REFUSE:
            reason = f"{NO_ROOM} ({self.usage.free} bytes free, step {self.step.name})"
            raise RecordingError(NO_ROOM, reason=reason)

    def take(self, size: int) -> bool:
        """Whether so many bytes may be written. On the path of packets: it looks at the disk only now and then."""
        self._budget -= size
        if self._budget < 0 and self.look() is not Step.RESERVE:
            self._budget -= size
        if self.step is Step.RESERVE:
            self.counts.stopped += 1
            return False
        return True

    async def run(self) -> None:
        """Look until cancelled, and set aside again what was given away, once there is room for it."""
        while True:
            step = self.look()
            if self.keeper and step is not Step.RESERVE and self.usage.held < self._bounds.reserve:
                try:
                    await asyncio.to_thread(self._disk.hold, self._bounds.reserve)
                except StoreError as error:
                    _log.warning("room.nothing_set_aside", reason=error.reason)
            await self._sleep(LOOK_S)


class RoomyPart:
    """`ports.RecordingPart`: a part that grows only while there is room."""

    def __init__(self, part: RecordingPart, room: Room) -> None:
        self._part = part
        self._room = room

    def append(self, data: bytes) -> None:
        """OSError if there is no room, or if the disk refuses."""
        if not self._room.take(len(data)):
            raise OSError(errno.ENOSPC, "no room is left for recordings")
        self._part.append(data)

    def close(self) -> None:
        """Close it."""
        self._part.close()

    def remove(self) -> None:
        """There never was a recording."""
        self._part.remove()

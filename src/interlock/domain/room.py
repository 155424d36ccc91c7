"""How much room the disk of a daemon's recordings has, as steps of a ladder: what is done about it at each."""

from dataclasses import dataclass
from enum import IntEnum

EASE = 1.25
"""How far above a bound the room must be for the step below it, so that nobody goes up and down all day."""

_MIB = 1024 * 1024


class Step(IntEnum):
    """Each with all that the ones before it have."""

    ENOUGH = 0
    SPILL = 1  # what waits goes to the storage as fast as that takes it
    REFUSE = 2  # no new recordings: strict sessions do not begin, those with best effort begin without
    RESERVE = 3  # no recordings at all; what was set aside is given to the audit log and the ends of recordings


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes of a file system, as a daemon may use it."""

    total: int
    free: int
    held: int  # by the file that is only there to be removed


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bytes that are free beside what is set aside, below which each step begins; and how much is set aside."""

    spill: int
    refuse: int
    reserve: int

    @classmethod
    def of(cls, total: int, *, spill: int = 0, refuse: int = 0, reserve: int = 0) -> "Bounds":
        """Zero: by the size of the disk, so that a small one is of use too."""
        return cls(
            spill or min(2048 * _MIB, total // 10),
            refuse or min(512 * _MIB, total // 25),
            reserve or min(32 * _MIB, total // 50),
        )

    @property
    def last(self) -> int:
        """Below this nothing is recorded: enough for the rest of what is under way."""
        return self.reserve // 4

    def step(self, usage: Usage, before: Step) -> Step:
        """Where the daemon is, coming from another step."""
        free = usage.free + usage.held - self.reserve
        for step, bound in ((Step.RESERVE, self.last), (Step.REFUSE, self.refuse), (Step.SPILL, self.spill)):
            if free < (bound * EASE if before >= step else bound):
                return step
        return Step.ENOUGH

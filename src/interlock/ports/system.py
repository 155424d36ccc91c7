"""Narrow protocols: what every daemon is given: time and randomness."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time as an argument."""

    def now(self) -> datetime:
        """The wall clock, in UTC with time zone."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards, for durations."""
        ...


class Entropy(Protocol):
    """Randomness as an argument."""

    def uuid(self) -> str:
        """A new random UUID in canonical form."""
        ...

    def token(self, size: int) -> bytes:
        """``size`` unpredictable bytes."""
        ...

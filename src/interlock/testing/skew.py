"""A daemon whose clock jumps: libfaketime between it and the C library, told by a file what time it is.

Only the time of day is another: durations (the monotonic clock), files' times and other processes' clocks stay.
"""

from pathlib import Path

from interlock.testing.procs import KitError

_CACHED_S = 1
"""Seconds after which the daemon looks into the file again."""


def library() -> Path:
    """Where it is; KitError if it is not installed."""
    found = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if found is None:
        msg = "libfaketime is missing: scripts/setup.sh --tools installs it"
        raise KitError(msg)
    return found


class Skew:
    """By how much a clock is wrong: not at all at first."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    @property
    def env(self) -> dict[str, str]:
        """For the daemon."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(_CACHED_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            "NO_FAKE_STAT": "1",
        }

    def set(self, hours: int) -> None:
        """From the next second on; replaced as a whole, so that nobody reads half of it."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{hours * 3600:+d}\n")
        fresh.replace(self._file)

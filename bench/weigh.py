"""What processes hold and do, by /proc."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from interlock.testing.procs import cpu_clock, descendants, poll_until


def held_kb(pids: Iterable[int]) -> int:
    """Resident memory of these processes in kB, without the files that they map; those that have gone hold none.

    What several of them share is divided between them. Files are left out: programs and libraries are shared with
    every other Python on the machine, so that their part changes whenever one of those starts or ends.
    """
    return sum(_resident(pid) for pid in pids)


def _resident(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def tree(pid: int, *, without: str) -> list[int]:
    """A process and those below it, except those of that name."""
    return [each for each in (pid, *descendants(pid)) if _name(each) != without]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def wake_ups(pids: Iterable[int]) -> int:
    """How often all threads of these processes have gone to sleep so far, which is how often they were woken."""
    total = 0
    for pid in pids:
        for status in Path(f"/proc/{pid}/task").glob("*/status"):
            lines = status.read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
    return total


def wait_calm(pids: Callable[[], Iterable[int]], *, for_s: float = 1.0, busy: float = 0.03) -> None:
    """Return when the processes have used less than ``busy`` of a core for ``for_s`` seconds."""
    since, used = time.monotonic(), sum(map(cpu_clock, pids()))

    def calm() -> bool:
        nonlocal since, used
        now, total = time.monotonic(), sum(map(cpu_clock, pids()))
        if total - used > busy * for_s:
            since, used = now, total
        return now - since >= for_s

    poll_until(calm, "calm", timeout=60)

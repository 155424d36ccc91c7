"""One measurement each: set-up time, bulk transfer, keystroke echo. Each is a whole run of the real client."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from bench.paths import Way
from interlock.testing.openssh import clean_env
from interlock.testing.procs import KitError, cpu_seconds
from interlock.testing.terminal import Terminal

MEGA = 1_000_000


@dataclass(frozen=True, slots=True)
class Bulk:
    """A transfer: speed with the set-up time taken off, and the gateway's CPU time where there is one."""

    mb_per_s: float
    relay_cpu_s_per_gb: float | None


def set_up_ms(way: Way) -> float:
    """Milliseconds from starting ``ssh host true`` to its end."""
    began = time.perf_counter()
    _run(way.argv("true"), None)
    return (time.perf_counter() - began) * 1000


def download(way: Way, size: int, set_up_s: float) -> Bulk:
    """Zeros from the target into /dev/null."""
    return _bulk(way, size, set_up_s, [f"head -c {size} /dev/zero"], None)


def upload(way: Way, size: int, set_up_s: float, source: Path) -> Bulk:
    """The first ``size`` bytes of ``source`` (which is that long) to the target's /dev/null."""
    return _bulk(way, size, set_up_s, ["cat >/dev/null"], source)


def echo_us(way: Way, strokes: int) -> list[float]:
    """Round-trip microseconds of single keys through a PTY, after 50 that warm up."""
    with Terminal(way.argv("stty raw -echo; printf ready; exec cat", tty=True), env=clean_env()) as terminal:
        terminal.expect("ready")
        times = [_stroke(terminal) for _ in range(strokes + 50)]
    return times[50:]


def _stroke(terminal: Terminal) -> float:
    began = time.perf_counter()
    terminal.send("x")
    terminal.expect("x", timeout=10)
    return (time.perf_counter() - began) * 1e6


def _bulk(way: Way, size: int, set_up_s: float, command: list[str], source: Path | None) -> Bulk:
    cpu = cpu_seconds(way.relay_pid) if way.relay_pid else 0.0
    began = time.perf_counter()
    _run(way.argv(*command), source)
    taken = time.perf_counter() - began - set_up_s
    used = (cpu_seconds(way.relay_pid) - cpu) / (size / 1e9) if way.relay_pid else None
    return Bulk(size / MEGA / max(taken, 1e-3), used)


def _run(argv: list[str], source: Path | None) -> None:
    """Run to the end with the output thrown away by the kernel, so that the measuring process costs nothing."""
    with Path(source or "/dev/null").open("rb") as stdin:
        done = subprocess.run(
            argv, stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=clean_env(), check=False
        )
    if done.returncode:
        msg = f"{' '.join(argv)}: exit code {done.returncode}\n{done.stderr.decode('utf-8', 'replace')}"
        raise KitError(msg)

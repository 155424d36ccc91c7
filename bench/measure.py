"""One measurement each, by a whole run of the real client, and what the gateway used for it."""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from bench.results import percentile
from bench.ways import GCM, Gateway, Way
from interlock.testing.openssh import clean_env
from interlock.testing.procs import KitError
from interlock.testing.terminal import Terminal

MEGA, GIGA = 1e6, 1e9


@dataclass(slots=True)
class SetUps:
    """What setting up takes by each way, which is taken off the time of a transfer. Measured when first asked."""

    known: dict[tuple[str, bool], float] = field(default_factory=dict)

    def seconds(self, way: Way, *, tty: bool = False) -> float:
        """The fastest of a few."""
        if (way.name, tty) not in self.known:
            self.known[way.name, tty] = min(set_up_ms(way, tty=tty) for _ in range(4)) / 1000
        return self.known[way.name, tty]


def set_up_ms(way: Way, *, tty: bool = False) -> float:
    """Milliseconds from starting ``ssh host true`` to its end."""
    began = time.perf_counter()
    run_client(way.argv("true", tty=tty))
    return (time.perf_counter() - began) * 1000


@dataclass(frozen=True, slots=True)
class Transfer:
    """What moved some bytes: speed with the set-up taken off, and the gateway's CPU time if it is one of ours."""

    mb_per_s: float
    cpu_s_per_gb: float | None


def transfer(
    way: Way, argv: Sequence[str], size: int, set_up_s: float, *, source: Path | None = None, stdin: bytes = b""
) -> Transfer:
    """Run a client that moves ``size`` bytes.

    The CPU time is all that the gateway spends until everything of the session is stored, set-up included: 10 ms.
    """
    if way.gateway is None:
        return Transfer(size / MEGA / _timed(argv, set_up_s, source, stdin), None)
    before = way.gateway.cpu_s()
    with way.gateway.storing(1, recorded=way.recorded):
        taken = _timed(argv, set_up_s, source, stdin)
    return Transfer(size / MEGA / taken, (way.gateway.cpu_s() - before) / (size / GIGA))


def _timed(argv: Sequence[str], set_up_s: float, source: Path | None, stdin: bytes) -> float:
    began = time.perf_counter()
    run_client(argv, source=source, stdin=stdin)
    return max(time.perf_counter() - began - set_up_s, 1e-3)


def download(way: Way, size: int, set_up_s: float, cipher: str = GCM) -> Transfer:
    """Zeros from the target into /dev/null."""
    return transfer(way, way.argv(f"head -c {size} /dev/zero", cipher=cipher), size, set_up_s)


def upload(way: Way, size: int, set_up_s: float, source: Path, cipher: str = GCM) -> Transfer:
    """The file ``source``, which is ``size`` long, to the target's /dev/null."""
    return transfer(way, way.argv("cat >/dev/null", cipher=cipher), size, set_up_s, source=source)


def echo_us(way: Way, strokes: int) -> tuple[float, float]:
    """Median and 99th percentile of the round trips of single keys through a PTY, after 50 that warm up."""
    command = "stty raw -echo; printf ready; exec cat"
    with Terminal(way.argv(command, tty=True), env=clean_env()) as terminal:
        terminal.expect("ready")
        times = [_stroke(terminal) for _ in range(strokes + 50)][50:]
    return percentile(times, 0.5), percentile(times, 0.99)


def _stroke(terminal: Terminal) -> float:
    began = time.perf_counter()
    terminal.send("x")
    terminal.expect("x", timeout=10)
    return (time.perf_counter() - began) * 1e6


def session_cpu_ms(gateway: Gateway, way: Way, sessions: int) -> float:
    """What the gateway spends on each of these short sessions until all of it is stored."""
    before = gateway.cpu_s()
    with gateway.storing(sessions, recorded=way.recorded):
        for _ in range(sessions):
            run_client(way.argv("true"))
    return (gateway.cpu_s() - before) / sessions * 1000


def run_client(argv: Sequence[str], *, source: Path | None = None, stdin: bytes = b"") -> None:
    """Run to the end with the output thrown away by the kernel, so that the measuring process costs nothing."""
    with tempfile.TemporaryFile() as typed:
        typed.write(stdin)
        typed.seek(0)
        with source.open("rb") if source else nullcontext(typed) as file:
            done = subprocess.run(
                argv, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=clean_env(), check=False
            )
    if done.returncode:
        msg = f"{' '.join(argv)}: exit code {done.returncode}\n{done.stderr.decode('utf-8', 'replace')}"
        raise KitError(msg)

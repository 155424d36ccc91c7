"""Faults of the kernel's own making, put into a running process by strace: a call that fails, or a kill instead.

What is called is the real thing, on a real file system; only the answer to one call is another. A process under
strace is slower, and otherwise as it always is.
"""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from interlock.testing.gateway import Cluster
from interlock.testing.procs import KitError, poll_until

STEPS = ("pwrite64", "write", "fdatasync", "fsync", "link", "rename", "unlink", "ftruncate")
"""What changes anything on disk: SQLite writes by pwrite64, parts by write. Each call is a named step."""

ALL = os.environ.get("INTERLOCK_FAULTS") == "all"
"""Whether faults strike at every step; otherwise at a few of each kind."""

_STARTED = "attached"
_CALL = re.compile(r"^\d+ +(\w+)\((.*)")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at the n-th call of its kind, in the first thread that gets so far: strace counts in each."""

    call: str
    nth: int
    what: str  # as strace has it: error=EIO, signal=KILL, delay_enter=…
    until: str = ""  # "+": also at all later ones

    @property
    def option(self) -> str:
        """For strace."""
        return f"inject={self.call}:{self.what}:when={self.nth}{self.until}"


@dataclass(frozen=True, slots=True)
class Call:
    """One that was seen."""

    name: str
    text: str  # its arguments and its answer


class Trace:
    """What strace has said of a process."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def text(self) -> str:
        """All of it."""
        return self._log.read_text(errors="replace")

    def calls(self) -> list[Call]:
        """What was seen so far, on files below a directory of ours or not; unfinished lines are left out."""
        lines = self.text().splitlines()
        return [
            Call(found[1], found[2]) for line in lines if (found := _CALL.match(line)) and "resumed>" not in line
        ]

    def count(self, name: str) -> int:
        """How often this was called."""
        return sum(call.name == name for call in self.calls())

    def struck(self) -> bool:
        """Whether a fault has come about."""
        text = self.text()
        return "(INJECTED)" in text or "(DELAYED)" in text or "killed by SIGKILL" in text


class Tracer(Trace):
    """strace on a process and its threads and children, from construction to `stop`."""

    def __init__(
        self,
        pid: int,
        log: Path,
        *,
        calls: Sequence[str] = STEPS,
        faults: Sequence[Fault] = (),
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(log)
        argv = [*_strace(log, calls, faults), "-p", str(pid), *options]
        self._child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said, errors = "", self._child.stderr
        while errors is not None and _STARTED not in said and (line := errors.readline()):
            said += line
        if _STARTED not in said:
            self.stop()
            raise KitError(f"strace did not start: {said}")

    def stop(self) -> None:
        """Let the process go on untraced."""
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        if self._child.stderr is not None:
            self._child.stderr.close()


def _strace(log: Path, calls: Sequence[str], faults: Sequence[Fault]) -> list[str]:
    traced = [*calls, *(fault.call for fault in faults if fault.call not in calls)]
    words = ["strace", "-f", "-y", "-o", str(log), "-e", f"trace={','.join(traced)}"]
    return [*words, *(word for fault in faults for word in ("-e", fault.option))]


@contextlib.contextmanager
def traced(
    pid: int, *faults: Fault, calls: Sequence[str] = STEPS, options: Sequence[str] = ()
) -> Iterator[Tracer]:
    """Trace a process meanwhile."""
    with TemporaryDirectory() as folder:
        tracer = Tracer(pid, Path(folder) / "strace", calls=calls, faults=faults, options=options)
        try:
            yield tracer
        finally:
            tracer.stop()


def wait_struck(tracer: Trace, what: str) -> None:
    """Return when the fault has come about."""
    poll_until(lambda: tracer.struck() or None, what)


@contextlib.contextmanager
def traced_start(cluster: Cluster, *faults: Fault, of: Path) -> Iterator[Trace]:
    """Start a cluster's gateway, traced from its first instruction on and until the end of this block.

    ``of``: the one file about which the calls are that are looked at and fail.
    """
    with TemporaryDirectory() as folder:
        log = Path(folder) / "strace"
        calls = [fault.call for fault in faults]
        # As a grandchild, strace is nobody's parent: the gateway has the ID that it has without.
        cluster.gateway_wrapper = [*_strace(log, calls, faults), "-D", "-I", "2", "-P", str(of)]
        try:
            cluster.gateway = cluster.start_gateway()
        finally:
            cluster.gateway_wrapper = []
        try:
            yield Trace(log)
        finally:
            _let_go(cluster.gateway.pid)


def _let_go(pid: int) -> None:
    """End whoever traces a process."""

    def tracer() -> int:
        with contextlib.suppress(FileNotFoundError):
            status = Path(f"/proc/{pid}/status").read_text()
            return int(status.partition("TracerPid:")[2].split()[0])
        return 0

    if found := tracer():
        os.kill(found, signal.SIGTERM)
        poll_until(lambda: not tracer() or None, "end of strace")

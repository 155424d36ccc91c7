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

from interlock.testing.procs import KitError, poll_until

STEPS = ("pwrite64", "write", "fdatasync", "fsync", "link", "rename", "unlink", "ftruncate")
"""What changes anything on disk: SQLite writes by pwrite64, parts by write. Each call is a named step."""

ALL = os.environ.get("INTERLOCK_FAULTS") == "all"
"""Whether faults strike at every step; otherwise at a few of each kind."""

_STARTED = "attached"
_CALL = re.compile(r"^\d+ +(\w+)\((.*)")


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at the n-th call of its kind."""

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


class Tracer:
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
        self._log = log
        argv = ["strace", "-f", "-y", "-p", str(pid), "-o", str(log), "-e", f"trace={','.join(calls)}", *options]
        for fault in faults:
            argv += ["-e", fault.option]
        self._child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        said, errors = "", self._child.stderr
        while errors is not None and _STARTED not in said and (line := errors.readline()):
            said += line
        if _STARTED not in said:
            self.stop()
            raise KitError(f"strace did not start: {said}")

    def text(self) -> str:
        """All that it has said."""
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


def wait_struck(tracer: Tracer, what: str) -> None:
    """Return when the fault has come about."""
    poll_until(lambda: tracer.struck() or None, what)

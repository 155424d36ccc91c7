"""Child processes with an owner: daemons that log to a file, and commands that run to their end.

Everything is ended by process ID, and every failure message carries the tail of the log. Blocking on purpose:
from a coroutine use ``asyncio.to_thread``.
"""

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

START_S = 30.0
"""Time a daemon may take to answer: generous, as several test runs may share one core."""
STOP_S = 15.0
"""Time between SIGTERM and SIGKILL."""
_RETRY_S = 0.03


class KitError(RuntimeError):
    """A process of the test kit did not do what it was started for."""


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended. ``rc`` is negative for a signal."""

    argv: tuple[str, ...]
    rc: int
    out: bytes
    err: bytes

    @property
    def stdout(self) -> str:
        """Standard output as text."""
        return self.out.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """Standard error as text."""
        return self.err.decode("utf-8", "replace")

    def check(self) -> Self:
        """Itself if the command succeeded; KitError with both outputs otherwise."""
        if self.rc != 0:
            msg = f"{' '.join(self.argv)}: exit code {self.rc}\n{self.stdout[-2000:]}{self.stderr[-4000:]}"
            raise KitError(msg)
        return self


def run(
    argv: Sequence[str | Path],
    *,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 60.0,
) -> Completed:
    """Run a command to its end; with all it started it is killed when ``timeout`` seconds have passed."""
    args = [str(a) for a in argv]
    with subprocess.Popen(
        args,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=cwd,
        start_new_session=True,
    ) as child:
        try:
            out, err = child.communicate(stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            kill_tree(child.pid)
            out, err = child.communicate()
            tail = (out[-2000:] + err[-4000:]).decode("utf-8", "replace")
            msg = f"{' '.join(args)}: not finished after {timeout} s\n{tail}"
            raise KitError(msg) from None
    return Completed(tuple(args), child.returncode, out, err)


class Profiles:
    """Whether the shells of daemons started from now on read the profile of the account that runs the tests.

    What a developer's profile does is none of our business, and may take a second for each of thousands of shells,
    or a minute while one that a test has killed holds a lock. So daemons get a mount namespace where it is empty.
    """

    hidden = False  # set once, before anything is started

    @classmethod
    def hide(cls) -> None:
        """From now on, if this machine lets us."""
        cls.hidden = subprocess.run([*_IN_NAMESPACE, "true"], check=False, capture_output=True).returncode == 0

    @classmethod
    def wrapped(cls, argv: Sequence[str]) -> list[str]:
        """The command that starts ``argv`` under the same process ID."""
        return [*_IN_NAMESPACE, *argv] if cls.hidden else list(argv)


_EMPTY = """
for each in .profile .bash_profile .bash_login .bashrc; do
    [ ! -e "$HOME/$each" ] || mount --bind /dev/null "$HOME/$each" || exit 1
done
exec "$@"
"""
_IN_NAMESPACE = ("unshare", "--mount", "sh", "-c", _EMPTY, "sh")


class Daemon:
    """A long-running child: started on construction, stopped by `stop` or the end of the ``with`` block."""

    def __init__(
        self, argv: Sequence[str | Path], *, log: Path, env: Mapping[str, str] | None = None, name: str = ""
    ) -> None:
        self.argv = [str(a) for a in argv]
        self.name = name or Path(self.argv[0]).name
        self.log = log
        with log.open("ab") as output:
            self._child = subprocess.Popen(
                Profiles.wrapped(self.argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,
            )
        self._pidfd = os.pidfd_open(self._child.pid)

    @property
    def pid(self) -> int:
        """The process ID; of a dead process once `running` is false."""
        return self._child.pid

    @property
    def pids(self) -> list[int]:
        """Itself and every process below it now: a gateway's supervisor first, then its workers."""
        return [self.pid, *descendants(self.pid)]

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._child.poll() is None

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._child.poll()

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of what it wrote."""
        text = self.log.read_text("utf-8", "replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def failure(self, what: str) -> KitError:
        """An error that names the process and shows its log."""
        state = "runs" if self.running else f"ended with {self.returncode}"
        return KitError(f"{self.name} ({state}): {what}\n--- {self.log}\n{self.log_tail()}")

    def wait_until(self, ready: Callable[[], T | None], what: str, timeout: float = START_S) -> T:
        """The first true result of ``ready``; KitError when the process ends or ``timeout`` passes first."""
        deadline = time.monotonic() + timeout
        while True:
            if result := ready():
                return result
            if not self.running:
                raise self.failure(f"ended before {what}")
            if time.monotonic() >= deadline:
                raise self.failure(f"no {what} after {timeout} s")
            select.select([self._pidfd], [], [], _RETRY_S)

    def wait_port(self, host: str, port: int, timeout: float = START_S) -> None:
        """Wait until it accepts connections."""
        self.wait_until(lambda: accepts(host, port), f"answer on {host}:{port}", timeout)

    def wait_log(self, text: str, timeout: float = START_S) -> None:
        """Wait until ``text`` is in the log."""
        self.wait_until(
            lambda: self.log.exists() and text in self.log.read_text("utf-8", "replace"),
            f"{text!r} in the log",
            timeout,
        )

    def signal(self, number: int) -> None:
        """Send a signal to this one process."""
        if self.running:
            os.kill(self.pid, number)

    def wait(self, timeout: float = STOP_S) -> int:
        """Its exit code; KitError if it has not ended after ``timeout`` seconds."""
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(f"not ended after {timeout} s") from None

    def wait_forever(self) -> int:
        """Its exit code, whenever it ends."""
        return self._child.wait()

    def stop(self, timeout: float = STOP_S) -> int:
        """SIGTERM, then SIGKILL after ``timeout``; what its children left behind is killed too. Harmless twice."""
        children = descendants(self.pid) if self.running else []
        self.signal(signal.SIGTERM)
        try:
            code = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            children = descendants(self.pid)
            self._child.kill()
            code = self._child.wait()
        _kill(children)
        self._close()
        return code

    def kill(self) -> None:
        """SIGKILL, as a crash would end it; its children stay, as they would."""
        self._child.kill()
        self._child.wait()
        self._close()

    def _close(self) -> None:
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens there now."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def poll_until(ready: Callable[[], T | None], what: str, timeout: float = 20.0, every: float = 0.05) -> T:
    """The first true result of ``ready``, for what no file descriptor announces; KitError after ``timeout``."""
    deadline = time.monotonic() + timeout
    while True:
        if result := ready():
            return result
        if time.monotonic() >= deadline:
            msg = f"no {what} after {timeout} s"
            raise KitError(msg)
        select.select([], [], [], every)


def descendants(pid: int) -> list[int]:
    """The process IDs below ``pid``, nearest first, also of those that left its session."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    found: list[int] = []
    todo = [pid]
    while todo:
        todo = [child for parent in todo for child in children.get(parent, [])]
        found += todo
    return found


def kill_tree(pid: int) -> None:
    """SIGKILL a process and everything below it."""
    _kill([pid, *descendants(pid)])


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has used, in seconds; its finished children are not in it."""
    stat = _stat(pid)
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK") if stat else 0.0


def cpu_clock(pid: int) -> float:
    """The same to the nanosecond, for those who measure; 0.0 when the process has gone."""
    try:
        # The clock of a process, as clock_getcpuclockid(3) makes it: Python has that for threads only.
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


_CPUCLOCK_SCHED = 2
"""User and system time together (include/linux/posix-timers_types.h)."""


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on (field 3 of proc(5) is index 0); empty when it has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue

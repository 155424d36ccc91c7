"""A person at a terminal: a program in a pseudo-terminal of its own, driven by expect and send.

What it is for: the real ``ssh`` with its real terminal handling. Every wait is a select with a deadline; nothing
sleeps. It keeps all output, so that a failed expectation shows what was there instead.
"""

import errno
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from interlock.testing.procs import KitError, kill_tree

_TRAMPOLINE = 'tty=$1; shift; exec "$@" <>"$tty" >&0 2>&0'
"""A session leader's first open of a terminal makes it the controlling one; no code runs in a forked Python."""


class Terminal:
    """One program with a terminal of ``cols`` by ``rows`` characters."""

    def __init__(
        self, argv: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cols: int = 80, rows: int = 24
    ) -> None:
        self.argv = [str(a) for a in argv]
        self.output = b""  # everything that appeared
        self._seen = 0  # end of the last match in output
        self._master, slave = pty.openpty()
        self.resize(cols, rows)
        try:
            self._child = subprocess.Popen(
                ["/bin/sh", "-c", _TRAMPOLINE, "sh", os.ttyname(slave), *self.argv],
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env=env if env is not None else {**os.environ, "TERM": "xterm-256color"},
                start_new_session=True,
            )
        finally:
            os.close(slave)
        self._pidfd = os.pidfd_open(self._child.pid)

    @property
    def pid(self) -> int:
        """The program's process ID."""
        return self._child.pid

    @property
    def fd(self) -> int:
        """The master side, for those who measure."""
        return self._master

    def expect(self, pattern: str | bytes, timeout: float = 20.0) -> re.Match[bytes]:
        """Wait until ``pattern`` matches what has appeared since the last match; KitError on end or time-out."""
        wanted = re.compile(pattern.encode() if isinstance(pattern, str) else pattern, re.DOTALL)
        deadline = time.monotonic() + timeout
        while True:
            if match := wanted.search(self.output, self._seen):
                self._seen = match.end()
                return match
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._failure(f"no {pattern!r} after {timeout} s")
            if not self._read(left):
                raise self._failure(f"ended without {pattern!r}")

    def send(self, text: str | bytes) -> None:
        """Type. A line ends with a carriage return, as on a keyboard."""
        data = text.encode() if isinstance(text, str) else text
        while data:
            data = data[os.write(self._master, data) :]

    def resize(self, cols: int, rows: int) -> None:
        """Change the size; the kernel sends SIGWINCH."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def wait(self, timeout: float = 20.0) -> int:
        """The exit code, after all output was read; KitError if the program still runs after ``timeout``."""
        deadline = time.monotonic() + timeout
        while self._read(max(0.0, deadline - time.monotonic())):
            if time.monotonic() >= deadline:
                raise self._failure(f"still running after {timeout} s")
        return self._child.wait(STOPPING_S)

    def hang_up(self) -> None:
        """Kill the program as a closed laptop would: no message to the other side."""
        os.kill(self.pid, signal.SIGKILL)
        self._child.wait()

    def close(self) -> None:
        """End what still runs and give the terminal back. Harmless twice."""
        if self._child.poll() is None:
            kill_tree(self.pid)
            self._child.wait()
        for fd in (self._master, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._master = self._pidfd = -1

    @property
    def text(self) -> str:
        """All output as text."""
        return self.output.decode("utf-8", "replace")

    def _read(self, timeout: float) -> bool:
        """Take what is there within ``timeout`` seconds; False when the program ended and all is read."""
        ready, _, _ = select.select([self._master, self._pidfd], [], [], timeout)
        if self._master in ready:
            try:
                data = os.read(self._master, 65_536)
            except OSError as error:
                if error.errno != errno.EIO:  # EIO: every process has closed the terminal
                    raise
                data = b""
            self.output += data
            if not data:
                select.select([self._pidfd], [], [], min(timeout, STOPPING_S))
            return bool(data)
        return self._pidfd not in ready

    def _failure(self, what: str) -> KitError:
        tail = self.output[-3000:].decode("utf-8", "replace")
        return KitError(f"{' '.join(self.argv)}: {what}\n--- terminal\n{tail}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


STOPPING_S = 10.0
"""Time between a program's last output and its end."""

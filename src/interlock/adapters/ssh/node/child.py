"""A running process on the event loop: its output and exit are told, input is fed, and it is always reaped.

Descriptors are watched directly: no threads, no SIGCHLD handler, no stream layer between the kernel and the
channel. What is in flight is bounded: output is not read while paused, input that the process does not take is
held in one piece and `feed` says so.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from interlock.adapters.ssh.node.room import filled
from interlock.adapters.ssh.node.spawn import Spawned
from interlock.domain.recording import Stream

LINGER_S = 0.2
"""Time that output may still arrive on a terminal after the session's leader exited, when another process keeps
the terminal open. Without such a process its end is seen at once."""

KILL_GRACE_S = 5.0
"""Time between SIGHUP and SIGKILL for processes whose client is gone."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: exactly one of ``status`` (0 to 255) and ``signal`` (a number) is set."""

    status: int | None = None
    signal: int | None = None
    core: bool = False


class Watcher(Protocol):
    """Who is told. Callbacks come from the event loop, never from within a call to `Child`."""

    def child_room(self, stream: Stream) -> Sequence[memoryview]:
        """Where its next output is to be read; empty to leave it there, and then reading has been paused."""
        ...

    def child_output(self, stream: Stream, pieces: Sequence[memoryview]) -> None:
        """The process wrote this, which is in the first bytes of the room and good during the call."""
        ...

    def child_hungry(self) -> None:
        """All input that was fed has been taken: more may be fed."""
        ...

    def child_ended(self, ended: Ended) -> None:
        """The process has exited and all its output was told. Called once, unless `abandon` came first."""
        ...


class Child:
    """Owns a started process and its descriptors."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        spawned: Spawned,
        watcher: Watcher,
        on_reaped: Callable[["Child"], None],
    ) -> None:
        self._loop = loop
        self._process = spawned.process
        self._terminal = spawned.terminal
        self._watcher: Watcher | None = watcher  # None once abandoned or told of the end
        self._on_reaped = on_reaped
        self._outputs: dict[int, Stream] = {spawned.stdout: Stream.STDOUT}
        if spawned.stderr is not None:
            self._outputs[spawned.stderr] = Stream.STDERR
        self._input: int | None = spawned.stdin
        self._unsent = b""
        self._input_ends = False  # the client sent EOF; passed on when _unsent is empty
        self._paused = True
        self._ended: Ended | None = None
        self._last_read = False  # on a terminal: exited and lingered, so nothing more is waited for
        self._timer: asyncio.TimerHandle | None = None
        self._pidfd = os.pidfd_open(self._process.pid)
        loop.add_reader(self._pidfd, self._exited)

    @property
    def pid(self) -> int:
        """The process ID, which is its process group's as well."""
        return self._process.pid

    @property
    def terminal_fd(self) -> int | None:
        """The PTY's master while it is open; None without a PTY."""
        return self._input if self._terminal else None

    # output

    def resume(self) -> None:
        """Read output (again)."""
        if self._paused:
            self._paused = False
            for fd in self._outputs:
                self._loop.add_reader(fd, self._readable, fd)
            if self._last_read:
                self._loop.call_soon(self._lingered)

    def pause(self) -> None:
        """Leave output where it is, so that the process blocks once its pipe is full."""
        if not self._paused:
            self._paused = True
            for fd in self._outputs:
                self._loop.remove_reader(fd)

    def _readable(self, fd: int) -> None:
        stream = self._outputs[fd]
        room = self._watcher.child_room(stream) if self._watcher is not None else ()
        if not room:
            return
        size, ended = self._read_terminal(fd, room[0]) if self._terminal else self._read(fd, room)
        if size and self._watcher is not None:
            self._watcher.child_output(stream, filled(room, size))
        if ended and fd in self._outputs:
            self._close_output(fd)
            self._check_ended()

    def _read(self, fd: int, room: Sequence[memoryview]) -> tuple[int, bool]:
        """How much was there, and whether it was the last. A pipe gives all it has at once."""
        try:
            size = os.readv(fd, room)
        except BlockingIOError:
            return 0, self._last_read
        except OSError:  # EIO: no process has the terminal open any more
            return 0, True
        return size, not size

    def _read_terminal(self, fd: int, room: memoryview) -> tuple[int, bool]:
        """The same for a terminal, which gives at most 4 KiB at once."""
        size = 0
        while size < len(room):
            got, ended = self._read(fd, (room[size:],))
            size += got
            if not got:
                return size, ended
        return size, False

    def _close_output(self, fd: int) -> None:
        self._loop.remove_reader(fd)
        del self._outputs[fd]
        if self._terminal:
            self._drop_input()
        else:
            os.close(fd)

    # input

    def feed(self, data: bytes | memoryview) -> bool:
        """Write to the process; False if it does not take more now, until `Watcher.child_hungry`."""
        if self._input is None or self._input_ends:
            return True  # it closed its input: what still comes is of no use to anybody
        if self._unsent:
            self._unsent += data
            return False
        self._unsent = self._write(data)
        if self._unsent and self._input is not None:
            self._loop.add_writer(self._input, self._writable)
            return False
        return True

    def feed_eof(self) -> None:
        """The client sends no more. A terminal stays as it is: its end of file is a character (as in sshd)."""
        if not self._terminal:
            self._input_ends = True
            if not self._unsent:
                self._drop_input()

    def _write(self, data: bytes | memoryview) -> bytes:
        """Write what fits; the rest comes back."""
        if self._input is None:
            return b""
        try:
            return bytes(data[os.write(self._input, data) :])
        except BlockingIOError:
            return bytes(data)
        except OSError:  # EPIPE: it closed its input; EIO: its terminal is gone
            if not self._terminal:
                self._drop_input()
            return b""

    def _writable(self) -> None:
        self._unsent = self._write(self._unsent)
        if self._unsent or self._input is None:
            return
        self._loop.remove_writer(self._input)
        if self._input_ends:
            self._drop_input()
        elif self._watcher is not None:
            self._watcher.child_hungry()

    def _drop_input(self) -> None:
        if self._input is not None:
            self._loop.remove_writer(self._input)
            os.close(self._input)
            self._input = None
            hungry = bool(self._unsent)
            self._unsent = b""
            if hungry and self._watcher is not None:
                self._watcher.child_hungry()

    # end

    def signal(self, number: int) -> None:
        """Send a signal to the process group; nothing once the leader was reaped, for its number may be reused."""
        if self._ended is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def abandon(self, grace_s: float = KILL_GRACE_S) -> None:
        """Nobody listens any more: hang up, kill after ``grace_s`` what has not left, reap."""
        self._watcher = None
        for fd in list(self._outputs):
            self._close_output(fd)
        self._drop_input()
        self.signal(signal.SIGHUP)
        self.signal(signal.SIGCONT)  # a stopped process could not act on it
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._ended is None:
            self._timer = self._loop.call_later(grace_s, self.signal, signal.SIGKILL)

    def _exited(self) -> None:
        pid, status = os.waitpid(self._process.pid, os.WNOHANG)
        if pid == 0:
            return
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code  # else Popen would complain that nobody asked
        if code < 0:
            self._ended = Ended(signal=-code, core=os.WCOREDUMP(status))
        else:
            self._ended = Ended(status=code)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._on_reaped(self)
        if self._terminal and self._outputs and self._watcher is not None:
            self._timer = self._loop.call_later(LINGER_S, self._lingered)
        self._check_ended()

    def _lingered(self) -> None:
        self._timer = None
        self._last_read = True
        if not self._paused:
            for fd in list(self._outputs):
                self._readable(fd)

    def _check_ended(self) -> None:
        if self._ended is not None and not self._outputs and self._watcher is not None:
            watcher, self._watcher = self._watcher, None
            self._drop_input()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            watcher.child_ended(self._ended)


class Children:
    """All processes of one node that are being started or were not reaped yet."""

    def __init__(self) -> None:
        self._children: set[Child] = set()
        self._starting = 0
        self._ending: float | None = None  # the grace, once `end_all` was called
        self._none = asyncio.Event()
        self._none.set()

    async def start(self, begin: Callable[[], Spawned], watcher: Watcher) -> Child:
        """Run ``begin`` in a thread, for it blocks, and take the process over, paused until `Child.resume`."""
        self._starting += 1
        self._none.clear()
        try:
            spawned = await asyncio.to_thread(begin)
            child = Child(asyncio.get_running_loop(), spawned, watcher, self._reaped)
            self._children.add(child)
        finally:
            self._starting -= 1
            self._settle()
        if self._ending is not None:
            child.abandon(self._ending)
        return child

    async def end_all(self, grace_s: float) -> None:
        """Hang up on every process, kill after the grace, and wait until the last was reaped."""
        self._ending = grace_s
        for child in list(self._children):
            child.abandon(grace_s)
        await self._none.wait()

    def _reaped(self, child: Child) -> None:
        self._children.discard(child)
        self._settle()

    def _settle(self) -> None:
        if not self._children and not self._starting:
            self._none.set()

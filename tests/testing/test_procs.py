"""Processes of the kit: owned, ended for certain, and explained when they fail."""

import contextlib
import functools
import sys
from pathlib import Path

import pytest

from interlock.testing.ports import LOOPBACK, free_port, free_ports
from interlock.testing.procs import Daemon, KitError, accepts, cpu_seconds, descendants, poll_until, run

LISTENER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("up", flush=True)
while True:
    server.accept()
"""


def gone(pid: int) -> bool:
    """Whether a process has ended, even if nobody has reaped it."""
    return not Path(f"/proc/{pid}/exe").exists()


def test_run_returns_both_outputs_and_the_code() -> None:
    """Nothing of a command's result is lost."""
    done = run(["sh", "-c", "cat; echo e >&2; exit 3"], stdin=b"x")
    assert (done.rc, done.out, done.err) == (3, b"x", b"e\n")


def test_check_shows_what_the_command_said() -> None:
    """A failed step explains itself."""
    with pytest.raises(KitError, match="broken pipe dream"):
        run(["sh", "-c", "echo broken pipe dream >&2; exit 1"]).check()


def test_run_ends_what_takes_too_long() -> None:
    """A hung command is killed with its children, and its output so far is shown."""
    with pytest.raises(KitError, match="partial"):
        run(["sh", "-c", "echo partial; sleep 600"], timeout=0.3)


def test_daemon_is_awaited_and_stopped(tmp_path: Path) -> None:
    """A daemon is ready when it answers, and gone after stop."""
    port = free_port()
    with Daemon([sys.executable, "-c", LISTENER, str(port)], log=tmp_path / "log") as daemon:
        daemon.wait_port(LOOPBACK, port)
        daemon.wait_log("up")
        assert cpu_seconds(daemon.pid) >= 0
    assert not daemon.running
    assert not accepts(LOOPBACK, port)


def test_daemon_that_dies_early_shows_its_log(tmp_path: Path) -> None:
    """The wait ends at once, with the reason."""
    with Daemon(["sh", "-c", "echo no such option; exit 2"], log=tmp_path / "log") as daemon:
        with pytest.raises(KitError, match="no such option"):
            daemon.wait_port(LOOPBACK, free_port())
        assert daemon.returncode == 2


def sleeping(daemon: int) -> list[int]:
    """All below it, once that is the sleep: before it is there, the kit mounts empty profiles by programs, too."""
    below = descendants(daemon)
    with contextlib.suppress(OSError):
        if [Path(f"/proc/{pid}/comm").read_text() for pid in below] == ["sleep\n"]:
            return below
    return []


def test_stop_ends_children_that_left_the_group(tmp_path: Path) -> None:
    """sshd's sessions live in sessions of their own; they do not outlive the daemon."""
    with Daemon(["sh", "-c", "setsid sleep 600 & wait"], log=tmp_path / "log") as daemon:
        children = poll_until(lambda: sleeping(daemon.pid), "child")
        assert daemon.pids == [daemon.pid, *children]
    for child in children:
        poll_until(functools.partial(gone, child), "end of the child")


def test_ports_are_different() -> None:
    """Two daemons of one test never get the same port."""
    assert len(set(free_ports(20))) == 20

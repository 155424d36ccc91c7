"""Processes start as the login, at home, with a terminal of their own, and with nothing inherited."""

import contextlib
import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from interlock.adapters.ssh.node import spawn as spawning
from interlock.adapters.ssh.node.accounts import Account, find_account
from interlock.adapters.ssh.node.spawn import (
    LOGIN_SHELL,
    Launch,
    Spawned,
    command_line,
    restore_ignored_signals,
    spawn,
    spawn_on,
)
from interlock.adapters.ssh.node.terminal import TerminalRequest, open_terminal
from interlock.testing.openssh import current_login

NOBODY = Account("nobody", 65534, 65534, (65534, 4242), "/nonexistent", "/bin/sh")
"""An account without rights, home or login shell of its own; 4242 stands for a supplementary group."""


def someone() -> Account:
    """Whom this process can become: root becomes somebody else, everybody else stays who he is."""
    return NOBODY if os.geteuid() == 0 else find_account(current_login())


def environment(account: Account) -> dict[bytes, bytes]:
    """Almost nothing."""
    return {b"HOME": account.home.encode(), b"PATH": b"/usr/bin:/bin", b"ONLY": b"this"}


@contextlib.contextmanager
def running(spawned: Spawned) -> Iterator[str]:
    """All output until the end."""
    fds = {spawned.stdout} if spawned.stderr is None else {spawned.stdout, spawned.stderr}
    output = b""
    left = set(fds)
    while left:
        for fd in select.select(list(left), [], [], 20)[0]:
            try:
                data = os.read(fd, 65536)
            except OSError:
                data = b""
            output += data
            if not data:
                left.discard(fd)
    try:
        yield output.decode()
    finally:
        spawned.process.wait()
        for fd in fds | {spawned.stdin}:
            os.close(fd)


def run(account: Account, command: str) -> str:
    """What a command writes to its pipes."""
    with running(spawn(Launch(account, command_line(command.encode()), environment(account)))) as output:
        return output


def run_on_terminal(account: Account, command: str) -> str:
    """What a command writes to its terminal."""
    terminal = open_terminal(TerminalRequest("xterm", (80, 24, 0, 0), {}), account)
    launch = Launch(account, command_line(command.encode()), environment(account))
    with running(spawn_on(launch, terminal)) as output:
        return output.replace("\r", "")


def test_identity_is_the_logins() -> None:
    """All four user and group IDs, the groups, and no capability of root's."""
    account = someone()
    for start in (run, run_on_terminal):
        lines = start(account, "id -G; grep -E '^(Uid|Gid|CapEff|CapPrm):' /proc/self/status").splitlines()
        assert {int(group) for group in lines[0].split()} == {account.gid, *account.groups}
        facts = {name: values.split() for name, values in (line.split(":") for line in lines[1:])}
        assert facts["Uid"] == [str(account.uid)] * 4
        assert facts["Gid"] == [str(account.gid)] * 4
        assert (facts["CapEff"], facts["CapPrm"]) == (["0" * 16], ["0" * 16])


def test_home_or_root_directory() -> None:
    """A login whose home is missing starts in /, as with sshd."""
    lost = Account("x", os.geteuid(), os.getegid(), tuple(os.getgroups()), "/nonexistent", "/bin/sh")
    found = Account("x", os.geteuid(), os.getegid(), tuple(os.getgroups()), "/usr", "/bin/sh")
    assert (run(lost, "pwd"), run(found, "pwd")) == ("/\n", "/usr\n")


def test_environment_is_what_was_given() -> None:
    """Only what the shells themselves add comes on top."""
    names = {line.split("=")[0] for line in run(someone(), "env").splitlines()}
    assert {"HOME", "PATH", "ONLY"} <= names <= {"HOME", "PATH", "ONLY", "PWD", "SHLVL", "_"}


def test_no_descriptor_is_inherited() -> None:
    """What the daemon has open stays its own, even if it was marked inheritable."""
    secret = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(secret, True)
    try:
        listed = run(someone(), "ls /proc/self/fd").split()
    finally:
        os.close(secret)
    assert listed == ["0", "1", "2", "3"]  # 3 is what ls reads the directory with


def test_session_leader_with_a_controlling_terminal() -> None:
    """The process leads its session and process group, and /dev/tty is its own terminal."""
    account = someone()
    command = "ps -o pid=,pgid=,sid=,tpgid= -p $$; tty; echo through > /dev/tty; stat -c %u $(tty)"
    output = run_on_terminal(account, command)
    numbers, name, through, owner = output.splitlines()
    assert len(set(numbers.split())) == 1
    assert name.startswith("/dev/pts/")
    assert through == "through"
    assert owner == str(account.uid)


def test_without_a_terminal_there_is_no_controlling_one() -> None:
    """A command without a PTY cannot open /dev/tty, whatever the daemon was started from."""
    assert "No such device" in run(someone(), "echo > /dev/tty")


def test_a_shell_that_is_missing() -> None:
    """An error that names it, and no descriptor left."""
    account = someone()
    missing = Account(account.name, account.uid, account.gid, account.groups, "/", "/no/such/shell")
    before = set(os.listdir("/proc/self/fd"))  # noqa: PTH208
    with pytest.raises(FileNotFoundError, match="/no/such/shell"):
        spawn(Launch(missing, command_line(b"true"), environment(missing)))
    assert set(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


@pytest.mark.parametrize("start", [run, run_on_terminal])
def test_shells_name_is_that_of_sshd(start: Callable[[Account, str], str]) -> None:
    """Error messages begin like those of a direct connection."""
    assert start(someone(), "echo $0") == "sh\n"


def test_terminal_begins_silent() -> None:
    """What opens the terminal has no opinion on the person's locale."""
    account = someone()
    terminal = open_terminal(TerminalRequest("xterm", (80, 24, 0, 0), {}), account)
    launch = Launch(account, command_line(b"echo $LC_ALL"), environment(account) | {b"LC_ALL": b"xx_XX.UTF-8"})
    with running(spawn_on(launch, terminal)) as output:
        assert output == "xx_XX.UTF-8\r\n"


@pytest.mark.parametrize("trampoline", ["/bin/bash", "/no/bash"])
def test_login_shell(trampoline: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A shell without a command is a login shell: it reads the profile; also on systems without bash."""
    monkeypatch.setattr(spawning, "_NAMING_SHELL", trampoline)
    (tmp_path / ".profile").write_text("echo profile was read; exit 0\n")
    account = Account("x", os.geteuid(), os.getegid(), tuple(os.getgroups()), str(tmp_path), "/bin/sh")
    terminal = open_terminal(TerminalRequest("xterm", (80, 24, 0, 0), {}), account)
    with running(spawn_on(Launch(account, LOGIN_SHELL, environment(account)), terminal)) as output:
        assert "profile was read" in output


def test_ignored_signals_are_not_handed_on() -> None:
    """A daemon under nohup ignores SIGHUP; its sessions must not."""
    assert threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        restore_ignored_signals()
        ignored = run(someone(), "grep SigIgn /proc/self/status").split()[1]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert int(ignored, 16) & 1 << (signal.SIGHUP - 1) == 0

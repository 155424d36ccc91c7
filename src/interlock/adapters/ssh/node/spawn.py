"""Starting a session's process: privileges dropped, own session, own terminal, nothing inherited.

No Python runs between fork and exec (threads make that unsafe): `subprocess` drops the privileges in C. A command
on pipes is started directly. A terminal must be opened by the new session's leader to become its controlling one,
which `subprocess` cannot do: a few lines of shell, run as the login already, do it and become the login's shell.
They also go home where only the login itself may, which root cannot on some network file systems.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from interlock.adapters.ssh.node.accounts import Account
from interlock.adapters.ssh.node.terminal import Terminal

_TRAMPOLINE = b"""\
tty=$1 name=$2; shift 2
[ -z "$tty" ] || exec 0<>"$tty" 1>&0 2>&0
cd -- "$HOME" 2>/dev/null || cd /
unset OLDPWD
"""
_NAMING_SHELL = "/bin/bash"  # can choose argv[0], which says "login shell" and begins the shell's error messages
_PLAIN_SHELL = "/bin/sh"

_LOGIN_FLAG = frozenset(
    {"sh", "bash", "dash", "ash", "zsh", "ksh", "ksh93", "mksh", "fish", "csh", "tcsh", "rbash"}
)
"""Shells that take -l, for systems without bash. Others, such as nologin, are started without arguments there."""

PIPE_BYTES = 256 * 1024
"""Room in the pipes: the default of 64 KiB costs a switch to the process and back for every two packets."""


@dataclass(frozen=True, slots=True)
class Program:
    """What the login's shell is asked to do: be the login shell, or run a command line."""

    arguments: tuple[bytes, ...] = ()
    login: bool = False


LOGIN_SHELL = Program(login=True)


def command_line(command: bytes) -> Program:
    """A command for the login's shell, as sshd runs it."""
    return Program((b"-c", command))


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start, as whom, in which environment."""

    account: Account
    program: Program
    environment: Mapping[bytes, bytes]

    @property
    def name(self) -> bytes:
        """argv[0], with the dash that makes a login shell (login(1))."""
        return (b"-" if self.program.login else b"") + os.path.basename(os.fsencode(self.account.shell))  # noqa: PTH119


@dataclass(slots=True)
class Spawned:
    """A started process and our ends of its streams, all non-blocking. Whoever holds this closes and reaps."""

    process: subprocess.Popen[bytes]
    stdin: int
    stdout: int
    stderr: int | None  # None with a PTY, where stdin and stdout are both the master
    terminal: bool = False


def spawn_on(launch: Launch, terminal: Terminal) -> Spawned:
    """Start a process with ``terminal`` as its controlling terminal; OSError if it cannot be started."""
    try:
        # no stderr before the terminal is open: bash would complain of a foreign locale, and the login shell again
        streams = (terminal.slave, terminal.slave, subprocess.DEVNULL)
        process = _popen(launch, _by_trampoline(launch, terminal.name), streams, cwd="/")
    except BaseException:
        os.close(terminal.master)
        raise
    finally:
        os.close(terminal.slave)
    return Spawned(process, terminal.master, terminal.master, None, terminal=True)


def spawn(launch: Launch) -> Spawned:
    """Start a process on three pipes; OSError if it cannot be started."""
    with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
        stdin, ours_in = _pipe(theirs, ours)
        ours_out, stdout = _pipe(ours, theirs)
        ours_err, stderr = _pipe(ours, theirs)
        account = launch.account
        if os.access(account.home, os.X_OK) and os.path.isdir(account.home):  # noqa: PTH112
            argv = [launch.name, *launch.program.arguments]
            process = _popen(launch, argv, (stdin, stdout, stderr), cwd=account.home, executable=account.shell)
        else:
            process = _popen(launch, _by_trampoline(launch, ""), (stdin, stdout, stderr), cwd="/")
        ours.pop_all()
    for fd in (ours_in, ours_out, ours_err):
        os.set_blocking(fd, False)
    return Spawned(process, ours_in, ours_out, ours_err)


def _pipe(reader: contextlib.ExitStack, writer: contextlib.ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    reader.callback(os.close, read)
    writer.callback(os.close, write)
    with contextlib.suppress(OSError):  # beyond the user's quota of pipe memory: the default size will do
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return read, write


def _by_trampoline(launch: Launch, tty: str) -> list[bytes]:
    shell = launch.account.shell
    arguments = [b"sh", os.fsencode(tty), launch.name, os.fsencode(shell), *launch.program.arguments]
    if os.access(_NAMING_SHELL, os.X_OK):
        return [os.fsencode(_NAMING_SHELL), b"--norc", b"-c", _TRAMPOLINE + b'exec -a "$name" "$@"', *arguments]
    if launch.program.login and os.path.basename(shell) in _LOGIN_FLAG:  # noqa: PTH119
        arguments.append(b"-l")
    return [os.fsencode(_PLAIN_SHELL), b"-c", _TRAMPOLINE + b'exec "$@"', *arguments]


def _popen(
    launch: Launch,
    argv: Sequence[bytes],
    streams: tuple[int, int, int],
    *,
    cwd: str,
    executable: str | None = None,
) -> subprocess.Popen[bytes]:
    uid, gid, groups = _changes(launch.account)
    return subprocess.Popen(  # noqa: S603  # running what the user asks for is this program's purpose
        argv,
        executable=executable,
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        env=launch.environment,
        cwd=cwd,
        user=uid,
        group=gid,
        extra_groups=groups,
        umask=0o022,
        start_new_session=True,
        close_fds=True,
    )


def _changes(account: Account) -> tuple[int | None, int | None, tuple[int, ...] | None]:
    """The identity to take on; nothing if it is ours already, which lets `subprocess` use the cheaper vfork."""
    if os.geteuid() != 0:
        return None, None, None
    if account.uid == 0 and os.getgid() == account.gid and set(os.getgroups()) == set(account.groups):
        return None, None, None
    return account.uid, account.gid, account.groups


def restore_ignored_signals() -> None:
    """Give ignored signals a handler that does nothing, so that processes start with the default.

    A daemon started with nohup or in the background of a script ignores SIGHUP or SIGINT; exec would hand that
    on, and neither Ctrl-C nor a lost connection would end what runs in a session.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)

"""Starting a session's process: privileges dropped, own session, own terminal, nothing inherited.

No Python runs between fork and exec (threads make that unsafe). What must happen there beyond what `subprocess`
does in C is done after exec by three lines of /bin/sh, which is already the login by then: they open the PTY as a
session leader's first terminal, which makes it the controlling one, and go home with the login's own rights.
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

_TRAMPOLINE = """\
tty=$1; shift
[ -z "$tty" ] || exec 0<>"$tty" 1>&0 2>&0
cd -- "$HOME" 2>/dev/null || cd /
unset OLDPWD
exec "$@"
"""

_LOGIN_FLAG = frozenset(
    {"sh", "bash", "dash", "ash", "zsh", "ksh", "ksh93", "mksh", "fish", "csh", "tcsh", "rbash"}
)
"""Shells that take -l. Others, such as nologin or git-shell, are started without arguments."""

PIPE_BYTES = 256 * 1024
"""Room in the pipes: the default of 64 KiB costs a switch to the process and back for every two packets."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start."""

    account: Account
    argv: Sequence[str | bytes]
    environment: Mapping[bytes, bytes]


@dataclass(slots=True)
class Spawned:
    """A started process and our ends of its streams, all non-blocking. Whoever holds this closes and reaps."""

    process: subprocess.Popen[bytes]
    stdin: int
    stdout: int
    stderr: int | None  # None with a PTY, where stdin and stdout are both the master
    terminal: bool = False


def shell_argv(account: Account) -> list[str | bytes]:
    """The login shell."""
    login = os.path.basename(account.shell) in _LOGIN_FLAG  # noqa: PTH119
    return [account.shell, "-l"] if login else [account.shell]


def command_argv(account: Account, command: bytes) -> list[str | bytes]:
    """A command line for the login's shell, as sshd runs it."""
    return [account.shell, "-c", command]


def spawn_on(launch: Launch, terminal: Terminal) -> Spawned:
    """Start a process with ``terminal`` as its controlling terminal; OSError if it cannot be started."""
    try:
        process = _popen(launch, terminal.name, (terminal.slave, terminal.slave, terminal.slave))
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
        process = _popen(launch, "", (stdin, stdout, stderr))
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


def _popen(launch: Launch, tty: str, streams: tuple[int, int, int]) -> subprocess.Popen[bytes]:
    account = launch.account
    uid, gid, groups = _changes(account)
    return subprocess.Popen(  # noqa: S603  # running what the user asks for is this program's purpose
        ["/bin/sh", "-c", _TRAMPOLINE, "sh", tty, *launch.argv],
        stdin=streams[0],
        stdout=streams[1],
        stderr=streams[2],
        env=launch.environment,
        cwd="/",
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

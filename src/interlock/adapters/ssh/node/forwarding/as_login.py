"""Sockets of the file system, opened and made with the rights of the login and not with the daemon's.

A node that serves several logins runs as root, who may connect to every socket and is taken for root by whatever
answers. So a thread takes on the login's effective identity for the one call; the kernel keeps credentials per
thread, which the C library hides, hence the bare system calls. The thread ends right after it, and it keeps root's
real and saved identity, so that the login can neither trace nor signal it.
"""

import ctypes
import os
import platform
import socket
import stat
import threading
from collections.abc import Callable
from typing import TypeVar

from interlock.adapters.ssh.node.accounts import Account

T = TypeVar("T")

_SYSCALLS = {  # setgroups, setresgid, setresuid
    "x86_64": (116, 119, 117),
    "aarch64": (159, 149, 147),
    "riscv64": (159, 149, 147),
}
_KEEP = -1
SOCKET_MASK = 0o177
"""Only the login may connect to what it listens on (sshd's StreamLocalBindMask)."""

BACKLOG = 64


def connect(account: Account, path: str) -> socket.socket:
    """A connection to a socket in the file system; OSError. Blocks: call it in a thread."""
    return _as(account, lambda: _connected(path))


def listen(account: Account, path: str) -> socket.socket:
    """A listening socket at a path that does not exist yet; OSError. Blocks: call it in a thread."""
    return _as(account, lambda: _listening(path))


def remove(account: Account, path: str) -> None:
    """Remove a socket that the login made; OSError. Blocks: call it in a thread."""
    _as(account, lambda: _removed(path))


def _connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)  # a full backlog, which the login can make, is an error and holds up no thread
        made.connect(path)
    except BaseException:
        made.close()
        raise
    return made


def _listening(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(made.fileno(), 0o777 & ~SOCKET_MASK)  # Linux gives the file the mode of the socket
        made.bind(path)
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    return made


def _removed(path: str) -> None:
    if stat.S_ISSOCK(os.lstat(path).st_mode):
        os.unlink(path)  # noqa: PTH108  # the path is the login's text, not ours


def _as(account: Account, work: Callable[[], T]) -> T:
    if os.geteuid() != 0 or account.uid == 0:
        return work()
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            _become(account)
            results.append(work())
        except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
            failures.append(error)

    thread = threading.Thread(target=run, name="node.as-login")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _become(account: Account) -> None:
    """Change this thread's effective identity; OSError if the machine's system calls are not known here."""
    numbers = _SYSCALLS.get(platform.machine())
    if numbers is None:
        raise OSError(0, "not supported on this kind of machine")
    setgroups, setresgid, setresuid = numbers
    groups = (ctypes.c_uint32 * len(account.groups))(*account.groups)
    libc = ctypes.CDLL(None, use_errno=True)
    for call in (
        (setgroups, len(account.groups), groups),
        (setresgid, _KEEP, account.gid, _KEEP),
        (setresuid, _KEEP, account.uid, _KEEP),
    ):
        if libc.syscall(*call) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

"""A session's pseudo-terminal: opened, owned by the login, set up like the client's (RFC 4254 §6.2, §8)."""

import fcntl
import grp
import os
import struct
import termios
from collections.abc import Mapping
from dataclasses import dataclass

from interlock.adapters.ssh.node.accounts import Account

_DISABLED = 255
"""The value that RFC 4254 §8 gives to a control character that is switched off."""

_MAX_DIMENSION = 0xFFFF
"""struct winsize holds unsigned shorts."""

# RFC 4254 §8: opcode → name in termios, by the word of struct termios that it lives in
_CHARACTERS = {
    1: "VINTR", 2: "VQUIT", 3: "VERASE", 4: "VKILL", 5: "VEOF", 6: "VEOL", 7: "VEOL2", 8: "VSTART", 9: "VSTOP",
    10: "VSUSP", 12: "VREPRINT", 13: "VWERASE", 14: "VLNEXT", 16: "VSWTC", 18: "VDISCARD",
}  # fmt: skip
_INPUT = {
    30: "IGNPAR", 31: "PARMRK", 32: "INPCK", 33: "ISTRIP", 34: "INLCR", 35: "IGNCR", 36: "ICRNL", 37: "IUCLC",
    38: "IXON", 39: "IXANY", 40: "IXOFF", 41: "IMAXBEL", 42: "IUTF8",
}  # fmt: skip
_LOCAL = {
    50: "ISIG", 51: "ICANON", 52: "XCASE", 53: "ECHO", 54: "ECHOE", 55: "ECHOK", 56: "ECHONL", 57: "NOFLSH",
    58: "TOSTOP", 59: "IEXTEN", 60: "ECHOCTL", 61: "ECHOKE", 62: "PENDIN",
}  # fmt: skip
_OUTPUT = {70: "OPOST", 71: "OLCUC", 72: "ONLCR", 73: "OCRNL", 74: "ONOCR", 75: "ONLRET"}
_CONTROL = {90: "CS7", 91: "CS8", 92: "PARENB", 93: "PARODD"}
_WORDS = ((0, _INPUT), (1, _OUTPUT), (2, _CONTROL), (3, _LOCAL))
_MISSING_IN_PYTHON = {"IUTF8": 0o40000}  # Linux; termios names it from Python 3.14 on


Size = tuple[int, int, int, int]
"""Columns, rows, width and height in pixels; 0 where the client does not know."""


@dataclass(frozen=True, slots=True)
class TerminalRequest:
    """What a pty-req said: terminal type, size, and modes by opcode."""

    term: str
    size: Size
    modes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Terminal:
    """An open pseudo-terminal. Whoever holds this closes both descriptors."""

    master: int
    slave: int
    name: str


def open_terminal(request: TerminalRequest, account: Account) -> Terminal:
    """A new PTY that belongs to the account; OSError if the system has none left."""
    master, slave = os.openpty()  # not our controlling terminal: opened with O_NOCTTY
    try:
        if os.geteuid() == 0:
            os.fchown(slave, account.uid, _tty_group(account))
            os.fchmod(slave, 0o620)
        set_modes(slave, request.modes)
        resize(master, request.size)
        os.set_blocking(master, False)
        return Terminal(master, slave, os.ttyname(slave))
    except BaseException:
        os.close(master)
        os.close(slave)
        raise


def resize(fd: int, size: Size) -> None:
    """Set the size; the kernel tells the foreground job with SIGWINCH."""
    cols, rows, width, height = (min(value, _MAX_DIMENSION) for value in size)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, width, height))


def set_modes(fd: int, modes: Mapping[int, int]) -> None:
    """Apply the client's modes; opcodes that this system does not know are left alone, as RFC 4254 §8 asks."""
    state = termios.tcgetattr(fd)
    for word, table in _WORDS:
        for opcode, name in table.items():
            flag = getattr(termios, name, _MISSING_IN_PYTHON.get(name))
            if opcode in modes and flag is not None:
                state[word] = _with_flag(state[word], name, flag, wanted=modes[opcode] != 0)
    characters = state[6]
    for opcode, name in _CHARACTERS.items():
        index = getattr(termios, name, None)
        if opcode in modes and index is not None:
            characters[index] = b"\0" if modes[opcode] == _DISABLED else bytes([modes[opcode] & 0xFF])
    termios.tcsetattr(fd, termios.TCSANOW, state)


def send_break(fd: int) -> None:
    """What a break does on a terminal line (RFC 4335)."""
    termios.tcsendbreak(fd, 0)


def _with_flag(value: int, name: str, flag: int, *, wanted: bool) -> int:
    if name in ("CS7", "CS8"):  # one field of two bits, of which only the wanted size is told
        return (value & ~termios.CSIZE) | flag if wanted else value
    return value | flag if wanted else value & ~flag


def _tty_group(account: Account) -> int:
    try:
        return grp.getgrnam("tty").gr_gid
    except KeyError:
        return account.gid

"""Terminal modes of RFC 4254 §8 become those of the pseudo-terminal."""

import fcntl
import os
import struct
import termios
from collections.abc import Iterator

import pytest

from interlock.adapters.ssh.node.accounts import find_account
from interlock.adapters.ssh.node.terminal import Terminal, TerminalRequest, open_terminal, resize, set_modes
from interlock.testing.openssh import current_login


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal of 100 by 30 without modes."""
    made = open_terminal(TerminalRequest("xterm", (100, 30, 800, 600), {}), find_account(current_login()))
    yield made
    os.close(made.master)
    os.close(made.slave)


def size(fd: int) -> tuple[int, ...]:
    """Rows, columns, width, height."""
    return struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, b"\0" * 8))


def test_size(terminal: Terminal) -> None:
    """Rows, columns and pixels; what does not fit a winsize is cut."""
    assert size(terminal.slave) == (30, 100, 800, 600)
    resize(terminal.master, (1_000_000, 2, 0, 0))
    assert size(terminal.slave) == (2, 65535, 0, 0)


def test_flags_on_and_off(terminal: Terminal) -> None:
    """ECHO off, IXANY on, and those not mentioned as they were."""
    before = termios.tcgetattr(terminal.slave)
    set_modes(terminal.slave, {53: 0, 39: 1, 72: 0})
    after = termios.tcgetattr(terminal.slave)
    assert after[3] == before[3] & ~termios.ECHO
    assert after[0] == before[0] | termios.IXANY
    assert after[1] == before[1] & ~termios.ONLCR


def test_characters(terminal: Terminal) -> None:
    """A character is set, and 255 switches one off."""
    set_modes(terminal.slave, {1: 2, 10: 255})
    characters = termios.tcgetattr(terminal.slave)[6]
    assert (characters[termios.VINTR], characters[termios.VSUSP]) == (b"\2", b"\0")


def test_unknown_opcodes(terminal: Terminal) -> None:
    """Speeds and opcodes of other systems change nothing."""
    before = termios.tcgetattr(terminal.slave)
    set_modes(terminal.slave, {128: 38400, 129: 38400, 17: 3, 99: 1, 11: 3, 90: 0})
    assert termios.tcgetattr(terminal.slave) == before


def test_utf8_mode(terminal: Terminal) -> None:
    """IUTF8 (RFC 8160) makes the kernel erase whole characters."""
    set_modes(terminal.slave, {42: 1})
    assert termios.tcgetattr(terminal.slave)[0] & 0o40000
    set_modes(terminal.slave, {42: 0})
    assert not termios.tcgetattr(terminal.slave)[0] & 0o40000

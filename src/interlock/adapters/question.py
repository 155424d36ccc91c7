"""Questions to the person at the terminal, which Ctrl-C ends at once.

asyncio would only note a Ctrl-C, and the question would stay; and Python itself only notes a signal until its next
instruction, so that one just before a read would wait for the answer. So nothing reads here before there is a line
to read, and what waits for it hears of signals, too.
"""

import os
import select
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from interlock.core.errors import SignInFailed


class Interrupted(SignInFailed):
    """The person pressed Ctrl-C at a question. KeyboardInterrupt would end asyncssh's task with a trace."""


def ask(question: str, *, echo: bool) -> str:
    """The line that the person types at standard input, a terminal; ``echo``: whether it is shown.

    Raises Interrupted, and EOFError when there is no more to come.
    """
    try:
        with (
            _hearing_signals() as heard,
            _echo(shown=echo),
        ):  # before the question is seen: who sees it may press Ctrl-C
            _show(question)
            _wait_for_line(heard)
            line = sys.stdin.readline()
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None
    except UnicodeDecodeError:
        raise SignInFailed("what was typed is no text in UTF-8") from None
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def _show(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _wait_for_line(heard: int) -> None:
    typed = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([typed, heard], [], [])
        if heard in ready:
            os.read(heard, 4096)  # the handlers have run: of Ctrl-C's we would not be here
        elif typed in ready:
            return


@contextmanager
def _hearing_signals() -> Iterator[int]:
    """Have Ctrl-C raise KeyboardInterrupt; gives a descriptor that can be read as soon as any signal has come."""
    heard, tell = os.pipe()
    os.set_blocking(tell, False)
    fd_before = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    handler_before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, handler_before)
        signal.set_wakeup_fd(fd_before)
        os.close(tell)
        os.close(heard)


@contextmanager
def _echo(*, shown: bool) -> Iterator[None]:
    """Keep what is typed off the screen, unless it may be shown; what was typed too early is forgotten."""
    if shown:
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    hidden = before.copy()
    hidden[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(fd, termios.TCSAFLUSH, hidden)
        yield
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(fd, termios.TCSAFLUSH, before)
        _show("\n")  # the person's own line end was not shown

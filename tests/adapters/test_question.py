"""Questions at the terminal: what is typed, what is shown of it, and Ctrl-C at the worst moment."""

import os
import signal
import sys
import termios
import threading
from collections.abc import Iterator

import pytest

from interlock.adapters.question import Interrupted, ask
from interlock.core.errors import SignInFailed
from interlock.testing.keyboard import Keyboard, keyboard


@pytest.fixture(name="keyboard")
def _keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Keyboard]:
    with keyboard() as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        yield typed


@pytest.mark.parametrize("echo", [True, False])
def test_nothing_reads_before_there_is_a_line(
    keyboard: Keyboard, capsys: pytest.CaptureFixture[str], *, echo: bool
) -> None:
    """A signal just before such a read would wait for the answer: one Ctrl-C in some thousands was lost so."""
    typing = keyboard.types("päss\n".encode())
    assert ask("Password: ", echo=echo) == "päss"
    typing.join()
    assert keyboard.early == 0
    assert capsys.readouterr().err == ("Password: " if echo else "Password: \n")
    assert ("päss".encode() in keyboard.shown()) is echo


@pytest.mark.parametrize("echo", [True, False])
def test_ctrl_c_ends_the_question_and_puts_all_back(keyboard: Keyboard, *, echo: bool) -> None:
    """The echo, the handler, and who else hears of signals; a signal of another kind ends nothing."""
    before = termios.tcgetattr(keyboard), signal.getsignal(signal.SIGINT)
    other = signal.signal(signal.SIGWINCH, lambda *_: None)
    timers = [
        threading.Timer(after, os.kill, (os.getpid(), number))
        for after, number in ((0.1, signal.SIGWINCH), (0.2, signal.SIGINT))
    ]
    for timer in timers:
        timer.start()
    with pytest.raises(Interrupted):
        ask("Password: ", echo=echo)
    for timer in timers:
        timer.join()
    signal.signal(signal.SIGWINCH, other)
    assert (termios.tcgetattr(keyboard), signal.getsignal(signal.SIGINT)) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_an_end_and_what_is_no_text_are_told(keyboard: Keyboard) -> None:
    """Ctrl-D, and a terminal that types Latin-1."""
    keyboard.types(b"\x04").join()
    with pytest.raises(EOFError):
        ask("Name: ", echo=True)
    keyboard.types(b"p\xe4ss\n").join()
    with pytest.raises(SignInFailed, match="UTF-8"):
        ask("Name: ", echo=True)

"""Standard input of this process that is a terminal, with somebody who types."""

import os
import pty
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper


@dataclass
class Keyboard:
    """What takes the place of ``sys.stdin``; ``early`` counts reads that there was nothing to read for."""

    typist: int
    stream: TextIOWrapper
    early: int = 0

    def fileno(self) -> int:
        """The terminal."""
        return self.stream.fileno()

    def isatty(self) -> bool:
        """It is one."""
        return self.stream.isatty()

    def readline(self) -> str:
        """The next line."""
        if not select.select([self], [], [], 0)[0]:
            self.early += 1
        return self.stream.readline()

    def types(self, data: bytes) -> threading.Timer:
        """In a moment, when the question is there."""
        timer = threading.Timer(0.1, os.write, (self.typist, data))
        timer.start()
        return timer

    def shown(self) -> bytes:
        """What the terminal has echoed."""
        shown = b""
        while select.select([self.typist], [], [], 0)[0]:
            shown += os.read(self.typist, 1000)
        return shown


@contextmanager
def keyboard() -> Iterator[Keyboard]:
    """One of its own."""
    typist, terminal = pty.openpty()
    try:
        with os.fdopen(terminal, encoding="utf-8") as stream:
            yield Keyboard(typist, stream)
    finally:
        os.close(typist)

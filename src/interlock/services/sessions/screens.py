"""The screen of a live session, for whoever joins: made from its recording when it is asked for, and not before.

A session that nobody joins costs nothing. Reading the past is bounded: of what was written long ago only the modes
are followed, as programs have written over the rest since then. A session that is not recorded has its last output
in memory instead.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

from interlock.domain.container import ContentKey, Decoder
from interlock.domain.recording import Header, Output
from interlock.domain.screen import Screen
from interlock.domain.screen.skim import skimmed
from interlock.domain.session import Window
from interlock.ports import PartReader

HISTORY = 1024 * 1024
"""Bytes of output that are followed to the letter: a second of work. A screen of 80 by 24 has 2 KiB."""

ROUNDS = 4
"""How often the past is read in a thread before the rest, which is then small, is read while the session waits."""

SMALL = 32 * 1024
"""Bytes of a recording that may be read at once: some 20 ms of work."""

REMEMBERED = 256 * 1024
"""Bytes of output of a session that is not recorded; its screen is as good as that."""


Shown = Header | Output | Window


class Source(Protocol):
    """Where a session's output can be read again."""

    def prepare(self) -> None:
        """Called on the event loop, before `read` is called, maybe in a thread."""
        ...

    def read(self) -> tuple[int, list[Shown]]:
        """Some more of it, and its size in bytes; size 0 when that was all for now."""
        ...

    def close(self) -> None:
        """Nobody reads any more."""
        ...


class Recorded:
    """The recording on disk."""

    def __init__(self, part: PartReader, key: ContentKey | None = None) -> None:
        """``key``: if the contents are encrypted."""
        self._part = part
        self._decoder = Decoder(key=key)

    def prepare(self) -> None:
        """Nothing: the file is there."""

    def read(self) -> tuple[int, list[Shown]]:
        """See `Source.read`."""
        data = self._part.read()
        frames = self._decoder.feed(data) if data else ()
        return len(data), [frame.body for frame in frames if isinstance(frame.body, Shown)]

    def close(self) -> None:
        """See `Source.close`."""
        self._part.close()


class Remembered:
    """The last output of a session that is not recorded."""

    def __init__(self, window: Window) -> None:
        self._kept: deque[Output | Window] = deque([window])  # touched on the event loop alone
        self._size = 0
        self._ready: list[Output | Window] = []  # for whoever reads

    def note(self, shown: Output | Window) -> None:
        """Keep it, and let go of the oldest."""
        self._kept.append(shown)
        self._size += _size(shown)
        while self._size > REMEMBERED:
            self._size -= _size(self._kept.popleft())

    def prepare(self) -> None:
        """See `Source.prepare`."""
        self._ready += self._kept
        self._kept.clear()
        self._size = 0

    def read(self) -> tuple[int, list[Shown]]:
        """See `Source.read`; what was read once is kept nowhere but on the screen."""
        ready, self._ready = self._ready, []
        return sum(map(_size, ready)) + len(ready), [*ready]

    def close(self) -> None:
        """See `Source.close`."""
        self._kept.clear()


class Past:
    """A screen that follows a session. Used by one thread at a time."""

    def __init__(self, source: Source) -> None:
        self.screen = Screen(80, 24)  # until the source tells its size
        self._source = source

    def prepare(self) -> None:
        """Called on the event loop before `catch_up`."""
        self._source.prepare()

    def catch_up(self) -> int:
        """Follow what was written since the last time; its bytes in the file."""
        read = size = 0
        recent: deque[Output | Window] = deque()
        while (more := self._source.read())[0]:
            read += more[0]
            for body in more[1]:
                if isinstance(body, Header):
                    self.screen.resize(body.cols or 80, body.rows or 24)
                    continue
                recent.append(body)
                size += _size(body)
                while size > HISTORY:
                    size -= self._skim(recent.popleft())
        for body in recent:
            self._show(body)
        return read

    def close(self) -> None:
        """No more."""
        self._source.close()

    def _show(self, body: Output | Window) -> None:
        if isinstance(body, Window):
            self.screen.resize(body.cols, body.rows)
        else:
            self.screen.feed(body.data)

    def _skim(self, body: Output | Window) -> int:
        """Follow the modes alone; the bytes that this was."""
        if isinstance(body, Window):
            self._show(body)
            return 0
        self.screen.feed(skimmed(body.data))
        return len(body.data)


def _size(body: Output | Window) -> int:
    return len(body.data) if isinstance(body, Output) else 0


class Screens:
    """The screen of one session. ``source`` opens its past, ``flush`` brings it up to date."""

    def __init__(self, source: Callable[[], Source], flush: Callable[[], None]) -> None:
        self._source = source
        self._flush = flush
        self._past: Past | None = None  # once somebody has asked
        self._reading = asyncio.Lock()
        self._closed = False

    @property
    def known(self) -> Screen | None:
        """The screen as it was when it was asked for last."""
        return self._past.screen if self._past is not None else None

    async def current(self) -> Screen:
        """The screen as it is now. It is exact until the caller lets the session go on, so use it at once.

        OSError if the recording cannot be read.
        """
        async with self._reading:
            if self._past is None:
                self._past = Past(self._source())
            try:
                return await self._caught_up(self._past)
            finally:
                if self._closed:
                    self._past.close()

    async def _caught_up(self, past: Past) -> Screen:
        for _ in range(ROUNDS):
            self._flush()
            past.prepare()
            if await asyncio.to_thread(past.catch_up) < SMALL:
                break
        self._flush()
        past.prepare()
        past.catch_up()
        return past.screen

    def close(self) -> None:
        """Nobody will ask again; whoever is reading closes the file when that is done."""
        self._closed = True
        if self._past is not None and not self._reading.locked():
            self._past.close()

"""Something that happens once, and whoever waits for it."""

import asyncio


class Once:
    """Like an `asyncio.Event` that is never cleared, and holds next to nothing until somebody waits.

    Every connection has several, which thousands of idle connections keep for hours.
    """

    __slots__ = ("_event", "_happened")

    def __init__(self) -> None:
        self._happened = False
        self._event: asyncio.Event | None = None  # once somebody waits

    def is_set(self) -> bool:
        """Whether it has happened."""
        return self._happened

    def set(self) -> None:
        """It happens now."""
        self._happened = True
        if self._event is not None:
            self._event.set()

    async def wait(self) -> None:
        """Return when it has happened."""
        if self._happened:
            return
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()

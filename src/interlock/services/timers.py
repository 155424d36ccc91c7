"""Calls of the event loop at a later time, as an argument, so that tests need not wait."""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Timer(Protocol):
    """A pending call."""

    def cancel(self) -> None:
        """Make sure that the call does not happen."""
        ...


CallLater = Callable[[float, Callable[[], None]], Timer]


def call_later(delay: float, callback: Callable[[], None]) -> Timer:
    """The running loop's timer."""
    return asyncio.get_running_loop().call_later(delay, callback)

"""The data path's state: what a leg needs to know of a channel for each data packet, and no more."""

from collections.abc import Callable

Tap = Callable[[int, memoryview], None]
"""Sees the bytes in passing: extended-data type (0 for plain data) and the bytes, valid only during the call."""


class Flow:
    """One direction of one channel, found by the channel number in its messages."""

    __slots__ = ("granted", "judged", "octets", "tap", "tap_may_wait")

    def __init__(self) -> None:
        self.octets = 0
        self.granted = 0  # window that this side has added for the data it receives
        self.judged = False  # its window adjusts go to the core, since the channel is shared
        self.tap: Tap | None = None  # set when the session starts, if this side records it
        self.tap_may_wait = False  # it changes nothing of what it sees, so a single key may be sent before it


Flows = dict[int, Flow]
"""By recipient channel number, for the messages that arrive on one leg."""

"""One timer for all the long waits of a process, so that what is idle wakes nobody by itself.

Keepalives, idle limits and deadlines of thousands of connections need no precision. A wheel rounds them up to its
tick and keeps one timer of the event loop for the next tick at which anything is due; an empty wheel has none.
"""

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from math import ceil

import structlog

from interlock.ports import Clock
from interlock.services.timers import CallLater, Timer, call_later

TICK_S = 1.0
"""Seconds that a call may come late."""

AT_ONCE = 100
"""Calls made in one step of the event loop: a tick at which everything is due holds up no packet for long."""

_log = structlog.get_logger()


class _Spoke:
    """A call that is due at a tick; `services.timers.Timer`."""

    __slots__ = ("_callback", "_forget", "tick")

    def __init__(self, tick: int, callback: Callable[[], None], forget: Callable[["_Spoke"], None]) -> None:
        self.tick = tick
        self._callback: Callable[[], None] | None = callback
        self._forget = forget

    def cancel(self) -> None:
        """Make sure that the call does not happen, and let go of what it would need."""
        if self._callback is not None:
            self._callback = None
            self._forget(self)

    def call(self) -> None:
        """Do it, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Wheel:
    """See the module's docstring. `call_later` fits wherever a `CallLater` is asked for."""

    def __init__(self, clock: Clock, *, tick: float = TICK_S, call_later: CallLater = call_later) -> None:
        self._clock = clock
        self._tick = tick
        self._loop_timer = call_later
        self._turns: dict[int, dict[_Spoke, None]] = {}  # by the number of the tick, in order; none is empty
        self._order: list[int] = []  # the same numbers as a heap, and those of turns that were cancelled since
        self._ordered: set[int] = set()  # what is in it
        self._due: deque[_Spoke] = deque()  # of ticks that have passed
        self._timer: Timer | None = None
        self._armed = 0  # the tick that it is for

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call it ``delay`` seconds from now, up to a tick later; shorter waits than a tick are not rounded."""
        if delay < self._tick:
            return self._loop_timer(delay, callback)
        number = ceil((self._clock.monotonic() + delay) / self._tick)
        spoke = _Spoke(number, callback, self._forget)
        self._turns.setdefault(number, {})[spoke] = None
        if number not in self._ordered:
            self._ordered.add(number)
            heappush(self._order, number)
        self._arm()
        return spoke

    def _forget(self, spoke: _Spoke) -> None:
        """Keep nothing of it: a deadline may be days ahead of a connection that lasts a moment."""
        turn = self._turns.get(spoke.tick, {})  # it is gone when its calls are due
        turn.pop(spoke, None)
        if not turn:
            self._turns.pop(spoke.tick, None)

    def _next(self) -> int:
        number = heappop(self._order)
        self._ordered.remove(number)
        return number

    def _arm(self) -> None:
        while self._order and self._order[0] not in self._turns:
            self._next()
        if self._due or not self._order:
            return
        first = self._order[0]
        if self._timer is not None:
            if self._armed <= first:
                return
            self._timer.cancel()
        self._armed = first
        self._timer = self._loop_timer(max(first * self._tick - self._clock.monotonic(), 0.0), self._turn)

    def _turn(self) -> None:
        """Make what is due, some of it now and the rest in the loop's next steps."""
        self._timer = None
        now = self._clock.monotonic() / self._tick
        while self._order and self._order[0] <= now:
            self._due.extend(self._turns.pop(self._next(), ()))
        for _ in range(min(AT_ONCE, len(self._due))):
            try:
                self._due.popleft().call()
            except Exception:  # noqa: BLE001 - a bug met by one connection must not stop the others' timers
                _log.exception("wheel.call_failed")
        if self._due:
            self._timer = self._loop_timer(0, self._turn)
        else:
            self._arm()

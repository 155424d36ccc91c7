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

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Make sure that the call does not happen, and let go of what it would need."""
        self._callback = None

    def call(self) -> None:
        """Do it, once."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()

    @property
    def cancelled(self) -> bool:
        """Whether nothing is left to do."""
        return self._callback is None


class Wheel:
    """See the module's docstring. `call_later` fits wherever a `CallLater` is asked for."""

    def __init__(self, clock: Clock, *, tick: float = TICK_S, call_later: CallLater = call_later) -> None:
        self._clock = clock
        self._tick = tick
        self._loop_timer = call_later
        self._turns: dict[int, list[_Spoke]] = {}  # by the number of the tick
        self._order: list[int] = []  # the same numbers, as a heap
        self._due: deque[_Spoke] = deque()  # of ticks that have passed
        self._timer: Timer | None = None
        self._armed = 0  # the tick that it is for

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call it ``delay`` seconds from now, up to a tick later; shorter waits than a tick are not rounded."""
        if delay < self._tick:
            return self._loop_timer(delay, callback)
        spoke = _Spoke(callback)
        number = ceil((self._clock.monotonic() + delay) / self._tick)
        turn = self._turns.get(number)
        if turn is None:
            turn = self._turns[number] = []
            heappush(self._order, number)
        turn.append(spoke)
        self._arm()
        return spoke

    def _arm(self) -> None:
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
            turn = self._turns.pop(heappop(self._order))
            self._due.extend(spoke for spoke in turn if not spoke.cancelled)
        for _ in range(min(AT_ONCE, len(self._due))):
            try:
                self._due.popleft().call()
            except Exception:  # noqa: BLE001 - a bug met by one connection must not stop the others' timers
                _log.exception("wheel.call_failed")
        if self._due:
            self._timer = self._loop_timer(0, self._turn)
        else:
            self._arm()

"""What waits to be delivered to a store that may be away, and whose turn it is. Decides only; delivers nothing.

In the order in which it came, a few at a time. When the store does not answer, all of it waits, with pauses that
grow, and one delivery asks whether it is back: the next one in the order each time, so that none which the store
cannot take stands before all others. When it is back, deliveries begin one by one again. What fails by itself
waits by itself.
"""

import heapq
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from interlock.ports import Clock, Entropy

AT_ONCE = 4
"""Deliveries at the same time: enough to hide latency, few enough to leave disk and network to the sessions."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
"""Bounds of a pause, which is drawn between half of its bound and all of it: many daemons lose a store at once."""

LONGEST_HURRIED_S = 1.0
"""The same while the disk has no room for what waits."""

_BITS = 53  # of randomness in a pause

T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Turn(Generic[T]):
    """Something to deliver."""

    item: T
    number: int  # in the order of coming
    openings: int = 0  # how often the store seemed to be away at this one while others got through
    failures: int = 0  # how often it failed by itself

    def __lt__(self, other: "Turn[T]") -> bool:
        return self.number < other.number


class Backlog(Generic[T]):
    """Ask `take` for what to try now; then say how it went by exactly one of `delivered`, `failed` and `away`."""

    def __init__(self, *, clock: Clock, entropy: Entropy, at_once: int = AT_ONCE) -> None:
        self._clock = clock
        self._entropy = entropy
        self._at_once = at_once
        self._count = 0
        self._ready: list[Turn[T]] = []  # a heap, by number
        self._later: list[tuple[float, Turn[T]]] = []  # a heap, by time
        self._tried: deque[Turn[T]] = deque()  # asked for in vain since the store went away
        self._trying: set[Turn[T]] = set()
        self._probe: Turn[T] | None = None  # what asks, since the store went away
        self._slots = at_once
        self._refusals = 0  # in a row; 0: the store answers
        self._silent_until = 0.0
        self._hurried = False

    def __len__(self) -> int:
        return len(self._ready) + len(self._later) + len(self._tried) + len(self._trying)

    @property
    def store_away(self) -> bool:
        """Whether the store did not answer when it was asked last."""
        return self._refusals > 0

    def put(self, item: T) -> None:
        """Something more to deliver, behind all others."""
        self._count += 1
        heapq.heappush(self._ready, Turn(item, self._count))

    def hurry(self, *, on: bool) -> None:
        """Whether pauses must be short; what waits for the end of one need not any more."""
        if on and not self._hurried:
            self._silent_until = 0.0
            self._later = [(0.0, turn) for _, turn in self._later]
        self._hurried = on

    def take(self) -> Turn[T] | None:
        """What is to be tried now, if anything is."""
        now = self._clock.monotonic()
        while self._later and self._later[0][0] <= now:
            heapq.heappush(self._ready, heapq.heappop(self._later)[1])
        if self.store_away:
            if self._trying or now < self._silent_until:
                return None
            if not self._ready:
                self._again()
        if not self._ready or len(self._trying) >= self._slots:
            return None
        turn = heapq.heappop(self._ready)
        self._trying.add(turn)
        self._probe = turn if self.store_away else None
        return turn

    def due_in(self) -> float | None:
        """Seconds until `take` may have something that it has not now; None: not before something else happens."""
        now = self._clock.monotonic()
        times = [self._later[0][0]] if self._later else []
        if self.store_away:
            if self._trying:
                return None
            times = [max(self._silent_until, *times)] if not (self._ready or self._tried) else [self._silent_until]
        return max(0.0, min(times) - now) if times else None

    def delivered(self, turn: Turn[T]) -> None:
        """The store has it, or will never take it: either way the store answered."""
        self._trying.discard(turn)
        self._answered()

    def failed(self, turn: Turn[T], *, answered: bool) -> None:
        """It did not get there, for a reason that is its own. ``answered``: whether the store said so."""
        self._trying.discard(turn)
        if answered:
            self._answered()
        turn.failures += 1
        self._delay(turn, turn.failures)

    def away(self, turn: Turn[T]) -> None:
        """The store did not answer."""
        self._trying.discard(turn)
        first = not self.store_away
        if first or turn is self._probe:  # and not others that were under way
            self._refusals += 1
            self._silent_until = self._clock.monotonic() + self._pause(self._refusals)
        if first:
            turn.openings += 1
            self._delay(turn, turn.openings)
        else:
            self._tried.append(turn)

    def _answered(self) -> None:
        if self.store_away:
            self._refusals, self._slots = 0, 1
            self._again()
        else:
            self._slots = min(self._slots + 1, self._at_once)

    def _again(self) -> None:
        """What was tried in vain may be tried again."""
        for turn in self._tried:
            heapq.heappush(self._ready, turn)
        self._tried.clear()

    def _delay(self, turn: Turn[T], times: int) -> None:
        heapq.heappush(self._later, (self._clock.monotonic() + self._pause(times), turn))

    def _pause(self, times: int) -> float:
        longest = LONGEST_HURRIED_S if self._hurried else LONGEST_PAUSE_S
        bound: float = min(FIRST_PAUSE_S * 2.0 ** min(times - 1, 20), longest)
        drawn: float = (int.from_bytes(self._entropy.token(7)) >> 3) / (1 << _BITS)
        return bound * (1 + drawn) / 2

"""What guessing passwords costs the guesser: pauses, an allowance for each source, and fair turns at the work.

Nobody can lock others out: pauses and allowances count per source, and when too many wait for a turn, it is the
source with most of them that is turned away. What is waited for (a password's verification) is not known here.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

BRAKED = "too many failures, the brake is on"
"""The reason, for the audit log; people read what they read of any failure."""

FREE_FAILURES = 5
"""Failures of one user from one source before the brake acts."""

MAX_DELAY_S = 60.0
"""The longest pause between two attempts of one user from one source."""

SOURCE_FAILURES = 30
"""Failures of one source, whoever it claims to be, before it has to wait. An office may share one address."""

SOURCE_PAUSE_S = 10.0
"""Seconds after which a source is forgiven one failure: some 9,000 guesses a day."""

MAX_TRACKED = 10_000
"""Users and sources that are remembered; the longest unused is forgotten first, so memory is bounded."""

MAX_PARALLEL = 2
"""Passwords verified at the same time: each takes 64 MiB and some tens of milliseconds of a core (R17)."""

MAX_WAITING = 64
"""Attempts that may wait for their turn: the last of them waits two or three seconds."""

Key = tuple[str, str]
"""User and source."""

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")


@dataclass(slots=True)
class _Failures:
    count: int
    until: float  # no attempt before this reading of the monotonic clock
    before: float = 0.0  # what `until` was before the newest attempt


class Brake:
    """Decides at once whether an attempt may be judged.

    An attempt counts as failed when it begins, so that a thousand at the same time are not a thousand guesses.
    Who has signed in from a source before is spared its allowance: the neighbours of a guesser behind one address
    get in. (By that a guesser can find out which users its own source has, and by nothing else.)
    """

    def __init__(self) -> None:
        self._failures: OrderedDict[Key, _Failures] = OrderedDict()
        self._known: OrderedDict[Key, None] = OrderedDict()  # who has signed in from where
        self._spent: OrderedDict[str, float] = OrderedDict()  # by source: when all its failures will be forgiven

    def begin(self, key: Key, now: float) -> bool:
        """Whether this attempt may be judged; call `succeeded` or `undo` unless it fails."""
        spared = key in self._known
        if not spared and not self._allowed(key[1], now):
            return False
        failures = self._failures.setdefault(key, _Failures(0, now))
        if now < failures.until:
            return False
        failures.count, failures.before = failures.count + 1, failures.until
        over = failures.count - FREE_FAILURES
        failures.until = now + (min(2.0**over, MAX_DELAY_S) if over >= 0 else 0.0)
        _touch(self._failures, key)
        if not spared:
            self._spent[key[1]] = max(now, self._spent.get(key[1], now)) + SOURCE_PAUSE_S
            _touch(self._spent, key[1])
        return True

    def succeeded(self, key: Key) -> None:
        """The attempt was no failure, and this user is at home there."""
        self._failures.pop(key, None)
        self._forgive(key)
        self._known[key] = None
        _touch(self._known, key)

    def undo(self, key: Key) -> None:
        """The attempt was not judged after all."""
        if (failures := self._failures.get(key)) is not None:
            failures.count, failures.until = failures.count - 1, failures.before
        self._forgive(key)

    def knows(self, key: Key) -> bool:
        """Whether this user has signed in from this source before."""
        return key in self._known

    def _allowed(self, source: str, now: float) -> bool:
        return self._spent.get(source, now) - now <= (SOURCE_FAILURES - 1) * SOURCE_PAUSE_S

    def _forgive(self, key: Key) -> None:
        if key not in self._known and key[1] in self._spent:
            self._spent[key[1]] -= SOURCE_PAUSE_S


class Turns:
    """So many at the same time; the others wait, and one source after the other gets a turn."""

    def __init__(self, parallel: int = MAX_PARALLEL, waiting: int = MAX_WAITING) -> None:
        self._free = parallel
        self._room = waiting
        self._waiting: OrderedDict[str, deque[asyncio.Future[bool]]] = OrderedDict()  # by source, next one first

    @asynccontextmanager
    async def turn(self, source: str) -> AsyncIterator[bool]:
        """Wait for a turn and hold it; False, soon, if too many wait."""
        given = await self._take(source)
        try:
            yield given
        finally:
            if given:
                self._give_back()

    async def _take(self, source: str) -> bool:
        if self._free:
            self._free -= 1
            return True
        if not self._make_room(source):
            return False
        mine: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(source, deque()).append(mine)
        try:
            return await mine
        except asyncio.CancelledError:
            if mine.cancelled():
                self._leave(source, mine)
            elif mine.result():  # the turn came in the same moment: it is the next one's
                self._give_back()
            raise

    def _make_room(self, source: str) -> bool:
        if sum(map(len, self._waiting.values())) < self._room:
            return True
        busiest = max(self._waiting, key=lambda each: len(self._waiting[each]), default=source)
        if len(self._waiting.get(busiest, ())) <= len(self._waiting.get(source, ())) + 1:
            return False
        newest = self._waiting[busiest].pop()
        if not newest.done():
            newest.set_result(False)
        return True

    def _give_back(self) -> None:
        while self._waiting:
            source, queue = self._waiting.popitem(last=False)
            first = queue.popleft()
            if queue:
                self._waiting[source] = queue  # behind the others
            if not first.done():  # done: cancelled a moment ago, and its task has not run yet
                first.set_result(True)
                return
        self._free += 1

    def _leave(self, source: str, future: "asyncio.Future[bool]") -> None:
        queue = self._waiting.get(source, deque())
        if future in queue:
            queue.remove(future)
            if not queue:
                del self._waiting[source]


def _touch(kept: "OrderedDict[KeyT, ValueT]", key: KeyT) -> None:
    """Make ``key`` the last to be forgotten, and forget the first if there are too many."""
    kept.move_to_end(key)
    if len(kept) > MAX_TRACKED:
        kept.popitem(last=False)

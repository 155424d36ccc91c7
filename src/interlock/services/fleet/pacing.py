"""How much each daemon apart may put into auth's stores: one that was taken over does not fill the database.

Honest daemons meet none of this: what they do in their busiest minute passes. Whoever goes beyond it is told to
try again later, as when the store is away; what a daemon has to tell waits at the daemon, and nothing is lost. One
event in an hour says so.
"""

from collections import OrderedDict
from dataclasses import dataclass

from interlock.core.errors import StoreError
from interlock.core.ids import DaemonId
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.tracker import Tracker, TrackerState
from interlock.ports import AuditLog, Clock, KnownTrackers
from interlock.services.audit.allowance import Allowance
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.daemonca import HostIdentity


@dataclass(frozen=True, slots=True)
class Rate:
    """So much at once, and so much more in each second."""

    at_once: int
    each_second: int


@dataclass(frozen=True, slots=True)
class Pace:
    """Of one daemon, at one auth.

    A session leaves six events of 840 bytes each, at a proxy two rows more (`ports.SharedClaims`, `domain.twin`),
    and three states of its tracker of as many bytes.
    """

    events: Rate = Rate(600_000, 1_500)  # a thousand sessions in each second of a minute; then 130 for ever
    trackers: Rate = Rate(200_000, 500)
    octets: Rate = Rate(1 << 30, 1 << 20)  # of both; what is behind the first GiB is 90 GB a day
    live: int = 100_000  # trackers of sessions that go on: more connections than a machine has ports for


PACE = Pace()

MAX_DAEMONS = 10_000
"""Daemons that are remembered; the one that has been silent longest is forgotten first."""

TOLD_EVERY_S = 3600.0
"""Seconds after which it is told again that a daemon has to wait."""

COUNTED_EVERY_S = 10.0
"""Seconds for which a daemon that has too many live trackers is not counted again."""


@dataclass(slots=True)
class _Daemon:
    events: Allowance
    trackers: Allowance
    octets: Allowance
    live: int | None = None  # at most as many live trackers; None: not counted yet
    counted: float = 0.0  # when they were
    told: float | None = None  # when the last event was
    refused: int = 0  # since then


class Pacing:
    """Asked before anything of a daemon is stored. StoreError: it has to wait."""

    def __init__(
        self,
        *,
        audit: AuditLog,
        trackers: KnownTrackers,
        factory: EventFactory,
        clock: Clock,
        pace: Pace = PACE,
    ) -> None:
        self._audit = audit
        self._trackers = trackers
        self._factory = factory
        self._clock = clock
        self._pace = pace
        self._daemons: OrderedDict[DaemonId, _Daemon] = OrderedDict()

    async def events(self, daemon: HostIdentity, count: int, octets: int) -> None:
        """So many rows, and bytes of a message, for ever."""
        mine = self._daemon(daemon.id)
        await self._take(daemon, mine, mine.events, "events", count, octets)

    async def tracker(self, daemon: HostIdentity, tracker: Tracker, octets: int) -> None:
        """One state of one session. What ends a session, or goes on with one, needs no place."""
        now, mine = self._clock.monotonic(), self._daemon(daemon.id)
        await self._take(daemon, mine, mine.trackers, "tracker changes", 1, octets)
        if tracker.state is TrackerState.TERMINATED:
            return
        if not await self._has_place(daemon.id, mine, now) and await self._trackers.find(tracker.sid) is None:
            await self._refuse(daemon, mine, "live sessions")

    async def _take(
        self, daemon: HostIdentity, mine: _Daemon, rows: Allowance, what: str, count: int, octets: int
    ) -> None:
        """Both or nothing: whoever tries again for want of bytes does not run out of rows by it."""
        now = self._clock.monotonic()
        if not rows.take(count, now=now):
            await self._refuse(daemon, mine, what)
        if not mine.octets.take(octets, now=now):
            rows.give_back(count)
            await self._refuse(daemon, mine, "bytes")

    async def _has_place(self, daemon: DaemonId, mine: _Daemon, now: float) -> bool:
        """Counts when there might be none: each state that was put since then could be one session more."""
        full = mine.live is not None and mine.live >= self._pace.live
        if mine.live is None or (full and now - mine.counted >= COUNTED_EVERY_S):
            mine.live, mine.counted = await self._trackers.count_live(daemon), now
        if mine.live >= self._pace.live:
            return False
        mine.live += 1
        return True

    def _daemon(self, daemon: DaemonId) -> _Daemon:
        found = self._daemons.get(daemon)
        if found is None:
            found = self._daemons[daemon] = self._fresh()
            if len(self._daemons) > MAX_DAEMONS:
                self._daemons.popitem(last=False)
        self._daemons.move_to_end(daemon)
        return found

    def _fresh(self) -> _Daemon:
        now = self._clock.monotonic()
        rates = (self._pace.events, self._pace.trackers, self._pace.octets)
        events, trackers, octets = (Allowance(each.at_once, each.each_second, now=now) for each in rates)
        return _Daemon(events, trackers, octets)

    async def _refuse(self, daemon: HostIdentity, mine: _Daemon, what: str) -> None:
        now = self._clock.monotonic()
        mine.refused += 1
        if mine.told is None or now - mine.told >= TOLD_EVERY_S:
            fields: dict[str, JsonValue] = {
                "server_id": daemon.id,
                "server_hostname": daemon.names[0] if daemon.names else "",
                "kind": daemon.kind.value,
                "reason": f"too many {what}",
                "refused": mine.refused,
            }
            mine.told, mine.refused = now, 0
            await self._audit.append([self._factory.make(Kind.DAEMON_THROTTLED, fields)])
        reason = f"{daemon.kind.value} {daemon.id}: too many {what}"
        raise StoreError("auth takes no more of this daemon at the moment: it is to try again", reason=reason)

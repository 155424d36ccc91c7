"""Stores in memory and time that passes on command, for tests of services."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from interlock.core.errors import Denied, NotFound, StoreError
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import (
    BY_AUTH,
    NEXT,
    ONCE_PER_SESSION,
    SYNTHESIZED,
    AuditEvent,
    JsonValue,
    Kind,
    fact,
)
from interlock.domain.cluster import Relation, TrustedCluster
from interlock.domain.tracker import Tracker, TrackerState
from interlock.domain.twin import Twin
from interlock.ports import EventFilter, MemberProxy
from interlock.testing.clock import FakeClock


class MemoryAuditLog:
    """`ports.AuditLog` and `ports.EventReader`. ``failures``: how many of the next appends fail."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.appends = 0
        self.stored: list[AuditEvent] = []

    async def append(self, events: Sequence[AuditEvent]) -> None:
        """Store, dropping what is stored already; StoreError while failures are left."""
        self.appends += 1
        if self.failures:
            self.failures -= 1
            raise StoreError("the audit log is away")
        told = {event.sid for event in events if event.sid is not None}
        made_up = [event for event in self.stored if event.sid in told and _by_auth(event)]
        self.stored = [event for event in self.stored if event not in made_up]
        for event in [*events, *(replace(end, index=NEXT) for end in made_up)]:
            once = event.kind.event in ONCE_PER_SESSION
            if not any(
                _fact(event) == _fact(other)
                or (once and event.sid == other.sid and event.kind.event == other.kind.event)
                for other in self.stored
            ):
                self.stored.append(self._numbered(event))

    def knows(self, sid: SessionId) -> bool:
        """`ports.SessionLookup`."""
        return any(event.sid == sid and event.kind is not Kind.SESSION_REJECTED for event in self.stored)

    def _numbered(self, event: AuditEvent) -> AuditEvent:
        if event.index != NEXT:
            return event
        numbers = [other.index for other in self.stored if other.sid == event.sid]
        return replace(event, index=1 + max(numbers, default=-1))

    async def events(self, wanted: EventFilter) -> list[dict[str, JsonValue]]:
        """Stored events as JSON objects, oldest first."""
        found = [event.to_json() for event in self.stored]
        for name, value in (("sid", wanted.sid), ("user", wanted.user), ("event", wanted.event)):
            if value is not None:
                found = [event for event in found if event.get(name) == value]
        return found[-wanted.limit :] if wanted.newest else found[: wanted.limit]

    async def begun(
        self, *, user: str | None, before: int | None, limit: int
    ) -> list[tuple[int, dict[str, JsonValue]]]:
        """`ports.BegunSessions`."""
        starts = [
            (number, event.to_json())
            for number, event in enumerate(self.stored)
            if event.kind is Kind.SESSION_START and (before is None or number < before)
        ]
        return [each for each in reversed(starts) if user in (None, each[1].get("user"))][:limit]

    async def have_begun(self, sids: Iterable[SessionId]) -> set[SessionId]:
        """`ports.BegunSessions`."""
        begun = {event.sid for event in self.stored if event.kind is Kind.SESSION_START}
        return {sid for sid in sids if sid in begun}

    async def deleted(self, sids: Iterable[SessionId]) -> set[SessionId]:
        """`ports.BegunSessions`."""
        gone = {event.sid for event in self.stored if event.kind is Kind.RECORDING_DELETE}
        return {sid for sid in sids if sid in gone}

    def of(self, sid: str) -> list[tuple[int, str, str]]:
        """Number, name and code of a session's events, as they were stored."""
        return [(event.index, event.kind.event, event.kind.code) for event in self.stored if event.sid == sid]


def _by_auth(event: AuditEvent) -> bool:
    return event.fields.get(SYNTHESIZED) == BY_AUTH


def _fact(event: AuditEvent) -> str:
    return fact(event.uid, event.sid, event.kind.event, event.fields.get(SYNTHESIZED))


class MemoryTrackers:
    """`ports.TrackerStore`. ``failures``: how many of the next writes fail."""

    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.stored: dict[SessionId, Tracker] = {}
        self.history: list[tuple[SessionId, TrackerState]] = []  # every put, in order
        self.beats: list[tuple[SessionId, ...]] = []

    async def put(self, tracker: Tracker) -> None:
        """Create or replace; never back to an earlier state."""
        self._fail()
        self.history.append((tracker.sid, tracker.state))
        order = list(TrackerState)
        known = self.stored.get(tracker.sid)
        if known is None or known.swept or order.index(tracker.state) >= order.index(known.state):
            self.stored[tracker.sid] = tracker

    async def put_all(self, trackers: Sequence[Tracker]) -> None:
        """Each by itself."""
        for tracker in trackers:
            await self.put(tracker)

    async def keep(self, daemon: DaemonId, sids: Iterable[SessionId], expires: datetime) -> None:
        """One heartbeat for all sessions of a daemon."""
        self._fail()
        self.beats.append(tuple(sids))
        for sid in self.beats[-1]:
            tracker = self.stored.get(sid)
            if tracker is not None and tracker.daemon_id == daemon:
                self.stored[sid] = replace(tracker, expires=expires, swept=False)

    async def live(self) -> list[Tracker]:
        """What is not terminated, oldest first."""
        live = [each for each in self.stored.values() if each.state is not TrackerState.TERMINATED]
        return [tracker for tracker in live if not tracker.swept]

    async def page(self, *, after: str, limit: int) -> list[Tracker]:
        """`ports.TrackerPages`."""
        live = sorted(await self.live(), key=lambda tracker: tracker.cursor)
        return [tracker for tracker in live if tracker.cursor > after][:limit]

    async def among(self, sids: Iterable[SessionId]) -> list[Tracker]:
        """`ports.TrackerPages`."""
        wanted = set(sids)
        return [tracker for tracker in await self.live() if tracker.sid in wanted]

    async def find(self, sid: SessionId) -> Tracker | None:
        """`ports.TrackerLookup`."""
        return next((tracker for tracker in await self.live() if tracker.sid == sid), None)

    def _fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise StoreError("the tracker store is away")


class MemoryProxies:
    """`ports.ProxyStore`."""

    def __init__(self) -> None:
        self.stored: dict[DaemonId, MemberProxy] = {}

    async def add_proxy(self, proxy: MemberProxy) -> None:
        """It has joined."""
        self.stored[proxy.id] = proxy

    async def proxies(self) -> list[MemberProxy]:
        """All of them, by name."""
        return sorted(self.stored.values(), key=lambda each: (each.names, each.id))

    async def report_proxy(
        self, proxy: DaemonId, *, peer: str, tunnels: Iterable[DaemonId], expires: datetime
    ) -> None:
        """What a proxy says of itself."""
        if proxy not in self.stored:
            raise Denied("this proxy was removed from the cluster")
        self.stored[proxy] = replace(self.stored[proxy], peer=peer, tunnels=tuple(tunnels), expires=expires)

    async def pin_host_key(self, proxy: DaemonId, host_key: str) -> None:
        """Keep it, if it is the first."""
        known = self.stored[proxy]
        self.stored[proxy] = replace(known, host_key=known.host_key or host_key)

    async def remove_proxy(self, proxy: DaemonId) -> None:
        """Forget it."""
        if self.stored.pop(proxy, None) is None:
            raise NotFound(f"there is no proxy {proxy}")


class MemoryProofs:
    """`ports.ProofUses`."""

    def __init__(self) -> None:
        self.used: dict[str, tuple[str, datetime]] = {}

    async def use_proof(self, proof: str, by: str, *, now: datetime, forget: datetime) -> bool:
        """Note it."""
        self.used = {name: use for name, use in self.used.items() if use[1] >= forget}
        return self.used.setdefault(proof, (by, now))[0] == by


class MemoryTwins:
    """`ports.TwinStore` that keeps what it is told and finds nothing."""

    def __init__(self) -> None:
        self.told: list[Twin] = []

    async def put(self, twin: Twin) -> None:
        """Keep it."""
        self.told.append(twin)

    async def folded(self, among: Iterable[SessionId]) -> dict[SessionId, SessionId]:
        """None."""
        del among
        return {}

    async def one(self, sid: SessionId) -> SessionId:
        """Each is its own."""
        return sid


class VirtualSleep:
    """Stands in for ``asyncio.sleep``: nobody wakes until the test lets time pass."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._changed = asyncio.Event()

    async def __call__(self, seconds: float) -> None:
        """Sleep until the clock was advanced by so much."""
        wakes: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._clock.monotonic() + seconds, wakes))
        self._changed.set()
        await wakes

    async def wait_sleeper(self, seconds: float) -> None:
        """Return when somebody sleeps who will wake in exactly ``seconds``."""
        while not any(
            abs(at - self._clock.monotonic() - seconds) < 1e-6 and not wakes.done() for at, wakes in self._sleepers
        ):
            self._changed.clear()
            await self._changed.wait()

    async def pass_pause(self) -> float:
        """Wait until somebody sleeps, and let the time pass until the first one wakes; how long that was."""
        while not (due := [at for at, wakes in self._sleepers if not wakes.done()]):
            self._changed.clear()
            await self._changed.wait()
        seconds = max(0.0, min(due) - self._clock.monotonic()) + 1e-6  # clocks count microseconds
        self.advance(seconds)
        return seconds

    def advance(self, seconds: float) -> None:
        """Let time pass and wake who is due."""
        self._clock.advance(seconds)
        now = self._clock.monotonic() + 1e-9
        for at, wakes in self._sleepers:
            if at <= now and not wakes.done():
                wakes.set_result(None)
        self._sleepers = [(at, wakes) for at, wakes in self._sleepers if at > now]


@dataclass(eq=False)
class FakeTimer:
    """A pending call of `FakeTimers`."""

    delay: float
    callback: Callable[[], None]
    owner: "FakeTimers"

    def cancel(self) -> None:
        """Make sure that the call does not happen."""
        if self in self.owner.pending:
            self.owner.pending.remove(self)


class FakeTimers:
    """Stands in for the loop's ``call_later``: calls happen when the test fires them."""

    def __init__(self) -> None:
        self.pending: list[FakeTimer] = []

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeTimer:
        """Remember the call."""
        self.pending.append(FakeTimer(delay, callback, self))
        return self.pending[-1]

    def fire(self) -> None:
        """Do everything that is pending."""
        due, self.pending = self.pending, []
        for timer in due:
            timer.callback()


class MemoryTrusts:
    """`ports.TrustStore` in memory."""

    def __init__(self) -> None:
        self.stored: dict[tuple[Relation, str], TrustedCluster] = {}

    async def trusted_clusters(self, relation: Relation | None = None) -> list[TrustedCluster]:
        """All of them, or those of one kind, by name."""
        found = sorted(self.stored.items(), key=lambda each: (each[0][1], each[0][0].value))
        return [cluster for (kind, _), cluster in found if relation in (None, kind)]

    async def trusted_cluster(self, relation: Relation, name: str) -> TrustedCluster:
        """The one with this name; NotFound otherwise."""
        found = self.stored.get((relation, name.lower()))
        if found is None:
            raise NotFound(f"there is no {relation.value} cluster called {name}")
        return found

    async def put_trust(self, cluster: TrustedCluster) -> None:
        """Store, in the place of an older record of the same cluster; Denied if another has the name."""
        key = (cluster.relation, cluster.name.lower())
        if self.stored.get(key, cluster).id != cluster.id:
            raise Denied(f"another {cluster.relation.value} cluster is called {cluster.name} already")
        for known in [
            known for known, each in self.stored.items() if each.id == cluster.id and known[0] is cluster.relation
        ]:
            del self.stored[known]
        self.stored[key] = replace(cluster, name=cluster.name.lower())

    async def remove_trust(self, relation: Relation, name: str) -> None:
        """Forget; NotFound if there is none."""
        await self.trusted_cluster(relation, name)
        del self.stored[relation, name.lower()]

"""Retention: drops events and recordings that are too old or too many, and never what is held.

Events by the one auth that leads, recordings by the one that leads where all auths have one storage. Each does
a little at a time, since others write meanwhile, and in a task of its own, since a storage may be slow. Each
deletion is told before it is done, or together with it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol

import structlog

from interlock.core.errors import InterlockError
from interlock.domain.audit import AuditEvent, JsonValue, Kind
from interlock.domain.hold import HoldKind, Retention
from interlock.domain.signing import Purpose, SigningKey
from interlock.ports import (
    AuditLog,
    Clock,
    Dropped,
    EventLimits,
    EventRetention,
    HoldStore,
    RecordingInfo,
    RecordingSize,
    RemovableRecordings,
)
from interlock.services.audit.emitter import EventFactory
from interlock.services.audit.outbox import Sleep

TEND_S = 10.0
"""Seconds between two calls while there is more to do."""

STEPS = 5
"""Steps of one call at most: half a second or so."""

RECORDINGS_AT_ONCE = 200
"""Recordings removed by one call at most."""

PAUSE_S = 3600.0
"""Seconds between two looks when nothing was left to do: each deletion is an event itself."""

FAILURE_PAUSE_S = 300.0
"""Seconds until the next attempt when the storage is away."""

FAILURES = 3
"""Recordings in a row that cannot be removed, after which the storage counts as away."""

_log = structlog.get_logger()


class Tended(Protocol):
    """What is done a little at a time."""

    async def tend(self) -> None:
        """Do some of what is due. InterlockError: the next call goes on."""
        ...


async def keep_tending(each: Tended, *, sleep: Sleep = asyncio.sleep) -> None:
    """Until cancelled."""
    while True:
        try:
            await each.tend()
        except InterlockError as error:
            _log.warning("retention.retry", reason=error.reason)
        except Exception:  # noqa: BLE001 - a bug here must not end the gateway, in whose process we are
            _log.exception("retention.failed")
        await sleep(TEND_S)


class EventRetainer:
    """Of the audit log."""

    def __init__(
        self,
        policy: Retention,
        events: EventRetention,
        factory: EventFactory,
        *,
        key: Callable[[], SigningKey],
        cluster: str,
        clock: Clock,
        taken: Callable[[], Awaitable[Mapping[str, int] | None]],
    ) -> None:
        """``taken``: up to where every export has what each writer told; None if there are no exports."""
        self._policy = policy
        self._events = events
        self._factory = factory
        self._key = key
        self._cluster = cluster
        self._clock = clock
        self._taken = taken
        self._due = clock.monotonic()

    async def tend(self) -> None:
        """See `Tended`."""
        if self._clock.monotonic() >= self._due and not await self._drop():
            self._due = self._clock.monotonic() + PAUSE_S

    async def _drop(self) -> bool:
        """Whether there may be more to do at once."""
        policy, now = self._policy, self._clock.now()
        if not policy.of_events:
            return False
        before = None if policy.events_for is None else now - policy.events_for
        limits = EventLimits(before, policy.events_bytes, await self._taken())
        for _ in range(STEPS):
            key = self._key()
            dropped = await self._events.drop(
                limits,
                sign=partial(_sign, key),
                key=key.public,
                tell=self._dropped,
                now=now,
                cluster=self._cluster,
            )
            if dropped is None:
                return False
            _log.info("retention.events", writer=dropped.writer, last=dropped.last, events=dropped.events)
        return True

    def _dropped(self, dropped: Dropped) -> AuditEvent:
        fields: dict[str, JsonValue] = {
            "writer": dropped.writer,
            "first": dropped.first,
            "last": dropped.last,
            "events": dropped.events,
            "bytes": dropped.bytes,
            "held": dropped.held,
        }
        return self._factory.make(Kind.DROPPED, fields)


def _sign(key: SigningKey, body: str) -> bytes:
    return key.sign(Purpose.CUT, body.encode())


class RecordingRetainer:
    """Of the stored recordings: listed once, then removed from the oldest on, over several calls."""

    def __init__(
        self,
        policy: Retention,
        recordings: RemovableRecordings,
        holds: HoldStore,
        log: AuditLog,
        factory: EventFactory,
        *,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._recordings = recordings
        self._holds = holds
        self._log = log
        self._factory = factory
        self._clock = clock
        self._due = clock.monotonic()
        self._left: deque[RecordingSize] = deque()  # of what was listed, oldest first, what was not looked at yet
        self._total = 0  # bytes of all that is stored

    async def tend(self) -> None:
        """See `Tended`."""
        if self._clock.monotonic() < self._due or not self._policy.of_recordings:
            return
        pause = FAILURE_PAUSE_S
        try:
            if not self._left:
                found = await self._recordings.sizes()
                self._total = sum(each.size for each in found)
                self._left = deque(sorted(found, key=lambda each: each.stored))
            pause = 0.0 if await self._go_on() else PAUSE_S
        finally:
            self._due = self._clock.monotonic() + pause

    async def _go_on(self) -> bool:
        """Whether there may be more to do at once."""
        users = {hold.name for hold in await self._holds.holds() if hold.kind is HoldKind.USER}
        removed = failures = 0
        while self._left and (reason := self._reason(self._left[0])) is not None:
            if removed == RECORDINGS_AT_ONCE:
                return True
            each = self._left.popleft()
            try:
                info = await self._removable(each, users)
                if info is not None:
                    await self._remove(info, reason)
                    removed, self._total = removed + 1, self._total - each.size
                failures = 0
            except (InterlockError, OSError) as error:
                failures += 1
                said = error.reason if isinstance(error, InterlockError) else str(error)
                _log.warning("retention.recording_stays", sid=each.sid, reason=said)
                if failures == FAILURES:
                    raise
        self._left.clear()
        return False

    def _reason(self, oldest: RecordingSize) -> str | None:
        """Why it has to go; None if it, and all that are younger, may stay."""
        policy = self._policy
        if policy.recordings_for is not None and self._clock.now() - oldest.stored > policy.recordings_for:
            return "recordings_days"
        if policy.recordings_bytes is not None and self._total > policy.recordings_bytes:
            return "recordings_max_gb"
        return None

    async def _removable(self, each: RecordingSize, users: set[str]) -> RecordingInfo | None:
        """What it is; None if it is held, or gone. Its header counts where the events of it are gone."""
        for info in await self._recordings.recordings([each.sid]):
            if info.meta.get("user") not in users and not await self._holds.held([each.sid]):
                return info
        return None

    async def _remove(self, info: RecordingInfo, reason: str) -> None:
        """Told first: a crash in between leaves a recording that the next look removes, untold a second time."""
        fields: dict[str, JsonValue] = {"reason": reason, "size": info.size}
        fields |= {name: info.meta[name] for name in ("user", "login", "start") if name in info.meta}
        told = self._factory.make(Kind.RECORDING_DELETE, fields, sid=info.sid, repeatable=True)
        await self._log.append([told])
        await self._recordings.remove(info.sid)
        _log.info("retention.recording", sid=info.sid, reason=reason)

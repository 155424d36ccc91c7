"""Retention: drops events and recordings that are too old or too many, and never what is held.

It is called by the sweeper's timer, in the process that leads, and does a little each time, since others write
meanwhile. Each deletion is told before it is done, or together with it.
"""

from collections.abc import Awaitable, Callable, Mapping

import structlog

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
    RemovableRecordings,
)
from interlock.services.emitter import EventFactory

STEPS = 5
"""Steps of one call at most: half a second or so."""

RECORDINGS_AT_ONCE = 200
"""Recordings removed by one call at most."""

PAUSE_S = 3600.0
"""Seconds between two looks when nothing was left to do: each deletion is an event itself, and each look at the
recordings may be a request to the storage for each of them."""

_log = structlog.get_logger()


class Retainer:
    """See the module's docstring."""

    def __init__(
        self,
        policy: Retention,
        events: EventRetention,
        recordings: RemovableRecordings,
        holds: HoldStore,
        log: AuditLog,
        factory: EventFactory,
        *,
        key: SigningKey,
        cluster: str,
        clock: Clock,
        taken: Callable[[], Awaitable[Mapping[str, int] | None]],
    ) -> None:
        """``taken``: up to where every export has what each writer told; None if there are no exports."""
        self._policy = policy
        self._events = events
        self._recordings = recordings
        self._holds = holds
        self._log = log
        self._factory = factory
        self._key = key
        self._cluster = cluster
        self._clock = clock
        self._taken = taken
        self._events_due = self._recordings_due = clock.monotonic()

    async def tend(self) -> None:
        """Do some of what is due. StoreError: the next call goes on."""
        now = self._clock.monotonic()
        if now >= self._events_due and not await self._drop_events():
            self._events_due = now + PAUSE_S
        if now >= self._recordings_due and not await self._drop_recordings():
            self._recordings_due = now + PAUSE_S

    async def _drop_events(self) -> bool:
        """Whether there may be more to do at once."""
        policy, now = self._policy, self._clock.now()
        if policy.events_for is None and policy.events_bytes is None:
            return False
        before = None if policy.events_for is None else now - policy.events_for
        limits = EventLimits(before, policy.events_bytes, await self._taken())
        for _ in range(STEPS):
            dropped = await self._events.drop(
                limits, sign=self._sign, tell=self._dropped, now=now, cluster=self._cluster
            )
            if dropped is None:
                return False
            _log.info("retention.events", writer=dropped.writer, last=dropped.last, events=dropped.events)
        return True

    async def _drop_recordings(self) -> bool:
        policy = self._policy
        if policy.recordings_for is None and policy.recordings_bytes is None:
            return False
        stored = await self._recordings.recordings()  # newest first
        total, now = sum(each.size for each in stored), self._clock.now()
        removed = 0
        users = {hold.name for hold in await self._holds.holds() if hold.kind is HoldKind.USER}
        for info in reversed(stored):
            too_old = policy.recordings_for is not None and now - info.stored > policy.recordings_for
            too_many = policy.recordings_bytes is not None and total > policy.recordings_bytes
            if not (too_old or too_many):
                break
            if info.meta.get("user") in users or await self._holds.held([info.sid]):
                continue
            if removed == RECORDINGS_AT_ONCE:
                return True
            await self._remove(info, "recordings_days" if too_old else "recordings_max_gb")
            removed, total = removed + 1, total - info.size
        return False

    async def _remove(self, info: RecordingInfo, reason: str) -> None:
        """Told first: a crash in between leaves a recording that the next look removes, untold a second time."""
        fields: dict[str, JsonValue] = {"reason": reason, "size": info.size}
        fields |= {name: info.meta[name] for name in ("user", "login", "start") if name in info.meta}
        told = self._factory.make(Kind.RECORDING_DELETE, fields, sid=info.sid, repeatable=True)
        await self._log.append([told])
        await self._recordings.remove(info.sid)
        _log.info("retention.recording", sid=info.sid, reason=reason)

    def _sign(self, body: str) -> bytes:
        return self._key.sign(Purpose.CUT, body.encode())

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

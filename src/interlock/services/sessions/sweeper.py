"""The sweeper: auth's end for sessions whose daemon has died, from what the audit log knows of them.

Silence is all that auth sees of a dead daemon, and silence has other causes: auth itself was away or suspended,
its clock was set, the network is cut. So nobody is swept while auth cannot have heard everybody, nor a session of
auth's own process; and what is swept can come back: the end is marked as made up and gives way to the daemon's
own, and the tracker lives again with the daemon's next heartbeat.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from interlock.core.errors import InterlockError
from interlock.core.ids import SessionId
from interlock.domain.audit import BY_AUTH, ENVELOPE, NEXT, SYNTHESIZED, AuditEvent, JsonValue, Kind, rfc3339
from interlock.domain.coverage import Covered, Level, coverage_field
from interlock.domain.duties import RecordingMode
from interlock.domain.tracker import TRACKER_TTL, Tracker, TrackerState
from interlock.ports import AuditLog, Clock, EventFilter, EventReader, TrackerStore
from interlock.services.audit.emitter import EventFactory
from interlock.services.audit.outbox import Sleep
from interlock.services.sessions.trackers import HEARTBEAT_S

CLOCK_STEP_S = 5.0
"""Seconds by which the wall clock may go wrong between two sweeps; more is a clock that was set, or a suspend."""

_NOT_SHARED = ENVELOPE | {"size", SYNTHESIZED}

SILENT = "the daemon that recorded is silent: what it kept is known when it comes back"
MODE_OFF = "the recording mode is off"
_TELLER = "sweeper"

_log = structlog.get_logger()


class Patience:
    """Whether silence proves anything: not before everybody has had the time of a tracker's life to be heard."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall, self._passed = clock.now(), clock.monotonic()
        self._until = self._passed + TRACKER_TTL.total_seconds()

    def over(self) -> bool:
        """Ask at every sweep; a sweep that comes late was held up together with everything that others said."""
        wall, passed = self._clock.now(), self._clock.monotonic()
        step, pause = (wall - self._wall).total_seconds(), passed - self._passed
        self._wall, self._passed = wall, passed
        if abs(step - pause) > CLOCK_STEP_S or pause > HEARTBEAT_S + CLOCK_STEP_S:
            _log.info("sweeper.waits", clock_step=round(step - pause), pause=round(pause))
            self._until = passed + TRACKER_TTL.total_seconds()
        return passed >= self._until


class Sweeper:
    """Ends the sessions whose daemon died: one ``session.end`` from what the audit log knows, then the tracker."""

    def __init__(
        self,
        trackers: TrackerStore,
        reader: EventReader,
        log: AuditLog,
        factory: EventFactory,
        *,
        clock: Clock,
        lives_here: Callable[[SessionId], bool] = lambda _sid: False,
        chores: Sequence[Callable[[], Awaitable[object]]] = (),
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``lives_here``: whether a session belongs to this process, which knows by itself when it ends.

        ``chores``: what else is to be done now and then in the one process that sweeps; each takes a moment only.
        """
        self._chores = chores
        self._lives_here = lives_here
        self._trackers = trackers
        self._reader = reader
        self._log = log
        self._factory = factory
        self._clock = clock
        self._sleep = sleep
        self._patience = Patience(clock)

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            for work in (self.sweep, *self._chores):
                try:
                    await work()
                except InterlockError as error:
                    _log.warning("sweeper.retry", reason=error.reason)
                except Exception:  # noqa: BLE001 - a bug; what some daemon told must not end auth
                    _log.exception("sweeper.retry")
            await self._sleep(HEARTBEAT_S)

    async def sweep(self) -> list[SessionId]:
        """End what has expired by now, if that can be known, and return it. To be called every `HEARTBEAT_S`."""
        if not self._patience.over():
            return []
        now, live = self._clock.now(), await self._trackers.live()
        expired = [each for each in live if each.expired(now=now) and not self._lives_here(each.sid)]
        for tracker in expired:
            seen = tracker.expires - TRACKER_TTL
            stored = await self._known(tracker.sid)
            start = missing_start(tracker, stored, factory=self._factory)
            known = stored if start is None else [start.to_json(), *stored]
            end = missing_end(tracker.sid, known, last_seen=seen, factory=self._factory)
            if made_up := [event for event in (start, end) if event is not None]:
                await self._log.append(made_up)
            await self._trackers.put(replace(tracker, swept=True))
            _log.warning("sweeper.ended", sid=tracker.sid, daemon=tracker.daemon_id)
        return [tracker.sid for tracker in expired]

    async def _known(self, sid: SessionId) -> list[dict[str, JsonValue]]:
        """Its start, its end and its newest event, each if there is one: there may be any number of others."""
        one = EventFilter(sid=sid, limit=1, as_told=True)
        found = []
        for wanted in (
            replace(one, event=Kind.SESSION_START.event),
            replace(one, event=Kind.SESSION_END.event),
            replace(one, newest=True),
        ):
            found += await self._reader.events(wanted)
        return found


def missing_start(
    tracker: Tracker, stored: Sequence[dict[str, JsonValue]], *, factory: EventFactory
) -> AuditEvent | None:
    """The ``session.start`` of a session whose daemon died before it told; None if nothing ran, or it is told.

    The tracker has less than the daemon knew; the daemon's own start replaces this one, should it come back.
    """
    if tracker.state is not TrackerState.RUNNING or any(e["event"] == Kind.SESSION_START.event for e in stored):
        return None
    fields: dict[str, JsonValue] = {
        SYNTHESIZED: BY_AUTH,
        "user": tracker.user,
        "login": tracker.login,
        "server_id": tracker.target_id,
        "server_hostname": tracker.hostname,
        "server_sub_kind": tracker.sub_kind,
        "recorded_by": tracker.daemon_id,
        "proto": "ssh",
        "initial_command": list(tracker.command),
    }
    return factory.make(
        Kind.SESSION_START,
        fields,
        sid=tracker.sid,
        index=NEXT,
        time=tracker.created,
        repeatable=True,
        teller=_TELLER,
    )


def missing_end(
    sid: SessionId, stored: Sequence[dict[str, JsonValue]], *, last_seen: datetime, factory: EventFactory
) -> AuditEvent | None:
    """The ``session.end`` that a session with these stored events lacks; None if it lacks none."""
    start = next((event for event in stored if event["event"] == Kind.SESSION_START.event), None)
    if start is None or any(event["event"] == Kind.SESSION_END.event for event in stored):
        return None
    fields: dict[str, JsonValue] = {name: value for name, value in start.items() if name not in _NOT_SHARED}
    fields |= {
        SYNTHESIZED: BY_AUTH,
        "enhanced_recording": False,
        "interactive": "size" in start,
        "participants": [str(start.get("user", ""))],
        "session_start": start["time"],
        "session_stop": max(rfc3339(last_seen), str(stored[-1]["time"])),
    }
    off = start.get("session_recording") == RecordingMode.OFF.value
    unknown = Covered("session", Level.NONE if off else Level.PARTIAL, MODE_OFF if off else SILENT)
    fields |= coverage_field([unknown])
    return factory.make(Kind.SESSION_END, fields, sid=sid, index=NEXT, repeatable=True, teller=_TELLER)

"""All live sessions of a daemon, and the background work that they leave behind.

The registry hands each session what its duties ask for: recorder, journal and tracker, or objects that do nothing.
It knows nothing of SSH; the SSH servers hold the channels and tell their `LiveSession` what happens.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog

from interlock.core.errors import RecordingError, StoreError
from interlock.core.ids import DaemonId, SessionId, parse_session_id
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.container import SALT_SIZE, new_compressor
from interlock.domain.lock import Subject
from interlock.domain.metrics import Metric
from interlock.domain.recording import Header
from interlock.domain.room import Step, Usage
from interlock.domain.session import SessionContext
from interlock.domain.signing import KeySource, unsigned
from interlock.domain.twin import Twin
from interlock.ports import (
    Clock,
    ContentKeys,
    Entropy,
    RecordingPart,
    RecordingParts,
    RecordingStore,
    SyncStore,
    TrackerStore,
    TwinStore,
)
from interlock.services.access.locks import Locks, LockWatch
from interlock.services.audit.emitter import Emitter, EventFactory, NoJournal, SessionJournal
from interlock.services.audit.outbox import Outbox, Sleep
from interlock.services.operation.meters import Meters
from interlock.services.recordings.content import NotEncrypted
from interlock.services.recordings.mirror import MirroredPart, Mirrors
from interlock.services.recordings.recorder import COMMAND_OUTPUT_LIMIT, Recorder, not_recordable
from interlock.services.recordings.recording import NoRecorder, SessionRecorder
from interlock.services.recordings.room import Room, RoomyPart
from interlock.services.recordings.uploads import Upload, Uploads
from interlock.services.sessions.claims import SessionClaims
from interlock.services.sessions.live import LiveSession, OnFailure, rejection
from interlock.services.sessions.recovery import Recovery
from interlock.services.sessions.trackers import HEARTBEAT_S, LiveTracker, NoTracker, TrackerWriter
from interlock.services.timers import CallLater, call_later

__all__ = ["LiveSession", "Sessions"]

_log = structlog.get_logger()

DIRECTIONS = ("from_client", "to_client")
"""As `LiveSession.traffic` has them."""

STORING_GRACE_S = 10.0
"""Seconds that a daemon which stops waits for recordings to be stored; the rest is found at the next start."""


class Sessions:
    """The registry; one per daemon. `run` belongs into a TaskGroup of the daemon."""

    def __init__(
        self,
        *,
        daemon_id: DaemonId,
        cluster: str,
        clock: Clock,
        entropy: Entropy,
        emitter: Emitter,
        trackers: TrackerStore,
        parts: RecordingParts,
        recordings: RecordingStore,
        claims: SessionClaims | None = None,
        sync: SyncStore | None = None,
        twins: TwinStore | None = None,
        locks: Locks | None = None,
        signer: KeySource = unsigned,
        content: ContentKeys | None = None,
        gather: float = 0,
        recovers: bool = True,
        room: Room | None = None,
        meters: Meters | None = None,
        sleep: Sleep = asyncio.sleep,
        call_later: CallLater = call_later,
        command_output_limit: int = COMMAND_OUTPUT_LIMIT,
    ) -> None:
        """``recovers``: False in a process beside which another one looks after what was left (`take_left`)."""
        self._recovers = recovers
        self._meters = meters or Meters()
        self._room = room  # None: the disk says so when it is full
        self._daemon_id = daemon_id
        self._cluster = cluster
        self._clock = clock
        self._entropy = entropy
        self._emitter = emitter
        self._parts = parts
        self._signer = signer
        self._content = content or NotEncrypted()
        self._locks = locks  # None: nobody can lock a session
        self._lock_watches: dict[LiveSession, LockWatch] = {}
        self._sleep = sleep
        self._call_later = call_later
        self._command_output_limit = command_output_limit
        self._factory = EventFactory(cluster=cluster, clock=clock, entropy=entropy)
        self._compressor = new_compressor()
        self._trackers = TrackerWriter(trackers, daemon_id=daemon_id, clock=clock, gather=gather, sleep=sleep)
        self._uploads = Uploads(
            parts,
            recordings,
            events_stored=emitter.stored,
            clock=clock,
            entropy=entropy,
            recall=self._recall,
            signer=signer,
            sleep=sleep,
        )
        self._mirrors = Mirrors(sync, clock=clock, sleep=sleep)
        self._twins = Outbox("twins", partial(_put_twins, twins), sleep=sleep)
        self._claims = claims or SessionClaims()  # of the process, if it has more than this registry
        self._recovery = Recovery(
            parts,
            self._uploads,
            emitter,
            self._factory,
            trackers=self._trackers,
            claims=self._claims,
            daemon_id=daemon_id,
            sleep=sleep,
        )
        if room is not None:
            room.follow(self._stepped)
        self._live: dict[LiveSession, None] = {}  # in the order in which they were agreed
        self._told: dict[SessionId, LiveSession] = {}  # those whose events are ours
        self._closing = False  # set by end_all: nothing begins any more
        self._stopping = asyncio.Event()
        self._beaten = asyncio.Event()  # there is something new to note
        self._lasted: dict[SessionId, int] = {}  # at the last heartbeat, in microseconds

    def metered(self) -> None:
        """Let the meters ask this registry from now on."""
        meters = self._meters
        meters.watch(Metric.LIVE, lambda: len(self._live))
        meters.watch(Metric.LIVE_BYTES, lambda: sum(each.recorder.size for each in self._live))
        meters.watch(Metric.UPLOAD_BACKLOG, lambda: self._uploads.pending)
        meters.watch(Metric.STORAGE_AWAY, lambda: float(self._uploads.store_away))
        if (room := self._room) is not None:
            meters.watch(Metric.ROOM_STEP, lambda: float(room.step))
            meters.watch(Metric.NO_ROOM, lambda: room.counts.refused)
        meters.watch(Metric.RECORDER_LAG, lambda: max((each.recorder.lag for each in self._live), default=0.0))
        meters.watch(Metric.AUDIT_BACKLOG, lambda: self._emitter.waiting)
        meters.watch(Metric.AUDIT_LAG, self._audit_lag)
        for place, direction in enumerate(DIRECTIONS):
            meters.watch(Metric.RELAYED, partial(self._passing, place), direction)

    def _passing(self, place: int) -> float:
        return sum(each.traffic()[place] for each in self._live)

    def _audit_lag(self) -> float:
        oldest = self._emitter.oldest
        return 0.0 if oldest is None else max(0.0, (self._clock.now() - oldest).total_seconds())

    def check_room(self) -> None:
        """RecordingError if no recording may begin for want of room."""
        if self._room is not None:
            self._room.check()

    @property
    def live(self) -> list[LiveSession]:
        """The sessions that have not ended, oldest first."""
        return list(self._live)

    def find(self, sid: SessionId) -> LiveSession | None:
        """The live session with this ID, if it is this daemon that tells of it."""
        return self._told.get(sid)

    def agree(self, ctx: SessionContext, *, since: float | None = None) -> LiveSession:
        """The ID is agreed and the channel about to be accepted.

        ``since``: when its connection was accepted, by the monotonic clock; for the first session of each.

        StoreError if the audit log is away or the daemon is stopping, RemoteProtocolError if the ID is or was
        another session's.
        """
        duties = ctx.duties
        if self._closing:
            raise StoreError("no new sessions: the gateway is stopping")
        if duties.emits and not self._emitter.healthy:
            raise StoreError("no new sessions for now: the audit log cannot be written")
        if duties.emits:
            self._claims.begin(ctx.sid, self._daemon_id)
        session = LiveSession(
            ctx,
            journal=SessionJournal(ctx.sid, self._emitter, self._factory) if duties.emits else NoJournal(),
            tracker=(
                LiveTracker(ctx, self._trackers, cluster=self._cluster, clock=self._clock)
                if duties.tracks
                else NoTracker()
            ),
            is_ready=self._readiness(ctx) if duties.records else None,
            open_recorder=partial(self._open_recorder, ctx) if duties.records else partial(_no_recorder, ctx),
            on_end=self._ended,
            cluster=self._cluster,
            clock=self._clock,
            has_room=lambda: self._emitter.has_room,
            follow=self._parts.follow,
            call_later=self._call_later,
        )
        self._live[session] = None
        self._meters.count(Metric.SESSIONS, label=ctx.mode.value)
        if since is not None:
            self._meters.set_up(self._clock.monotonic() - since)
        if duties.emits:
            self._told[ctx.sid] = session
        if self._locks is not None and duties.emits:
            self._lock_watches[session] = self._locks.watch(Subject(session=ctx.sid), session.locked)
        if ctx.recorded_in:
            self._emitter.emit(self._factory.make(Kind.SESSION_ELSEWHERE, ctx.elsewhere_fields(), sid=ctx.sid))
        return session

    def _readiness(self, ctx: SessionContext) -> Callable[[], Awaitable[None]] | None:
        """What the recorder has to wait for; None: nothing."""
        ready = partial(self._mirrors.ready, ctx.sid) if ctx.mode.sync else None
        if self._content.known:
            return ready

        async def wait() -> None:
            await self._content.wait_known()
            if ready is not None:
                await ready()

        return wait

    def has_twin(self, session: LiveSession, *, seen_from: str, named: SessionId | None = None) -> None:
        """The target, of before the contract, records this session as well: fold its record into ours.

        ``seen_from``: our address as the target sees it. ``named``: the target's own ID, once it has told it.
        """
        self._twins.put(Twin(session.sid, session.ctx.target.id, seen_from, named))

    def rejected(self, who: SessionContext | Mapping[str, JsonValue], *, public: str, reason: str) -> None:
        """Put a refusal into the audit log: event ``session.rejected``.

        ``who``: the context, or the event fields that are known if there is no session ID yet.
        """
        if isinstance(who, SessionContext):
            fields = who.user_fields() | who.server_fields() | who.connection_fields()
            sid = who.sid
        else:
            fields, sid = dict(who), None
        fields |= rejection(public, reason)
        self._emitter.emit(self._factory.make(Kind.SESSION_REJECTED, fields, sid=sid))

    async def end_all(self, reason: str, *, grace: float = STORING_GRACE_S) -> None:
        """End what the SSH servers have not ended, wait a while for the recordings to be stored; none begins."""
        self._closing = True
        for session in self.live:
            tx, rx = session.traffic()
            session.end(tx=tx, rx=rx, reason=reason)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._uploads.wait_idle()

    async def prepare(self) -> None:
        """Claim the sessions that an earlier process left, before others may say anything about them."""
        if self._recovers:
            await self._recovery.prepare()

    async def take_left(self, sids: Iterable[SessionId]) -> None:
        """Recover what a process of this daemon left that has died. Needs a running `run`."""
        await self._recovery.take(sids)

    async def wait_recovered(self) -> None:
        """Return when what an earlier process left has been handed to the uploads. Needs a running `run`."""
        await self._recovery.wait_done()

    def stop(self) -> None:
        """Make `run` return once the last tracker states are written."""
        self._stopping.set()

    async def run(self) -> None:
        """Heartbeats, uploads, and what an earlier process left, until stopped."""
        async with asyncio.TaskGroup() as tasks:
            until_stop = [
                tasks.create_task(self._uploads.run(), name="sessions.uploads"),
                tasks.create_task(self._mirrors.run(), name="sessions.mirrors"),
                tasks.create_task(self._beat(), name="sessions.heartbeat"),
                tasks.create_task(self._mark(), name="sessions.marks"),
            ]
            if self._room is not None:
                until_stop.append(tasks.create_task(self._room.run(), name="sessions.room"))
            if self._recovers:
                until_stop.append(tasks.create_task(self._recovery.run(), name="sessions.recovery"))
            tasks.create_task(self._trackers.run(), name="sessions.trackers")
            tasks.create_task(self._twins.run(), name="sessions.twins")
            await self._stopping.wait()
            for task in until_stop:
                task.cancel()
            self._trackers.stop()
            self._twins.stop()

    async def _beat(self) -> None:
        while True:
            await self._sleep(HEARTBEAT_S)
            tracked = [session.sid for session in self._live if session.ctx.duties.tracks]
            if tracked:
                self._trackers.beat(tracked)
            lasted = {session.sid: session.recorder.alive() for session in self.live}
            self._lasted = {sid: microseconds for sid, microseconds in lasted.items() if microseconds is not None}
            self._beaten.set()

    async def _mark(self) -> None:
        """Note which recordings still last, beside the heartbeats, which a slow disk must not hold up."""
        while True:
            await self._beaten.wait()
            self._beaten.clear()
            try:
                await self._parts.mark(self._lasted)
            except RecordingError as error:
                _log.warning("sessions.not_marked", reason=error.reason)

    def _open_recorder(
        self, ctx: SessionContext, header: Header, on_failure: OnFailure, on_lapse: OnFailure | None
    ) -> SessionRecorder:
        sid, content = parse_session_id(header.sid), self._content.fresh()
        if self._room is not None:
            self._room.admit()
        mirror = self._mirrors.open(sid) if ctx.mode.sync else None
        try:
            part: RecordingPart = self._parts.create(sid)
        except OSError as error:
            if mirror is not None:
                mirror.abandon()
            raise not_recordable(error) from error
        if self._recovers:
            self._recovery.opened(sid)
        if self._room is not None:
            part = RoomyPart(part, self._room)
        limit = ctx.access.exec_output_limit
        recorder = Recorder(
            part if mirror is None else MirroredPart(part, mirror),
            header,
            salt=self._entropy.token(SALT_SIZE),
            compressor=self._compressor,
            clock=self._clock,
            on_failure=on_failure,
            on_lapse=on_lapse,
            call_later=self._call_later,
            command_output_limit=self._command_output_limit if limit is None else limit,
            record_input=ctx.access.record_input,
            travels=mirror is not None,
            signer=self._signer,
            content=content,
        )
        if mirror is not None:
            mirror.on_lost = recorder.not_in_sync
        return recorder

    def _stepped(self, before: Step, now: Step, usage: Usage) -> None:
        """The disk of the recordings has more or less room than before."""
        self._uploads.hurry(on=now >= Step.SPILL)
        if self._room is None or not self._room.keeper:
            return
        fields: dict[str, JsonValue] = {
            "recorded_by": self._daemon_id,
            "step": now.name.lower(),
            "was": before.name.lower(),
            "bytes_free": usage.free,
            "bytes_total": usage.total,
            "success": now < before,
        }
        self._emitter.emit(self._factory.make(Kind.ROOM_LESS if now > before else Kind.ROOM_MORE, fields))

    async def _recall(self, sid: SessionId) -> Upload:
        return await self._recovery.recall(sid)

    def _ended(self, session: LiveSession) -> None:
        self._live.pop(session, None)
        for direction, amount in zip(DIRECTIONS, session.passed, strict=True):
            self._meters.count(Metric.RELAYED, amount, direction)
        if self._told.get(session.sid) is session:
            del self._told[session.sid]
        if (watch := self._lock_watches.pop(session, None)) is not None:
            watch.stop()
        duties = session.ctx.duties
        if session.started and session.recorder.kept:
            done = partial(self._claims.release, session.sid)
            recorder, fields = session.recorder, session.upload_fields()
            self._uploads.add(
                Upload(
                    session.sid,
                    session.journal,
                    fields,
                    recorder.closed,
                    done,
                    session.loose_end(),
                    recorder.unsealed,
                )
            )
        elif duties.emits:
            self._claims.release(session.sid)


def _no_recorder(
    ctx: SessionContext, _header: Header, _on_failure: OnFailure, _on_lapse: OnFailure | None
) -> SessionRecorder:
    return NoRecorder(f"the recording mode is {ctx.mode.value}")


async def _put_twins(store: TwinStore | None, twins: Sequence[Twin]) -> None:
    """A daemon without a store forwards to nobody."""
    if store is not None:
        for twin in twins:
            await store.put(twin)

"""One live session: what its SSH server tells it becomes events, frames and tracker states.

All calls are synchronous and none waits for a store. What the daemon has no duty for is done by objects that do
nothing, chosen once from the duties table, so the code below asks for no mode.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from interlock.core.errors import Denied, LocalProtocolError, RecordingError
from interlock.core.ids import SessionId
from interlock.core.limits import MAX_TERM
from interlock.core.transfer.command import ScpCommand, SftpCommand, transfer_command
from interlock.domain.access import Strictness
from interlock.domain.audit import JsonValue, Kind, rfc3339
from interlock.domain.coverage import Covered, Level, Manifest, coverage_field
from interlock.domain.recording import Coverage, Header, Marker, Output, Stream
from interlock.domain.session import Exit, SessionContext, SessionKind, Start, Window, end_fields, shortened
from interlock.domain.tracker import TrackerState
from interlock.ports import Clock, PartReader
from interlock.services.audit.emitter import Journal
from interlock.services.recordings.recording import NoRecorder, SessionRecorder
from interlock.services.sessions.kinds import kind_disallowed
from interlock.services.sessions.parties import Parties
from interlock.services.sessions.screens import Recorded, Remembered, Screens, Source
from interlock.services.sessions.trackers import SessionTracker
from interlock.services.sessions.transfers import TERMINAL, FileTransfers, disallowed
from interlock.services.timers import CallLater, call_later

RESIZE_EVENTS = 1000
"""Resizes of one session that become audit events, so that nobody can flood the audit log by dragging a window.
The recording has them all."""

LAPSES_TOLD = 10
"""Lapses of one recording that become audit events; its manifest counts them all."""

NO_STATUS = "the session ended before the command reported a status"

_REFUSALS = {"x11-req": Kind.X11_FAILURE, "auth-agent-req@openssh.com": Kind.AGENT_FAILURE}
"""Refused requests that have an event of their own."""

_log = structlog.get_logger()

OnFailure = Callable[[RecordingError], None]

OpenRecorder = Callable[[Header, OnFailure, OnFailure | None], SessionRecorder]
"""Gets what to call when the session must end, and when it goes on unrecorded, if it may."""


class LiveSession:
    """A session from the moment its ID is agreed until its channel has closed."""

    def __init__(
        self,
        ctx: SessionContext,
        *,
        journal: Journal,
        tracker: SessionTracker,
        open_recorder: OpenRecorder,
        is_ready: Callable[[], Awaitable[None]] | None = None,
        on_end: Callable[["LiveSession"], None],
        cluster: str,
        clock: Clock,
        follow: Callable[[SessionId], PartReader],
        call_later: CallLater = call_later,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        self.ctx = ctx
        self.journal = journal
        self.recorder: SessionRecorder = NoRecorder()  # the real one from `start` on, if this daemon records
        self.on_failure: Callable[[RecordingError], None] | None = None  # set by the SSH layer: end the session
        self.on_forbidden: Callable[[Denied], None] | None = None  # the same, if the role demands that it ends
        self.on_lock: Callable[[Denied], None] | None = None  # set by the SSH layer: end the session in words
        self.traffic: Callable[[], tuple[int, int]] = lambda: (0, 0)  # set by the SSH layer: tx, rx so far
        self.transfers: FileTransfers | None = None  # from `start` on, if it moves files and its events are ours
        self._has_room = has_room  # for events that a client can cause in any number
        self._tracker = tracker
        self._open_recorder = open_recorder
        self._is_ready = is_ready  # None: what the recorder needs is in this process
        self._on_end = on_end
        self._cluster = cluster
        self._clock = clock
        self._start: Start | None = None
        self._began: datetime | None = None  # set with _start
        self._since = 0.0  # the same by the clock that nobody sets
        self._exit: Exit | None = None
        self._window: Window | None = None
        self._resizes = 0
        self._manifest = Manifest()  # of what the session has beside its own channel
        self._lapses = 0
        self._early: list[tuple[Kind, dict[str, JsonValue]]] = []  # what came before the start, told behind it
        self._ended = False
        self.passed = (0, 0)  # bytes from and to the client, known when it has ended
        self._follow = follow
        self._remembered: Remembered | None = (
            None  # of a terminal's session that this daemon has and nobody records
        )
        self._common = ctx.user_fields() | ctx.server_fields() | ctx.connection_fields()
        self._origin = ctx.identity.origin(cluster)
        if self._origin:
            self._common["origin_cluster"] = self._origin
        self.parties = Parties(
            ctx,
            journal=journal,
            people=tracker.people,
            running=self._running,
            screens=Screens(self._past, self._flush),
            call_later=call_later,
        )

    @property
    def sid(self) -> SessionId:
        """The session's ID."""
        return self.ctx.sid

    @property
    def started(self) -> bool:
        """Whether a shell, command or subsystem was accepted."""
        return self._start is not None

    def locked(self, lock: Denied) -> None:
        """A lock on this session came into force: end it."""
        if self.on_lock is not None and not self._ended:
            self.on_lock(lock)

    async def ready(self) -> None:
        """Wait until the session may start; RecordingError, which is in the audit log, if it may not.

        For servers whose storage is elsewhere: in sync modes nothing starts while that is away.
        """
        if self._is_ready is None:
            return
        try:
            await self._is_ready()
        except RecordingError as error:
            if self._best_effort:  # the recorder will find out, and say so
                return
            self.journal.add(Kind.SESSION_REJECTED, self._common | rejection(error.public, error.reason))
            raise

    @property
    def _best_effort(self) -> bool:
        return self.ctx.access.record_session is Strictness.BEST_EFFORT

    def start(self, start: Start) -> None:
        """The client asked for something to run, and it may, unless `parties` is waiting.

        Denied if the role forbids it or would have it watched where it cannot be, RecordingError if it cannot be
        recorded. The refusal is in the audit log already when the error is raised.
        """
        if self._start is not None or self._ended:
            raise LocalProtocolError("a session starts once", reason=f"second start of session {self.sid}")
        command = self._judge(start)
        began, since = self._clock.now(), self._clock.monotonic()
        best_effort = self._best_effort
        unrecorded: RecordingError | None = None
        try:
            self.parties.check(start)
            on_lapse = self._recording_lapsed if best_effort else None
            self.recorder = self._open_recorder(self._header(start, began), self._recording_failed, on_lapse)
        except Denied as error:
            self.journal.add(Kind.SESSION_REJECTED, self._common | rejection(error.public, error.reason))
            raise
        except RecordingError as error:
            if not best_effort:
                self.journal.add(Kind.SESSION_REJECTED, self._common | rejection(error.public, error.reason))
                raise
            unrecorded = error
            self.recorder = NoRecorder(error.public)
        self._start, self._began, self._since, self._window = start, began, since, start.window
        self.journal.add(Kind.SESSION_START, self._common | start.fields() | self.ctx.presence_fields())
        self._tell_early()
        if unrecorded is not None:
            self._recording_lapsed(unrecorded)
        for row in self._manifest.rows:
            self.recorder.cover(row)
        if command is not None:
            self._observe(command)
            if start.interactive and self.transfers is not None:
                self.transfers.stop(TERMINAL)
        if start.window is not None and self.ctx.duties.emits and isinstance(self.recorder, NoRecorder):
            self._remembered = Remembered(start.window)
        self.parties.begin(start)
        state = TrackerState.PENDING if self.parties.waiting else TrackerState.RUNNING
        self._tracker.move(state, start=start)

    def _past(self) -> Source:
        """What a screen is made from; OSError if the recording cannot be read."""
        return self._remembered or Recorded(self._follow(self.sid), self.recorder.key)

    def _flush(self) -> None:
        self.recorder.flush()  # whichever it is then

    def _running(self) -> None:
        """Enough moderators are there."""
        self._tracker.move(TrackerState.RUNNING)

    def refused(self, what: str, *, public: str, reason: str) -> None:
        """Something was refused within the session; ``what`` is the request's name."""
        self.tell(_REFUSALS.get(what, Kind.SESSION_REJECTED), rejection(public, reason) | {"success": False})

    def tell(self, kind: Kind, fields: dict[str, JsonValue]) -> None:
        """Something else happened that belongs to the session; also after its end, as forwards may outlive it."""
        self._early.append((kind, fields))
        if self._start is not None:
            self._tell_early()

    def _tell_early(self) -> None:
        early, self._early = self._early, []
        for kind, fields in early:
            self.journal.add(kind, self._common | fields)

    def _judge(self, start: Start) -> SftpCommand | ScpCommand | None:
        """How it moves files, if it does and whoever emits its events is this daemon, who then enforces, too."""
        if self.ctx.duties.emits and (not_begun := kind_disallowed(start, self.ctx.access)) is not None:
            kind, denied = not_begun
            self.journal.add(kind, self._common | start.fields() | rejection(denied.public, denied.reason))
            raise denied
        command = transfer_command(start.kind.value, start.command) if self.ctx.duties.emits else None
        refused = disallowed(command, self.ctx.access, terminal=start.interactive) if command is not None else None
        if refused is not None:
            why = rejection(refused.denied.public, refused.denied.reason)
            self.journal.add(refused.kind, self._common | refused.fields | why)
            raise refused.denied
        return command

    def _observe(self, command: SftpCommand | ScpCommand) -> None:
        def tell(kind: Kind, fields: dict[str, JsonValue]) -> None:
            self.journal.add(kind, self._common | fields)

        def cut(denied: Denied) -> None:
            if self.on_forbidden is not None and not self._ended:
                self.on_forbidden(denied)

        self.transfers = FileTransfers(
            command, tell=tell, has_room=self._has_room, access=self.ctx.access, on_cut=cut
        )

    def output(self, stream: Stream, data: bytes | memoryview) -> None:
        """Bytes on their way to the client; copied before this returns."""
        self.recorder.output(stream, data)
        if self._remembered is not None:
            self._remembered.note(Output(stream, bytes(data)))
        self.parties.output(data)

    @property
    def keeps_input(self) -> bool:
        """Whether anything of the input is recorded; known from the start on."""
        return any(row.what == "input" and row.level is not Level.NONE for row in self.recorder.covered())

    def input(self, data: bytes | memoryview) -> None:
        """Bytes on their way from the client; kept only of commands without a terminal, and if a role says so."""
        self.recorder.output(Stream.STDIN, data)

    def cover(self, what: str, level: Level, *, why: str = "", where: str = "") -> None:
        """Something else is opened within the session: a forward's channel type, how it is kept, why not more.

        It is in the manifest of the recording and of ``session.end``. Harmless where others emit the events.
        """
        row = self._manifest.add(Covered(what, level, why, where))
        if self._start is not None and not self._ended:
            self.recorder.cover(row)

    def resize(self, window: Window) -> None:
        """The terminal has a new size."""
        if self._start is None or self._ended or window == self._window:
            return
        self._window = window
        self.recorder.resize(window)
        if self._remembered is not None:
            self._remembered.note(window)
        self.parties.resize(window)
        self._resizes += 1
        if self._resizes <= RESIZE_EVENTS:
            self.journal.add(Kind.SESSION_RESIZE, self._common | {"size": str(window)})

    def exited(self, ended: Exit) -> None:
        """How the command ended. Only the first report counts."""
        if self._start is None or self._ended or self._exit is not None:
            return
        self._exit = ended
        if (event := command_event(self._start, ended)) is not None:
            self.journal.add(event[0], self._common | event[1], repeatable=True)

    def end(self, *, tx: int, rx: int, reason: str = "") -> None:
        """The channel is gone. Bytes from the client's side; a reason if a side vanished. Idempotent."""
        if self._ended:
            return
        self.passed = (tx, rx)
        if self._start is None:
            self._tell_early()
        elif self._began is not None:
            # ssh may cut the connection before its CLOSE once it has the exit status: nobody vanished then.
            vanished = "" if self._exit is not None and self._exit.told else reason
            self.exited(Exit(error=reason or NO_STATUS))
            if self.transfers is not None:
                self.transfers.finish()
            self._ended = True
            self.parties.ended()
            self.recorder.finish(self._exit or Exit(error=NO_STATUS), self._manifest.rows)
            self._say_end(self._start, self._began, vanished)
            self.journal.add(Kind.SESSION_DATA, self._common | {"tx": tx, "rx": rx})
        self._ended = True
        self._tracker.move(TrackerState.TERMINATED)
        self._on_end(self)

    def upload_fields(self) -> dict[str, JsonValue]:
        """Common fields of ``session.upload``, which is about the recording and not about a connection."""
        return self.ctx.user_fields() | self.ctx.server_fields()

    def covered(self) -> tuple[Covered, ...]:
        """The manifest."""
        return (*self.recorder.covered(), *self._manifest.rows)

    def loose_end(self) -> tuple[Marker | Coverage | Exit, ...]:
        """What the recording still lacks because the recorder failed; nothing if it did not."""
        if not self.recorder.failed:
            return ()
        ended = self._exit or Exit(error=NO_STATUS)
        return (*self.recorder.gaps(), Coverage(self.covered(), final=True), ended)

    def _say_end(self, start: Start, began: datetime, reason: str) -> None:
        if reason:
            self.journal.add(Kind.CLIENT_DISCONNECT, self._common | {"reason": reason})
        participants = self.parties.participants
        ended = began + timedelta(seconds=self._clock.monotonic() - self._since)
        fields = end_fields(start, began=began, ended=ended, participants=participants)
        self.journal.add(Kind.SESSION_END, self._common | fields | coverage_field(self.covered()))
        self.journal.add(Kind.SESSION_LEAVE, self.ctx.user_fields() | self.ctx.server_fields(), repeatable=True)

    def _recording_failed(self, error: RecordingError) -> None:
        _log.error("recording.failed", sid=self.sid, reason=error.reason)
        if self.on_failure is not None and not self._ended:
            self.on_failure(error)

    def _recording_lapsed(self, error: RecordingError) -> None:
        _log.error("recording.lapsed", sid=self.sid, reason=error.reason)
        self._lapses += 1
        if self._lapses <= LAPSES_TOLD and not self._ended:
            told: dict[str, JsonValue] = {"success": False, "error": error.reason, "message": error.public}
            self.journal.add(Kind.RECORDING_LAPSE, self._common | told)

    def _header(self, start: Start, began: datetime) -> Header:
        ctx = self.ctx
        window = start.window or Window(0, 0)
        return Header(
            sid=ctx.sid,
            user=ctx.identity.user,
            login=ctx.login,
            hostname=ctx.target.hostname,
            target_id=ctx.target.id,
            sub_kind=ctx.target.sub_kind.value,
            recorded_by=ctx.daemon_id,
            mode=ctx.mode.value,
            kind=start.kind.value,
            command=start.title,
            start=rfc3339(began),
            cluster=self._cluster,
            interactive=start.interactive,
            cols=window.cols,
            rows=window.rows,
            term=shortened(start.term, MAX_TERM),
            origin_cluster=self._origin,
            event=self._common | start.original_fields(),
        )


def rejection(public: str, reason: str) -> dict[str, JsonValue]:
    """Fields of ``session.rejected``: the private reason, and what the person was told."""
    return {"success": False, "reason": reason, "error": reason, "message": public}


def command_event(start: Start, ended: Exit) -> tuple[Kind, dict[str, JsonValue]] | None:
    """The event that says how a command or subsystem ended; None for shells, which have none."""
    match start.kind:
        case SessionKind.SHELL | SessionKind.CONNECTION:
            return None
        case SessionKind.EXEC:
            kind = Kind.EXEC if ended.clean else Kind.EXEC_FAILURE
            code = str(-1 if ended.status is None else ended.status)  # -1: no status, as the field has it
            fields: dict[str, JsonValue] = {"command": start.shown, "exitCode": code}
            fields |= start.original_fields()
            return kind, fields if ended.clean else fields | {"exitError": exit_error(ended)}
        case SessionKind.SUBSYSTEM:
            kind = Kind.SUBSYSTEM if ended.clean else Kind.SUBSYSTEM_FAILURE
            return kind, {"name": start.shown, "exitError": exit_error(ended)}


def exit_error(ended: Exit) -> str:
    """In words, why a command did not end well; empty if it did."""
    if ended.clean:
        return ""
    if ended.status is not None:
        return f"exited with status {ended.status}"
    return f"killed by signal {ended.signal}" if ended.signal else ended.error

"""Who takes part in a live session beside its owner: what they see, what they type, and whether it may go on.

One `Parties` per session, in the daemon that tells of it. It knows nothing of SSH: the session's own server is its
`Host`, each party's channel a `Seat`. All calls are synchronous, so that a moderator who leaves pauses the session
before anything else happens (R30); only the way to the present screen takes time, and that is each party's own.

Nobody who watches can slow the session. Output is gathered for a moment and filtered once for all; a party that
does not keep up, or a session that writes faster than anybody reads, is shown the screen anew when there is time.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from interlock.core.errors import Denied
from interlock.core.extensions import JoinMode
from interlock.core.limits import MAX_PARTIES
from interlock.domain.access import OnLeave
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.notice import notice
from interlock.domain.party import Moderation, Participant, Stage, counted
from interlock.domain.session import SessionContext, SessionKind, Start, Window
from interlock.domain.terminal import PARTY_RESTORE, TerminalFilter, party_screen
from interlock.services.audit.emitter import Journal
from interlock.services.sessions.screens import Screens
from interlock.services.sessions.seats import Host, Party, Seat
from interlock.services.timers import CallLater, Timer, call_later

GATHER_S = 0.02
"""Seconds for which output is gathered before it is shown: less than a person notices."""

FLOOD = 256 * 1024
"""Bytes gathered beyond which nobody could have read them: the screen is shown anew instead."""

RESYNC_S = 0.5
"""Least seconds between two times that one party is shown the screen anew."""

PATIENCE_S = 30.0
"""Seconds after which a party whose terminal takes nothing is dropped."""

INTERRUPT = b"\x03"
END_KEYS = (b"t", b"T")

_log = structlog.get_logger()


class Parties:
    """Of one session."""

    def __init__(
        self,
        ctx: SessionContext,
        *,
        journal: Journal,
        people: Callable[[tuple[str, ...]], None],
        running: Callable[[], None],
        screens: Screens,
        call_later: CallLater = call_later,
    ) -> None:
        self.host: Host | None = None  # set by the SSH layer before anything starts
        self.stage = Stage.RUNNING
        self._ctx = ctx
        # Whoever tells of a session watches over it: the other server of the session knows of nobody.
        self._moderation = Moderation.by(ctx.access) if ctx.duties.emits else Moderation()
        self._journal = journal
        self._people = people
        self._running = running
        self._screens = screens
        self._call_later = call_later
        self._start: Start | None = None
        self._window = Window(80, 24)
        self._present: dict[Party, None] = {}  # in the order in which they came
        self._ever: dict[str, None] = {ctx.identity.user: None}
        self._filter: TerminalFilter = party_screen()
        self._gathered = bytearray()
        self._timer: Timer | None = None  # pending while something is gathered

    @property
    def owner(self) -> str:
        """Whose session it is."""
        return self._ctx.identity.user

    @property
    def participants(self) -> tuple[str, ...]:
        """Everybody who ever took part, the owner first."""
        return tuple(self._ever)

    @property
    def waiting(self) -> bool:
        """Whether nothing may run yet."""
        return self.stage is Stage.WAITING

    @property
    def _missing(self) -> int:
        return self._moderation.missing(self.owner, [party.participant for party in self._present])

    # --- the session ------------------------------------------------------------------------------

    def check(self, start: Start) -> None:
        """Denied if such a session may not run at all; what is only forwarded is for other options to allow."""
        watchable = start.interactive or start.kind is SessionKind.CONNECTION
        if self._moderation.required and not watchable:
            public = "your sessions must be moderated, which needs a terminal: use ssh -t"
            raise Denied(public, reason=f"{start.kind.value} without a terminal by {self.owner}, who is moderated")

    def begin(self, start: Start) -> None:
        """Something is to run; it must wait while `waiting`."""
        self._start = start
        self._window = start.window or self._window
        if self._missing and start.interactive:
            self.stage = Stage.WAITING
            if self.host is not None:
                self.host.hold()
            self._tell_owner(f"waiting for {counted(self._missing)} before the session begins; Ctrl-C gives up")

    def typed_while_held(self, data: bytes) -> None:
        """The owner typed although nothing passes. Ctrl-C gives up waiting."""
        if self.stage is Stage.WAITING and INTERRUPT in data and self.host is not None:
            self.host.terminate("You gave up waiting for a moderator.")

    def output(self, data: bytes | memoryview) -> None:
        """The session wrote this, which its recording has already."""
        if not self._present or self.stage is not Stage.RUNNING:
            return
        if len(self._gathered) <= FLOOD:
            self._gathered += data
        if self._timer is None:
            self._timer = self._call_later(GATHER_S, self._flush)

    def resize(self, window: Window) -> None:
        """The owner's terminal, and so the session, has a new size."""
        self._window = window
        for party in self._present:
            party.lose()
            self._compare(party)

    def hungry(self) -> None:
        """The host takes input again."""
        for party in list(self._present):
            if party.unsent:
                data, party.unsent = party.unsent, b""
                self._type(party, data)
            if not party.unsent:
                party.seat.listen(True)

    def ended(self) -> None:
        """The session is over: everybody goes. Why is for the owner and the audit log."""
        if self.stage is Stage.OVER:
            return
        if self.stage is Stage.RUNNING:
            self._flush()
        self.stage = Stage.OVER
        self._cancel()
        present, self._present = list(self._present), {}
        for party in present:
            self._leave_event(party)
            party.seat.close(_goodbye("the session has ended"), 0)
        self._screens.close()

    # --- the parties ------------------------------------------------------------------------------

    def enter(self, participant: Participant, seat: Seat, window: Window | None) -> Party:
        """Somebody takes part, whom policy has let in; Denied if the session cannot be joined. Then `attend`."""
        self.check_open()
        party = Party(participant, seat, window)
        self._present[party] = None
        self._ever[participant.user] = None
        fields = self._fields(participant) | self._as_joined(participant).connection_fields()
        self._journal.add(Kind.SESSION_JOIN, fields)
        self._people(self._now_present())
        self._tell_others(party, f"{participant.user} joined as {participant.mode.value}")
        self._moderators_changed()
        return party

    def check_open(self) -> None:
        """Denied unless somebody may come in now."""
        if self.stage is Stage.OVER:
            raise Denied("this session has ended")
        if self._start is None:
            raise Denied("this session has not begun yet: try again in a moment")
        if not self._start.interactive:
            raise Denied("this session has no terminal that could be shared")
        if len(self._present) >= MAX_PARTIES:
            raise Denied(f"there are {MAX_PARTIES} people in this session already")

    async def attend(self, party: Party) -> None:
        """Show the party the screen, now and whenever it has missed something; until cancelled, or it has left."""
        first = True
        while party in self._present:
            await party.stale.wait()
            party.stale.clear()
            if not await self._patient(party):
                return
            try:
                screen = await self._screens.current()
            except OSError as error:
                _log.warning("parties.no_screen", sid=self._ctx.sid, error=str(error))
                self.leave(party, "the session's screen cannot be read")
                return
            if party not in self._present:
                return
            self._flush()
            if not any(each.in_sync for each in self._present):
                self._filter.follow(screen.reader)
            party.seat.show(screen.snapshot())
            party.in_sync = self.stage is Stage.RUNNING
            if first:
                first = False
                self._greet(party)
            if self.stage is not Stage.RUNNING:
                self._tell(party, self._why_not_running())
            await asyncio.sleep(RESYNC_S)

    async def _patient(self, party: Party) -> bool:
        """Wait until the party's terminal takes something; False if it does not for too long."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await party.seat.taken()
        except TimeoutError:
            self.leave(party, "your connection does not keep up with the session")
            return False
        return True

    def typed(self, party: Party, data: bytes) -> None:
        """What arrived from the party's terminal. Only a peer's goes anywhere."""
        if party not in self._present:
            return
        mode = party.participant.mode
        if mode is JoinMode.PEER and self.stage is Stage.RUNNING:
            self._type(party, data)
        elif INTERRUPT in data:
            self.leave(party, "you have left the session")
        elif mode is JoinMode.MODERATOR and data in END_KEYS:
            self.force_terminate(party)

    def force_terminate(self, party: Party) -> None:
        """A moderator ends the session; nobody else can."""
        if party in self._present and party.participant.mode is JoinMode.MODERATOR and self.host is not None:
            self.host.terminate(f"{party.participant.user}, a moderator, has ended the session.")

    def resized(self, party: Party, window: Window) -> None:
        """The party's terminal has another size: the session keeps its own, but the screen is painted anew."""
        party.window = window
        if party in self._present:
            party.lose()
            self._compare(party)

    def leave(self, party: Party, text: str = "") -> None:
        """The party goes, or has gone. Harmless twice."""
        if party not in self._present:
            return
        del self._present[party]
        party.stale.set()
        self._leave_event(party)
        self._people(self._now_present())
        party.seat.close(_goodbye(text), 0)
        self._moderators_changed()
        self._tell_others(party, f"{party.participant.user} left")
        if not self._present:
            self._cancel()

    # --- moderation -------------------------------------------------------------------------------

    def _moderators_changed(self) -> None:
        missing, host = self._missing, self.host
        if host is None:
            return
        if missing and self.stage is Stage.RUNNING:
            if self._moderation.on_leave is OnLeave.TERMINATE:
                host.terminate("A moderator has left, so the session ends.")
                return
            self._flush()
            self.stage = Stage.PAUSED
            host.pause()
            self._say_to_all(self._why_not_running())
        elif missing and self.stage in {Stage.WAITING, Stage.PAUSED}:
            self._say_to_all(self._why_not_running())
        elif self.stage is Stage.WAITING:
            self.stage = Stage.RUNNING
            self._tell_owner("the session begins")
            self._running()
            host.begin()
            self._all_lose()
        elif self.stage is Stage.PAUSED:
            self.stage = Stage.RUNNING
            self._tell_owner("the session goes on")
            host.resume()
            self._all_lose()

    def _why_not_running(self) -> str:
        what = "waiting" if self.stage is Stage.WAITING else "paused"
        return f"the session is {what}: it needs {counted(self._missing)} more"

    # --- what is shown ----------------------------------------------------------------------------

    def _flush(self) -> None:
        """Show what was gathered to whoever has seen what came before."""
        self._cancel()
        data, self._gathered = bytes(self._gathered), bytearray()
        if len(data) > FLOOD:
            self._all_lose()
            return
        shown = self._filter.feed(data).encode() if data and any(party.in_sync for party in self._present) else b""
        for party in self._present if data else ():
            if party.in_sync and party.seat.full:
                party.lose()
            elif party.in_sync and shown:
                party.seat.show(shown)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _all_lose(self) -> None:
        for party in self._present:
            party.lose()

    def _greet(self, party: Party) -> None:
        where = f"{self.owner}'s session on {self._ctx.target.hostname}"
        text = {
            JoinMode.PEER: f"you take part in {where}; Enter ~ . leaves",
            JoinMode.OBSERVER: f"you observe {where}; Ctrl-C leaves",
            JoinMode.MODERATOR: f"you moderate {where}; t ends it, Ctrl-C leaves",
        }[party.participant.mode]
        self._tell(party, text)
        self._compare(party)

    def _compare(self, party: Party) -> None:
        """Say so if the party's terminal is too small to show everything."""
        own, wanted = party.window, self._window
        if own is not None and (own.cols < wanted.cols or own.rows < wanted.rows):
            self._tell(party, f"this session has {wanted.cols}x{wanted.rows}, your terminal {own.cols}x{own.rows}")

    def _tell(self, party: Party, text: str) -> None:
        if not party.seat.full:
            party.seat.show(self._notice(text, party.window or self._window))

    def _tell_others(self, party: Party, text: str) -> None:
        for other in self._present:
            if other is not party:
                self._tell(other, text)
        self._tell_owner(text)

    def _say_to_all(self, text: str) -> None:
        for party in self._present:
            self._tell(party, text)
        self._tell_owner(text)

    def _tell_owner(self, text: str) -> None:
        if self.host is not None and self.stage is not Stage.OVER:
            self.host.tell(self._notice(text, self._window))

    def _notice(self, text: str, window: Window) -> bytes:
        screen = self._screens.known
        full_screen = screen is not None and screen.on_alternate
        return notice(f"Interlock: {text}", full_screen=min(self._window.cols, window.cols) if full_screen else 0)

    # --- what is told -----------------------------------------------------------------------------

    def _type(self, party: Party, data: bytes) -> None:
        taken = self.host.type(data) if self.host is not None else len(data)
        if taken < len(data):
            party.unsent = data[taken:]
            party.seat.listen(False)

    def _now_present(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.owner, *(party.participant.user for party in self._present))))

    def _as_joined(self, participant: Participant) -> SessionContext:
        return replace(self._ctx, identity=participant.identity, client_addr=participant.client_addr)

    def _fields(self, participant: Participant) -> dict[str, JsonValue]:
        ctx = self._as_joined(participant)
        return ctx.user_fields() | ctx.server_fields() | {"participant_mode": participant.mode.value}

    def _leave_event(self, party: Party) -> None:
        self._journal.add(Kind.SESSION_LEAVE, self._fields(party.participant))


def _goodbye(text: str) -> bytes:
    """Puts the party's own terminal in order and says why it is over."""
    return f"{PARTY_RESTORE}\r\n".encode() + (notice(f"Interlock: {text}") if text else b"")

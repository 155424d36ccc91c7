"""The sessions that a relayed connection carries, and what was refused on it: told to `sessions.sessions`.

Performs what the relay core decided about them, for the forwarder. Whether anything is recorded here it learns
from a session's duties alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import assert_never

import structlog

from interlock.adapters.ssh.shared import Performer, RelayedHost
from interlock.adapters.ssh.taps import make_taps
from interlock.core import wire
from interlock.core.effects import (
    Agreed,
    Closed,
    Exited,
    Hungry,
    Overfull,
    Refused,
    Resized,
    Started,
    TwinNamed,
    Typed,
)
from interlock.core.errors import Denied, InterlockError, RecordingError
from interlock.core.forward import Grants
from interlock.core.ids import SessionId
from interlock.core.limits import REFUSALS_TOLD
from interlock.core.refusal import Refusal
from interlock.core.relay import Relay
from interlock.core.sides import Side
from interlock.domain.audit import JsonValue
from interlock.domain.session import Exit, SessionContext, SessionKind, Start, Window
from interlock.services.sessions.sessions import LiveSession, Sessions

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Parties:
    """What a forwarder needs to know of the people and hosts at its ends."""

    context: Callable[[SessionId], SessionContext]
    facts: Callable[[], dict[str, JsonValue]]  # event fields for a refusal before there is a session ID
    stale: Callable[[], bool]  # whether policy must be asked again before another session may open
    judge_again: Callable[[], Awaitable[None]]  # ask it; Denied if it has changed its mind
    grants: Callable[[], Grants]  # what it said last of forwarding
    mint: Callable[[], SessionId]
    left: Callable[[], None]  # called when the connection is over, before what is queued is sent
    emits: bool  # whether what happens on this connection is told here
    since: float | None = None  # when the client's connection was accepted, by the monotonic clock
    seen_from: str = ""  # our end of the connection to the target, as host:port: whom the target sees


class CarriedSessions:
    """All of one connection. ``on_started``: a session runs now; ``refusal``: why there is no target."""

    def __init__(
        self,
        relay: Relay,
        parties: Parties,
        sessions: Sessions,
        performer: Performer,
        refusal: Refusal | None,
        *,
        on_started: Callable[[], None],
    ) -> None:
        self.live: dict[int, LiveSession] = {}  # by the client's channel number
        self.opened = 0  # how many sessions there were
        self.end_reason = ""  # why the sessions that end now do not end by themselves; set by the forwarder
        self._relay = relay
        self._parties = parties
        self._sessions = sessions
        self._performer = performer
        self._refusal = refusal
        self._on_started = on_started
        self._hosts: dict[int, RelayedHost] = {}  # by the client's channel number
        self._refusals = 0

    @property
    def any(self) -> bool:
        """Whether anything was told: of a session, or of a refusal."""
        return bool(self.opened or self._refusals)

    def perform(self, effect: Agreed | TwinNamed | Started | Resized | Exited | Closed) -> None:
        """What has become of a session."""
        match effect:
            case Agreed(channel, sid):
                self._agreed(channel, sid)
            case TwinNamed(channel, sid):
                self._sessions.has_twin(self.live[channel], seen_from=self._parties.seen_from, named=sid)
            case Started():
                self._started(effect)
            case Resized(channel, cols, rows):
                self.live[channel].resize(Window(cols, rows))
            case Exited(channel, status, signal):
                self.live[channel].exited(Exit(status, signal))
            case Closed(channel, sent, received):
                self._closed(channel, sent, received)
            case _:
                assert_never(effect)

    def shared(self, effect: Typed | Hungry | Overfull) -> None:
        """What concerns those who take part in a session."""
        match effect:
            case Typed(channel, data):
                self.live[channel].parties.typed_while_held(data)
            case Hungry(channel):
                self.live[channel].parties.hungry()
            case Overfull(channel):
                self._performer.terminate(channel, "The session wrote too much while it was paused.")

    def refused(self, effect: Refused) -> None:
        """Something was refused, within a session or before there was one."""
        self._refusals += 1
        if self._refusals > REFUSALS_TOLD or (self._refusal and effect.reason == self._refusal.reason):
            return  # the connection's own refusal was told when it began
        last = " (later refusals on this connection are not reported)" if self._refusals == REFUSALS_TOLD else ""
        session = self.live.get(effect.channel) if effect.channel is not None else None
        sid = session.sid if session is not None else ""
        _log.info("forwarder.refused", sid=sid, what=effect.what, reason=effect.reason)
        if session is not None and session.ctx.duties.emits:
            session.refused(effect.what, public=effect.public, reason=effect.reason + last)
        else:  # what happens in a session that the target records is counted there, so the ID is in the words
            within = f" (in session {session.sid})" if session is not None else ""
            facts = self._parties.facts() | ({} if effect.maximum is None else {"max": effect.maximum})
            self._sessions.rejected(facts, public=effect.public, reason=f"{effect.reason}{within}{last}")

    def _agreed(self, channel: int, sid: SessionId) -> None:
        try:
            since = None if self.opened else self._parties.since
            session = self._sessions.agree(self._parties.context(sid), since=since)
        except InterlockError as error:
            refusal = Refusal(wire.OPEN_RESOURCE_SHORTAGE, error.public, error.reason)
            self._performer.perform(self._relay.reject(channel, refusal))
            return
        self.live[channel] = session
        self.opened += 1
        session.on_lock = lambda lock: self._locked(channel, lock)
        host = self._hosts[channel] = RelayedHost(self._relay, channel, self._performer)
        session.parties.host = host
        session.on_failure = lambda error: self._ends(channel, error)
        session.on_forbidden = lambda denied: self._ends(channel, denied)
        session.traffic = lambda: self._traffic(channel)
        self._performer.perform(self._relay.accept(channel))

    def _started(self, effect: Started) -> None:
        session, request = self.live[effect.channel], effect.request
        start = Start(
            kind=SessionKind(request.kind),
            command=request.command.decode("utf-8", "backslashreplace"),
            window=Window(*request.window) if request.window else None,
            term=request.term,
            reason=request.reason,
            invited=request.invited,
        ).forced(session.ctx.access.command)
        self._hosts[effect.channel].asked(effect)
        try:
            session.start(start)
        except (Denied, RecordingError) as error:
            text = f"{error.public}\r\n"
            self._performer.perform(self._relay.decline(effect.channel, text, want_reply=effect.want_reply))
            return
        self._on_started()
        duties = session.ctx.duties
        if duties.records and self._relay.has_twin(effect.channel):
            self._sessions.has_twin(session, seen_from=self._parties.seen_from)
        shown = duties.records or (duties.emits and start.interactive)  # to the recorder, or to whoever joins
        for side, tap in make_taps(session, records=shown).items():
            flow = self._relay.flow(effect.channel, side)
            flow.tap, flow.tap_may_wait = tap, session.transfers is None  # forbidden files are changed in passing
        if not session.parties.waiting:
            self._hosts[effect.channel].begin()

    def _closed(self, channel: int, sent: int, received: int) -> None:
        self._hosts.pop(channel, None)
        session = self.live.pop(channel, None)
        if session is not None:
            session.end(tx=sent, rx=received, reason=self.end_reason)

    def _traffic(self, channel: int) -> tuple[int, int]:
        flows = self._relay.flow
        return flows(channel, Side.CLIENT).octets, flows(channel, Side.TARGET).octets

    def _ends(self, channel: int, error: InterlockError) -> None:
        """Called from within the data path, so what follows waits for the next step of the loop."""
        asyncio.get_running_loop().call_soon(self._performer.terminate, channel, error.public)

    def _locked(self, channel: int, lock: Denied) -> None:
        self._performer.terminate(channel, lock.public, reason=lock.reason)

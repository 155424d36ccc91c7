"""The forwarding node: performs what the relay core decides, for one client and one target.

It owns the two legs, the timers and the live sessions of a connection. Whether anything is recorded here it
learns from the session's duties alone.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import assert_never

import asyncssh
import structlog

from interlock.adapters.ssh.leg import Leg, join
from interlock.adapters.ssh.once import Once
from interlock.adapters.ssh.record import ConnectionRecord
from interlock.adapters.ssh.seams.relayed import RelayedConnection
from interlock.adapters.ssh.shared import RelayedHost
from interlock.adapters.ssh.taps import make_taps
from interlock.core import wire
from interlock.core.effects import (
    Agreed,
    Closed,
    Effect,
    Exited,
    ForwardClosed,
    ForwardFailed,
    ForwardOpened,
    Granted,
    Hungry,
    ListenBegan,
    Overfull,
    Refused,
    Resized,
    Send,
    SessionEffect,
    Started,
    StartTimer,
    StopTimer,
    TwinNamed,
    Typed,
)
from interlock.core.errors import Denied, InterlockError, RecordingError, RemoteProtocolError
from interlock.core.extensions import CLIENT_LEFT
from interlock.core.forward import Grants
from interlock.core.ids import SessionId
from interlock.core.limits import KEEPALIVE_INTERVAL_S, REFUSALS_TOLD, REKEY_SECONDS
from interlock.core.refusal import Refusal
from interlock.core.relay import Relay
from interlock.core.sides import Side
from interlock.core.wire import string, uint32
from interlock.domain.audit import JsonValue
from interlock.domain.session import Exit, SessionContext, SessionKind, Start, Window
from interlock.services.recorder import CallLater, Timer, call_later
from interlock.services.sessions import LiveSession, Sessions

_log = structlog.get_logger()

LINGER_S = 10.0
"""Seconds that a connection which got only refusals may stay: time for its client to show the text and leave."""

CLOSE_GRACE_S = 5.0
"""Seconds to send what is queued when a connection ends; then it is cut."""


@dataclass(frozen=True, slots=True)
class Parties:
    """What the forwarder needs to know of the people and hosts at its ends."""

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


class Forwarder:
    """Run it with `run`; it ends when either connection does."""

    def __init__(
        self,
        client: RelayedConnection,
        target: RelayedConnection | None,
        *,
        relay: Relay,
        parties: Parties,
        sessions: Sessions,
        refusal: Refusal | None = None,
        keepalive_interval: float = KEEPALIVE_INTERVAL_S,
        call_later: CallLater = call_later,
    ) -> None:
        self._relay = relay
        self._parties = parties
        self._sessions = sessions
        self._refusal = refusal  # why there is no target
        self._keepalive_interval = keepalive_interval
        self._call_later = call_later  # for the long waits of every connection
        self._watch: Timer | None = None  # set while `run` runs
        self._legs = {Side.CLIENT: Leg(Side.CLIENT, client, self, relay.flows[Side.CLIENT])}
        if target is not None:
            self._legs[Side.TARGET] = Leg(Side.TARGET, target, self, relay.flows[Side.TARGET])
            join(self._legs[Side.CLIENT], self._legs[Side.TARGET])
        self._live: dict[int, LiveSession] = {}  # by the client's channel number
        self._hosts: dict[int, RelayedHost] = {}  # the same
        self._opened = 0  # how many sessions there were
        self._served = False  # whether there ever was a session
        self._record = ConnectionRecord(
            live=self._live,
            begin=self._begin_record,
            on_lost=self._lost_record,
        )
        self._refusals = 0
        self._linger: asyncio.TimerHandle | None = None  # set from the start if there is no target
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._over = Once()
        self._ended = False  # whether policy has ended it
        self._failure = ""  # what went wrong, if the client did not just leave
        self._end_reason = ""  # why the sessions that are live at the end did not end by themselves
        self._tasks: asyncio.TaskGroup | None = None  # set while `run` runs

    async def run(self) -> None:
        """Relay until it is over, then leave nothing behind."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._begin()
                self._watch = self._call_later(self._keepalive_interval, self._look)
                await self._over.wait()
        finally:
            self._tasks = None
            if self._watch is not None:
                self._watch.cancel()
            self._perform(self._relay.lost())
            failed = self._failure and not self._ended  # what policy ends, it has seen
            quiet = self._parties.emits and not (self._served or self._refusals or failed or self._refusal)
            self._record.end(failure=self._failure, quiet=quiet)
            await self._close_legs()

    def _begin(self) -> None:
        for leg in self._legs.values():
            try:
                leg.begin()
            except asyncssh.DisconnectError as error:  # it went away while the other side was being reached
                self.disconnected(leg.side, error.reason)
                return
        if self._refusal is not None:
            self._sessions.rejected(
                self._parties.facts(), public=self._refusal.public, reason=self._refusal.reason
            )
            self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._leave, self._refusal.public)
        elif self._parties.emits:
            self._record.watch(self._quiet)
        self._perform(self._relay.begin_relaying())
        for leg in self._legs.values():
            leg.begin_reading()

    def shut_down(self, text: str, *, reason: str = "") -> None:
        """The gateway ends the connection: tell the people on every channel, and end."""
        for channel in self._relay.open_channels():
            self._end_reason = reason or text
            self._perform(self._relay.terminate(channel, f"\r\n{text}\r\n"))
        self._goodbye(Side.CLIENT, text)
        self._end_abnormally(reason or text)

    def end(self, why: Denied) -> None:
        """Policy ends the connection. The target hears of it first: a node that records tells it as the reason."""
        if self._over.is_set():
            return
        self._ended = True
        self._goodbye(Side.TARGET, why.public)
        self.shut_down(why.public, reason=why.reason)

    def activity(self) -> int:
        """A number that changes when the person does something."""
        return self._opened + self._relay.activity()

    # --- what the legs call (LegOwner) ------------------------------------------------------------

    def received(self, side: Side, payload: bytes) -> bool:
        """See `LegOwner.received`."""
        if not self._relay.handles(payload[0]):
            return False
        if self._must_ask() and self._relay.asks_policy(side, payload):
            self._legs[side].hold()
            if self._tasks is not None:
                self._tasks.create_task(self._ask_again(payload), name="forwarder.judge")
        elif not self._over.is_set():
            self._perform(self._relay.receive(side, payload))
        return True

    def _must_ask(self) -> bool:
        return self._refusal is None and self._parties.stale()

    async def _ask_again(self, payload: bytes) -> None:
        """Policy may have changed since the connection was admitted; the client waits for the answer."""
        try:
            await self._parties.judge_again()
            self._relay.grant(self._parties.grants())
        except InterlockError as error:
            code = wire.OPEN_ADMINISTRATIVELY_PROHIBITED
            self._relay.refuse_from_now_on(Refusal(code, error.public, error.reason))
        if self._over.is_set():
            return
        try:
            self._perform(self._relay.receive(Side.CLIENT, payload))
        except RemoteProtocolError as error:
            self.failed(Side.CLIENT, error)
        self._legs[Side.CLIENT].step_done()

    def run_step(self, side: Side, step: Awaitable[None]) -> None:
        """See `LegOwner.run_step`."""
        if self._tasks is not None:
            self._tasks.create_task(self._step(side, step), name=f"forwarder.kex.{side.value}")

    async def _step(self, side: Side, step: Awaitable[None]) -> None:
        try:
            await step
        except RemoteProtocolError as error:
            self.failed(side, error)
        else:
            self._legs[side].step_done()

    def failed(self, side: Side, error: RemoteProtocolError) -> None:
        """See `LegOwner.failed`."""
        if self._over.is_set():
            return
        sids = [session.sid for session in self._live.values()]
        _log.warning("forwarder.protocol_error", sids=sids, side=side.value, reason=error.reason)
        self._legs[side].send_transport(_disconnect(wire.DISCONNECT_PROTOCOL_ERROR, error.public))
        words = {Side.CLIENT: "the client", Side.TARGET: "the target"}[side]
        if not self._live and not self._record.begun:
            public = f"connection closed: {words} violated the SSH protocol"
            self._sessions.rejected(self._parties.facts(), public=public, reason=f"{words}: {error.reason}")
        if side is Side.TARGET:
            self._goodbye(Side.CLIENT, f"the target violated the SSH protocol: {error.rule.value}")
        self._end_abnormally(f"{words}: {error.reason}")

    def disconnected(self, side: Side, text: str) -> None:
        """See `LegOwner.disconnected`."""
        if self._over.is_set():
            return
        if side is Side.TARGET:
            detail = f": {text}" if text else ""
            public = f"the target closed the connection{detail}"
            if self._relay.waiting() or not (self._served or self._record.begun):
                reason = f"the connection to the target was lost before a session began{detail}"
                self._sessions.rejected(self._parties.facts(), public=public, reason=reason)
            self._goodbye(Side.CLIENT, public)
            self._end_abnormally(f"the connection to the target was lost{detail}")
        else:
            self._goodbye(Side.TARGET, CLIENT_LEFT)
            self._finish(f"{CLIENT_LEFT}: {text}" if text else CLIENT_LEFT)

    # --- effects ----------------------------------------------------------------------------------

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(side, payload):
                    self._legs[side].send(payload)
                case Refused():
                    self._refused(effect)
                case ForwardOpened() | ForwardClosed() | ForwardFailed() | ListenBegan():
                    if self._parties.emits:
                        self._record.perform(effect)
                case Typed() | Hungry() | Overfull():
                    self._shared(effect)
                case _:
                    self._perform_for_session(effect)

    def _perform_for_session(self, effect: SessionEffect) -> None:
        match effect:
            case Agreed(channel, sid):
                self._agreed(channel, sid)
            case TwinNamed(channel, sid):
                self._sessions.has_twin(self._live[channel], seen_from=self._parties.seen_from, named=sid)
            case Started():
                self._started(effect)
            case Resized(channel, cols, rows):
                self._live[channel].resize(Window(cols, rows))
            case Exited(channel, status, signal):
                self._live[channel].exited(Exit(status, signal))
            case Closed(channel, sent, received):
                self._closed(channel, sent, received)
            case StartTimer() | StopTimer():
                self._timer(effect)
            case Granted():
                self._record.granted(effect)
            case _:
                assert_never(effect)

    def _shared(self, effect: Typed | Hungry | Overfull) -> None:
        match effect:
            case Typed(channel, data):
                self._live[channel].parties.typed_while_held(data)
            case Hungry(channel):
                self._live[channel].parties.hungry()
            case Overfull(channel):
                self.terminate(channel, "The session wrote too much while it was paused.")

    def _agreed(self, channel: int, sid: SessionId) -> None:
        try:
            since = None if self._opened else self._parties.since
            session = self._sessions.agree(self._parties.context(sid), since=since)
        except InterlockError as error:
            refusal = Refusal(wire.OPEN_RESOURCE_SHORTAGE, error.public, error.reason)
            self._perform(self._relay.reject(channel, refusal))
            return
        self._live[channel] = session
        self._opened += 1
        session.on_lock = lambda lock: self._locked(channel, lock)
        self._served = True
        host = self._hosts[channel] = RelayedHost(self._relay, channel, self)
        session.parties.host = host
        session.on_failure = lambda error: self._ends(channel, error)
        session.on_forbidden = lambda denied: self._ends(channel, denied)
        session.traffic = lambda: self._traffic(channel)
        self._perform(self._relay.accept(channel))

    def _started(self, effect: Started) -> None:
        session, request = self._live[effect.channel], effect.request
        start = Start(
            kind=SessionKind(request.kind),
            command=request.command.decode("utf-8", "backslashreplace"),
            window=Window(*request.window) if request.window else None,
            term=request.term,
            reason=request.reason,
            invited=request.invited,
        )
        self._hosts[effect.channel].asked(effect)
        try:
            session.start(start)
        except (Denied, RecordingError) as error:
            text = f"{error.public}\r\n"
            self._perform(self._relay.decline(effect.channel, text, want_reply=effect.want_reply))
            return
        self._record.session_began()
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
        session = self._live.pop(channel, None)
        if session is not None:
            session.end(tx=sent, rx=received, reason=self._end_reason)

    def _refused(self, effect: Refused) -> None:
        self._refusals += 1
        if self._refusals > REFUSALS_TOLD or (self._refusal and effect.reason == self._refusal.reason):
            return  # the connection's own refusal was told when it began
        last = " (later refusals on this connection are not reported)" if self._refusals == REFUSALS_TOLD else ""
        session = self._live.get(effect.channel) if effect.channel is not None else None
        sid = session.sid if session is not None else ""
        _log.info("forwarder.refused", sid=sid, what=effect.what, reason=effect.reason)
        if session is not None and session.ctx.duties.emits:
            session.refused(effect.what, public=effect.public, reason=effect.reason + last)
        else:  # what happens in a session that the target records is counted there, so the ID is in the words
            within = f" (in session {session.sid})" if session is not None else ""
            facts = self._parties.facts() | ({} if effect.maximum is None else {"max": effect.maximum})
            self._sessions.rejected(facts, public=effect.public, reason=f"{effect.reason}{within}{last}")

    # --- the connection itself --------------------------------------------------------------------

    def _quiet(self) -> bool:
        """Whether nothing was told of this connection yet, and nothing is about to be."""
        return not (self._served or self._refusals or self._relay.waiting() or self._over.is_set())

    def _begin_record(self) -> LiveSession:
        record = self._sessions.agree(self._parties.context(self._parties.mint()))
        record.on_lock = self.end
        return record

    def _lost_record(self, error: InterlockError) -> None:
        """What is forwarded here cannot be told: the connection ends, as a session would."""
        self._goodbye(Side.CLIENT, error.public)
        self._end_abnormally(error.public)

    def _end_abnormally(self, reason: str) -> None:
        if not self._over.is_set():
            self._failure = reason
        self._finish(reason)

    def _leave(self, text: str) -> None:
        """A client that only got refusals has had time to show them."""
        self._goodbye(Side.CLIENT, text)
        self._finish("")

    def _timer(self, effect: StartTimer | StopTimer) -> None:
        running = self._timers.pop(effect.channel, None)
        if running is not None:
            running.cancel()
        if isinstance(effect, StartTimer):
            loop = asyncio.get_running_loop()
            self._timers[effect.channel] = loop.call_later(effect.seconds, self._timed_out, effect.channel)

    def _timed_out(self, channel: int) -> None:
        self._timers.pop(channel, None)
        self._perform(self._relay.timed_out(channel))

    def _traffic(self, channel: int) -> tuple[int, int]:
        flows = self._relay.flow
        return flows(channel, Side.CLIENT).octets, flows(channel, Side.TARGET).octets

    def _ends(self, channel: int, error: InterlockError) -> None:
        """Called from within the data path, so what follows waits for the next step of the loop."""
        asyncio.get_running_loop().call_soon(self.terminate, channel, error.public)

    def _locked(self, channel: int, lock: Denied) -> None:
        self.terminate(channel, lock.public, reason=lock.reason)

    def perform(self, effects: list[Effect]) -> None:
        """See `Performer.perform`."""
        self._perform(effects)

    def terminate(self, channel: int, text: str, *, reason: str = "") -> None:
        """See `Performer.terminate`. ``reason``: for the audit log, if it is not the text."""
        self._end_reason = reason or text
        self._perform(self._relay.terminate(channel, f"\r\n{text}\r\n"))
        self._end_reason = ""

    # --- life and death of the connection ---------------------------------------------------------

    def _look(self) -> None:
        """Ask silent legs whether they live, and renew keys that were used for long."""
        self._watch = self._call_later(self._keepalive_interval, self._look)
        for side, leg in self._legs.items():
            self._check_alive(side, leg)
            leg.key_age += self._keepalive_interval
            if leg.key_age >= REKEY_SECONDS:
                leg.exchange_keys()

    def _check_alive(self, side: Side, leg: Leg) -> None:
        if leg.active or not leg.listening:
            leg.active = False
            return
        effects = self._relay.keepalive(side)
        if effects is None:
            self.disconnected(side, "no answer to keepalives")
        else:
            self._perform(effects)

    def _goodbye(self, side: Side, text: str) -> None:
        leg = self._legs.get(side)
        if leg is not None:
            leg.send_transport(_disconnect(wire.DISCONNECT_BY_APPLICATION, text))

    def _finish(self, reason: str) -> None:
        if not self._over.is_set():
            self._end_reason = reason
            self._over.set()
            self._parties.left()

    async def _close_legs(self) -> None:
        for timer in (*self._timers.values(), self._linger):
            if timer is not None:
                timer.cancel()
        for leg in self._legs.values():
            leg.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_GRACE_S):
                for leg in self._legs.values():
                    await leg.wait_closed()
        for leg in self._legs.values():
            leg.abort()


def _disconnect(code: int, text: str) -> bytes:
    """RFC 4253 §11.1."""
    return bytes([wire.DISCONNECT]) + uint32(code) + string(text) + string("en")

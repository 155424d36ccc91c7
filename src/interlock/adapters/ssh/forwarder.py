"""The forwarding node: performs what the relay core decides, for one client and one target.

It owns the two legs and the timers of a connection; its sessions are `carried`.
"""

import asyncio
import contextlib
from collections.abc import Awaitable

import asyncssh
import structlog

from interlock.adapters.ssh.carried import CarriedSessions, Parties
from interlock.adapters.ssh.leg import Leg, join
from interlock.adapters.ssh.once import Once
from interlock.adapters.ssh.record import ConnectionRecord
from interlock.adapters.ssh.seams.relayed import RelayedConnection
from interlock.core import wire
from interlock.core.effects import (
    Effect,
    ForwardClosed,
    ForwardFailed,
    ForwardOpened,
    Granted,
    Hungry,
    ListenBegan,
    Overfull,
    Refused,
    Send,
    SessionEffect,
    StartTimer,
    StopTimer,
    Typed,
)
from interlock.core.errors import Denied, InterlockError, RemoteProtocolError
from interlock.core.extensions import CLIENT_LEFT
from interlock.core.limits import KEEPALIVE_INTERVAL_S, REKEY_SECONDS
from interlock.core.refusal import Refusal
from interlock.core.relay import Relay
from interlock.core.sides import Side
from interlock.core.wire import string, uint32
from interlock.services.sessions.sessions import LiveSession, Sessions
from interlock.services.timers import CallLater, Timer, call_later

_log = structlog.get_logger()

LINGER_S = 10.0
"""Seconds that a connection which got only refusals may stay: time for its client to show the text and leave."""

CLOSE_GRACE_S = 5.0
"""Seconds to send what is queued when a connection ends; then it is cut."""


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
        self._carried = CarriedSessions(relay, parties, sessions, self, refusal, on_started=self._session_began)
        self._record = ConnectionRecord(
            live=self._carried.live,
            begin=self._begin_record,
            on_lost=self._lost_record,
        )
        self._linger: asyncio.TimerHandle | None = None  # set from the start if there is no target
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._over = Once()
        self._ended = False  # whether policy has ended it
        self._failure = ""  # what went wrong, if the client did not just leave
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
            quiet = self._parties.emits and not (self._carried.any or failed or self._refusal)
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
            self._carried.end_reason = reason or text
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
        return self._carried.opened + self._relay.activity()

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
        sids = [session.sid for session in self._carried.live.values()]
        _log.warning("forwarder.protocol_error", sids=sids, side=side.value, reason=error.reason)
        self._legs[side].send_transport(_disconnect(wire.DISCONNECT_PROTOCOL_ERROR, error.public))
        words = {Side.CLIENT: "the client", Side.TARGET: "the target"}[side]
        if not self._carried.live and not self._record.begun:
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
            if self._relay.waiting() or not (self._carried.opened or self._record.begun):
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
                    self._carried.refused(effect)
                case ForwardOpened() | ForwardClosed() | ForwardFailed() | ListenBegan():
                    if self._parties.emits:
                        self._record.perform(effect)
                case Typed() | Hungry() | Overfull():
                    self._carried.shared(effect)
                case _:
                    self._perform_for_session(effect)

    def _perform_for_session(self, effect: SessionEffect) -> None:
        match effect:
            case StartTimer() | StopTimer():
                self._timer(effect)
            case Granted():
                self._record.granted(effect)
            case _:
                self._carried.perform(effect)

    # --- the connection itself --------------------------------------------------------------------

    def _quiet(self) -> bool:
        """Whether nothing was told of this connection yet, and nothing is about to be."""
        return not (self._carried.any or self._relay.waiting() or self._over.is_set())

    def _session_began(self) -> None:
        self._record.session_began()

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

    def perform(self, effects: list[Effect]) -> None:
        """See `Performer.perform`."""
        self._perform(effects)

    def terminate(self, channel: int, text: str, *, reason: str = "") -> None:
        """See `Performer.terminate`. ``reason``: for the audit log, if it is not the text."""
        self._carried.end_reason = reason or text
        self._perform(self._relay.terminate(channel, f"\r\n{text}\r\n"))
        self._carried.end_reason = ""

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
            self._carried.end_reason = reason
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

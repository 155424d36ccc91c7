"""The relay core: what becomes of every connection-protocol message between a client and its target.

Sans-IO. A performer feeds it each message that is not plain data on an open channel (that takes the
fast path, by `flows`), and does the effects that it returns, in order. Channel numbers and windows
are kept end to end, so the relay buffers no data and owns no windows. Allowed is what
`core.policy` lists. The core never waits: where the outside must decide, it returns an effect and
goes on when `accept`, `reject`, `begin` or `terminate` is called.
"""

from collections.abc import Callable
from dataclasses import dataclass

from interlock.core import extensions, wire
from interlock.core.channel import Channel, Phase
from interlock.core.effects import (
    Agreed,
    Closed,
    Effect,
    Exited,
    Refused,
    Resized,
    Send,
    Started,
    StartTimer,
    StopTimer,
)
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.flows import Flow, Flows
from interlock.core.ids import SessionId
from interlock.core.limits import KEEPALIVE_MAX_MISSED, MAX_CHANNELS, MAX_REASON
from interlock.core.messages import (
    REQUEST_FAILURE,
    Confirmation,
    Open,
    Request,
    channel_message,
    channel_request,
    global_request,
    open_failure,
    request_success,
    stderr_data,
)
from interlock.core.negotiation import (
    Agree,
    Announced,
    Answered,
    Await,
    Confirmed,
    Input,
    Negotiation,
    Reject,
    Support,
    TargetClosed,
    TimedOut,
)
from interlock.core.policy import CHANNEL_REQUESTS, GLOBAL_REQUESTS, Verdict, not_relayed
from interlock.core.replies import ReplyLedger
from interlock.core.sides import Side
from interlock.core.wire import Reader

_QUERY = "session-id-query"
_KEEPALIVE = "keepalive"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a whole connection gets nowhere: each of its channels is refused with this."""

    code: int
    public: str
    reason: str


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """What is known of the connection when the relay begins."""

    support: Support  # UNKNOWN: ask the target for its session ID; NO: mint
    passes_params: bool  # whether the target reads session parameters; sshd would drop the connection
    recording_proxy: bool  # the answer to cluster-details
    refusal: Refusal | None = None  # there is no target


class Relay:
    """One client connection and one target connection."""

    def __init__(self, options: RelayOptions, mint: Callable[[], SessionId]) -> None:
        self.flows: dict[Side, Flows] = {Side.CLIENT: {}, Side.TARGET: {}}
        self._options = options
        self._mint = mint
        self._support = options.support
        self._refusal = options.refusal
        self._no_more_sessions = False
        self._by_client: dict[int, Channel] = {}
        self._by_target: dict[int, Channel] = {}
        self._answered_by = {Side.CLIENT: ReplyLedger(), Side.TARGET: ReplyLedger()}
        self._missed = {Side.CLIENT: 0, Side.TARGET: 0}
        self._handlers: dict[int, Callable[[Side, bytes], list[Effect]]] = {
            wire.GLOBAL_REQUEST: self._global_request,
            wire.REQUEST_SUCCESS: self._global_reply,
            wire.REQUEST_FAILURE: self._global_reply,
            wire.CHANNEL_OPEN: self._open,
            wire.CHANNEL_OPEN_CONFIRMATION: self._confirmation,
            wire.CHANNEL_OPEN_FAILURE: self._failure,
            wire.CHANNEL_WINDOW_ADJUST: self._window_adjust,
            wire.CHANNEL_DATA: self._stray_data,
            wire.CHANNEL_EXTENDED_DATA: self._stray_data,
            wire.CHANNEL_EOF: self._eof,
            wire.CHANNEL_CLOSE: self._close,
            wire.CHANNEL_REQUEST: self._channel_request,
            wire.CHANNEL_SUCCESS: self._channel_reply,
            wire.CHANNEL_FAILURE: self._channel_reply,
        }

    # --- what the performer calls -----------------------------------------------------------------

    def begin_relaying(self) -> list[Effect]:
        """Both legs are up: ask the target, once per connection, whether it shares its session IDs."""
        if self._support is not Support.UNKNOWN or self._refusal:
            return []
        self._answered_by[Side.TARGET].ask(_QUERY)
        return [Send(Side.TARGET, global_request(extensions.SESSION_ID_QUERY_V2, want_reply=True))]

    def handles(self, message_type: int) -> bool:
        """Whether this is a message of the connection protocol at all."""
        return message_type in self._handlers

    def receive(self, side: Side, payload: bytes) -> list[Effect]:
        """Judge one message from ``side``. RemoteProtocolError: disconnect that side."""
        return self._handlers[payload[0]](side, payload)

    def accept(self, client_no: int) -> list[Effect]:
        """The session exists: let the client in, and tell it the ID."""
        channel = self._by_client[client_no]
        confirmation, sid = channel.confirmation, channel.negotiation.sid
        if channel.phase is not Phase.NEGOTIATING or confirmation is None or sid is None:
            return []
        channel.phase = Phase.OPEN
        self.flows[Side.CLIENT][channel.target_no] = channel.flow_from[Side.CLIENT]
        self.flows[Side.TARGET][channel.client_no] = channel.flow_from[Side.TARGET]
        announcement = channel_request(client_no, extensions.CURRENT_SESSION_ID, data=sid.encode())
        return [
            Send(Side.CLIENT, confirmation.encode(more_window=channel.more_window)),
            Send(Side.CLIENT, announcement),
        ]

    def reject(self, client_no: int, refusal: Refusal) -> list[Effect]:
        """The session cannot be: refuse the client's channel and close the target's."""
        return self._rejected(self._by_client[client_no], refusal)

    def begin(self, client_no: int, kind: str, command: bytes, *, want_reply: bool) -> list[Effect]:
        """The session started: pass the shell, exec or subsystem request on."""
        channel = self._by_client[client_no]
        if want_reply:
            channel.answered_by[Side.TARGET].pass_on()
        data = wire.string(command) if kind != "shell" else b""
        request = channel_request(channel.target_no, kind.encode(), want_reply=want_reply, data=data)
        return [Send(Side.TARGET, request)]

    def terminate(self, client_no: int, text: str) -> list[Effect]:
        """End one session from here: tell the person, close both ends."""
        channel = self._by_client.get(client_no)
        if channel is None or channel.phase is not Phase.OPEN:
            return []
        effects: list[Effect] = []
        if Side.TARGET not in channel.closed:
            effects.append(Send(Side.CLIENT, stderr_data(client_no, text)))
            effects.append(Send(Side.CLIENT, channel_message(wire.CHANNEL_CLOSE, client_no)))
        if Side.CLIENT not in channel.closed:
            effects.append(Send(Side.TARGET, channel_message(wire.CHANNEL_CLOSE, channel.target_no)))
        channel.phase = Phase.ABANDONED
        self._forget_flows(channel)
        return [*effects, *self._ended(channel)]

    def timed_out(self, client_no: int) -> list[Effect]:
        """The time that a `StartTimer` asked for has passed."""
        channel = self._by_client.get(client_no)
        return self._negotiate(channel, TimedOut()) if channel else []

    def keepalive(self, side: Side) -> list[Effect] | None:
        """Ask a silent side whether it is alive; None when it has not answered too often."""
        if self._missed[side] >= KEEPALIVE_MAX_MISSED:
            return None
        self._missed[side] += 1
        self._answered_by[side].ask(_KEEPALIVE)
        return [Send(side, global_request(extensions.KEEPALIVE, want_reply=True))]

    def flow(self, client_no: int, side: Side) -> Flow:
        """The data path's state for what comes from ``side`` on a channel, to set its tap."""
        return self._by_client[client_no].flow_from[side]

    def open_channels(self) -> list[int]:
        """Channels on which a session is live."""
        return [no for no, channel in self._by_client.items() if channel.phase is Phase.OPEN]

    def lost(self) -> list[Effect]:
        """A leg has gone: every session ends."""
        channels = list(self._by_client.values())
        self._by_client.clear()
        self._by_target.clear()
        for side in Side:
            self.flows[side].clear()
        return [effect for channel in channels for effect in (StopTimer(channel.client_no), *self._ended(channel))]

    # --- global requests and their replies (RFC 4254 §4) ------------------------------------------

    def _global_request(self, side: Side, payload: bytes) -> list[Effect]:
        request = Request.decode(payload)
        verdict = GLOBAL_REQUESTS.get((side, request.name), Verdict.REFUSE)
        if verdict is Verdict.PASS_ON and not self._refusal:
            if request.want_reply:
                self._answered_by[side.other].pass_on()
            return [Send(side.other, payload)]
        if verdict is Verdict.ANSWER:
            return self._reply(side, request, request_success(self._answer(request.name)))
        report: list[Effect] = []
        if verdict is Verdict.REFUSE_AND_REPORT:
            report.append(self._report(request.text))
        return report + self._reply(side, request, REQUEST_FAILURE)

    def _answer(self, name: bytes) -> bytes:
        match name:
            case extensions.NO_MORE_SESSIONS:
                self._no_more_sessions = True
            case extensions.VERSION_QUERY:
                return extensions.SOFTWARE.encode()
            case extensions.CLUSTER_DETAILS:
                return extensions.cluster_details(recording_proxy=self._options.recording_proxy)
            case _:
                pass
        return b""

    def _reply(self, side: Side, request: Request, reply: bytes) -> list[Effect]:
        if not request.want_reply:
            return []
        return [Send(side, ready) for ready in self._answered_by[side.other].answer(reply)]

    def _global_reply(self, side: Side, payload: bytes) -> list[Effect]:
        settled = self._answered_by[side].settle(payload)
        effects: list[Effect] = [Send(side.other, ready) for ready in settled.release]
        if settled.token == _KEEPALIVE:
            self._missed[side] = 0
        elif settled.token == _QUERY:
            effects += self._query_answered(payload)
        return effects

    def _query_answered(self, payload: bytes) -> list[Effect]:
        supported = payload[0] == wire.REQUEST_SUCCESS
        # An empty FAILURE is an old node; one with text is a refusal of the whole connection.
        rejection = "" if supported else payload[1:].decode("utf-8", "replace").strip()
        self._support = Support.YES if supported else Support.NO
        answer = Answered(supported, rejection)
        effects = [e for channel in list(self._by_client.values()) for e in self._negotiate(channel, answer)]
        if rejection:
            public = f"remote session open failed: {rejection[:MAX_REASON]}"
            self._refusal = Refusal(wire.OPEN_ADMINISTRATIVELY_PROHIBITED, public, public)
        return effects

    # --- channel opens (§5.1) ---------------------------------------------------------------------

    def _open(self, side: Side, payload: bytes) -> list[Effect]:
        wanted = Open.decode(payload)
        if side is Side.TARGET:
            reason = f"the target tried to open a channel of type {wanted.kind[:64]}"
            return self._refuse_open(side, wanted, Refusal(wire.OPEN_ADMINISTRATIVELY_PROHIBITED, reason, reason))
        if self._refusal:
            return self._refuse_open(side, wanted, self._refusal)
        if wanted.kind != "session":
            public = not_relayed(wanted.kind)
            code = wire.OPEN_ADMINISTRATIVELY_PROHIBITED if public else wire.OPEN_UNKNOWN_CHANNEL_TYPE
            text = public or "unknown channel type"
            return self._refuse_open(side, wanted, Refusal(code, text, text))
        if self._no_more_sessions:
            text = "the client declared that it opens no more sessions"
            return self._refuse_open(side, wanted, Refusal(wire.OPEN_ADMINISTRATIVELY_PROHIBITED, text, text))
        return self._open_session(wanted)

    def _open_session(self, wanted: Open) -> list[Effect]:
        held = self._by_client.get(wanted.sender)
        if held is not None and held.phase is not Phase.ABANDONED:
            raise RemoteProtocolError(Rule.CHANNEL_IN_USE, str(wanted.sender))
        if held is not None or len(self._by_client) >= MAX_CHANNELS:
            text = "too many session channels on this connection"
            return self._refuse_open(Side.CLIENT, wanted, Refusal(wire.OPEN_RESOURCE_SHORTAGE, text, text))
        try:
            params = extensions.SessionParams.decode(wanted.extra)
        except RemoteProtocolError as error:
            refusal = Refusal(wire.OPEN_CONNECT_FAILED, "malformed session parameters", error.reason)
            return self._refuse_open(Side.CLIENT, wanted, refusal)
        if params.join_session_id is not None:
            text = "joining a session is not available through this gateway"
            return self._refuse_open(
                Side.CLIENT, wanted, Refusal(wire.OPEN_ADMINISTRATIVELY_PROHIBITED, text, text)
            )
        self._by_client[wanted.sender] = Channel(wanted.sender, Negotiation(self._support, self._mint))
        extra = wanted.extra if self._options.passes_params else b""
        return [Send(Side.TARGET, wanted.encode(extra))]

    def _refuse_open(self, side: Side, wanted: Open, refusal: Refusal) -> list[Effect]:
        return [
            Send(side, open_failure(wanted.sender, refusal.code, refusal.public)),
            Refused(wanted.kind[:64], refusal.public, refusal.reason),
        ]

    def _confirmation(self, side: Side, payload: bytes) -> list[Effect]:
        confirmation = Confirmation.decode(payload)
        channel = self._answering(side, confirmation.recipient)
        if confirmation.sender in self._by_target:
            raise RemoteProtocolError(Rule.CHANNEL_IN_USE, str(confirmation.sender))
        channel.target_no = confirmation.sender
        if channel.phase is Phase.ABANDONED:
            return [Send(Side.TARGET, channel_message(wire.CHANNEL_CLOSE, channel.target_no))]
        channel.phase = Phase.NEGOTIATING
        channel.confirmation = confirmation
        self._by_target[confirmation.sender] = channel
        return self._negotiate(channel, Confirmed())

    def _failure(self, side: Side, payload: bytes) -> list[Effect]:
        reader = Reader(payload[1:])
        channel = self._answering(side, reader.uint32())
        del self._by_client[channel.client_no]
        if channel.phase is Phase.ABANDONED:
            return []
        code, text = reader.uint32(), reader.string()[:MAX_REASON].decode("utf-8", "replace")
        reason = f"the target refused the channel with code {code}: {text}"
        return [Send(Side.CLIENT, open_failure(channel.client_no, code, text)), Refused("session", text, reason)]

    def _answering(self, side: Side, client_no: int) -> Channel:
        """The channel whose open is answered: only the target is ever asked, and only once."""
        channel = self._by_client.get(client_no) if side is Side.TARGET else None
        if channel is None or channel.target_no != -1:
            raise RemoteProtocolError(Rule.UNKNOWN_CHANNEL, f"answer to an open of channel {client_no}")
        return channel

    def _negotiate(self, channel: Channel, item: Input) -> list[Effect]:
        effects: list[Effect] = []
        for outcome in channel.negotiation.receive(item):
            match outcome:
                case Await(seconds):
                    effects.append(StartTimer(channel.client_no, seconds))
                case Agree(sid):
                    channel.agreed = True
                    effects += [StopTimer(channel.client_no), Agreed(channel.client_no, sid)]
                case Reject(code, public, reason):
                    effects += self._rejected(channel, Refusal(code, public, reason))
        return effects

    def _rejected(self, channel: Channel, refusal: Refusal) -> list[Effect]:
        effects: list[Effect] = [
            StopTimer(channel.client_no),
            Send(Side.CLIENT, open_failure(channel.client_no, refusal.code, refusal.public)),
            Refused("session", refusal.public, refusal.reason),
        ]
        if channel.phase is Phase.NEGOTIATING:
            effects.append(Send(Side.TARGET, channel_message(wire.CHANNEL_CLOSE, channel.target_no)))
        channel.phase = Phase.ABANDONED
        channel.closed.add(Side.CLIENT)
        return [*effects, *self._ended(channel)]

    # --- messages on a channel (§5.2 to §5.4) ------------------------------------------------------

    def _find(self, side: Side, recipient: int) -> Channel:
        """The channel a message from ``side`` is about; the client knows of none before it is open."""
        channel = self._by_target.get(recipient) if side is Side.CLIENT else self._by_client.get(recipient)
        hidden = channel is not None and channel.phase is not Phase.OPEN and side not in self._talks(channel)
        if channel is None or hidden:
            raise RemoteProtocolError(Rule.UNKNOWN_CHANNEL, f"channel {recipient}")
        if side in channel.closed:
            raise RemoteProtocolError(Rule.DATA_AFTER_CLOSE, f"channel {recipient}")
        return channel

    @staticmethod
    def _talks(channel: Channel) -> tuple[Side, ...]:
        """Who may send on a channel that is not open."""
        match channel.phase:
            case Phase.NEGOTIATING:
                return (Side.TARGET,)
            case Phase.ABANDONED:
                return (Side.CLIENT, Side.TARGET)
            case Phase.OPENING | Phase.OPEN:
                return ()

    def _stray_data(self, side: Side, payload: bytes) -> list[Effect]:
        """Data that no flow exists for: late on an abandoned channel, else an offence."""
        channel = self._find(side, Reader(payload[1:]).uint32())
        if channel.phase is not Phase.ABANDONED:
            raise RemoteProtocolError(Rule.UNEXPECTED_MESSAGE, f"data while {channel.phase.name}")
        return []

    def _window_adjust(self, side: Side, payload: bytes) -> list[Effect]:
        reader = Reader(payload[1:])
        channel = self._find(side, reader.uint32())
        amount = reader.uint32()
        reader.end()
        if channel.phase is Phase.NEGOTIATING:
            channel.more_window += amount
            return []
        return self._pass_on(channel, side, payload)

    def _eof(self, side: Side, payload: bytes) -> list[Effect]:
        channel = self._find(side, Reader(payload[1:]).uint32())
        if channel.phase is Phase.NEGOTIATING:
            raise RemoteProtocolError(Rule.UNEXPECTED_MESSAGE, "EOF before the session ID")
        return self._pass_on(channel, side, payload)

    def _close(self, side: Side, payload: bytes) -> list[Effect]:
        channel = self._find(side, Reader(payload[1:]).uint32())
        if channel.phase is Phase.NEGOTIATING:
            effects = self._negotiate(channel, TargetClosed())
            self._drop(channel)
            return effects
        both = channel.close_from(side)
        if channel.phase is Phase.ABANDONED:
            if both:
                self._drop(channel)
            return []
        self.flows[side].pop(channel.number(side.other), None)
        effects = [Send(side.other, payload)]
        if both:
            self._drop(channel)
            effects += self._ended(channel)
        return effects

    def _pass_on(self, channel: Channel, side: Side, payload: bytes) -> list[Effect]:
        return [Send(side.other, payload)] if channel.phase is Phase.OPEN else []

    def _channel_request(self, side: Side, payload: bytes) -> list[Effect]:
        request = Request.decode(payload)
        channel = self._find(side, request.recipient)
        verdict = CHANNEL_REQUESTS.get((side, request.name), Verdict.REFUSE)
        if verdict is Verdict.ANNOUNCEMENT:
            return self._negotiate(channel, Announced(request.data))
        if channel.phase is not Phase.OPEN:
            return []
        if verdict is Verdict.START:
            return self._start(channel, request)
        allowed, effects = self._judge(channel, request, verdict)
        if not allowed:
            return effects + self._fail(channel, side, request)
        if request.want_reply:
            channel.answered_by[side.other].pass_on()
        return [*effects, Send(side.other, payload)]

    def _judge(self, channel: Channel, request: Request, verdict: Verdict) -> tuple[bool, list[Effect]]:
        """Whether a request passes, and what the outside should know of it."""
        match verdict:
            case Verdict.PASS_ON:
                return True, []
            case Verdict.PTY:
                return channel.take_pty(request.data), []
            case Verdict.ENV:
                return channel.take_env(request.data), []
            case Verdict.RESIZE:
                size = channel.take_resize(request.data)
                return size is not None, [Resized(channel.client_no, *size)] if size else []
            case Verdict.EXIT_STATUS:
                return True, [Exited(channel.client_no, Reader(request.data).uint32(), None)]
            case Verdict.EXIT_SIGNAL:
                name = Reader(request.data).string()[:32].decode("ascii", "replace")
                return True, [Exited(channel.client_no, None, name)]
            case Verdict.REFUSE_AND_REPORT:
                return False, [self._report(request.text)]
            case _:
                return False, []

    def _start(self, channel: Channel, request: Request) -> list[Effect]:
        wanted = channel.take_start(request.name, request.data)
        if wanted is None:
            text = "this channel already runs a command"
            return [Refused(request.text, text, text), *self._fail(channel, Side.CLIENT, request)]
        return [Started(channel.client_no, wanted, request.want_reply)]

    def _fail(self, channel: Channel, side: Side, request: Request) -> list[Effect]:
        if not request.want_reply:
            return []
        reply = channel_message(wire.CHANNEL_FAILURE, channel.number(side))
        return [Send(side, ready) for ready in channel.answered_by[side.other].answer(reply)]

    def _channel_reply(self, side: Side, payload: bytes) -> list[Effect]:
        channel = self._find(side, Reader(payload[1:]).uint32())
        settled = channel.answered_by[side].settle(payload)
        return [Send(side.other, ready) for ready in settled.release] if channel.phase is Phase.OPEN else []

    # --- the end of a channel ---------------------------------------------------------------------

    def _report(self, what: str) -> Refused:
        text = not_relayed(what) or what
        return Refused(what, text, text)

    def _ended(self, channel: Channel) -> list[Effect]:
        """Tell the outside once that a session which it knows of is over."""
        if not channel.agreed:
            return []
        channel.agreed = False
        flows = channel.flow_from
        return [Closed(channel.client_no, flows[Side.CLIENT].octets, flows[Side.TARGET].octets)]

    def _forget_flows(self, channel: Channel) -> None:
        self.flows[Side.CLIENT].pop(channel.target_no, None)
        self.flows[Side.TARGET].pop(channel.client_no, None)

    def _drop(self, channel: Channel) -> None:
        self._forget_flows(channel)
        self._by_client.pop(channel.client_no, None)
        self._by_target.pop(channel.target_no, None)

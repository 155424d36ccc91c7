"""The relay core: what becomes of every connection-protocol message between a client and its target.

Sans-IO. A performer feeds it each message that is not plain data on an open channel (that takes the fast path,
by `flows`), and does the effects that it returns, in order. Channel numbers and windows are kept end to end, so
the relay buffers no data and owns no windows. Allowed is what `core.policy` lists. The core never waits: where
the outside must decide, it returns an effect and goes on when `accept`, `reject`, `begin` or `terminate` is
called, which must be before the next message is fed in. How sessions are opened is in `core.opening`, how
forwarded channels are in `core.forwards`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from interlock.core import extensions, wire
from interlock.core.channel import Channel, Phase, SessionChannel
from interlock.core.channel_requests import HELD_START, ChannelRequests
from interlock.core.effects import Effect, Send, StopTimer
from interlock.core.errors import LocalProtocolError, RemoteProtocolError, Rule
from interlock.core.flows import Flow, Flows
from interlock.core.forward import (
    NOTHING_FORWARDED,
    ForwardChannel,
    Grants,
    Listening,
    kind_of,
)
from interlock.core.forwards import Forwards, Reach
from interlock.core.ids import SessionId
from interlock.core.limits import KEEPALIVE_MAX_MISSED, MAX_REASON
from interlock.core.messages import (
    REQUEST_FAILURE,
    Confirmation,
    Open,
    Request,
    channel_message,
    channel_request,
    global_request,
    read_data,
    request_success,
    stderr_data,
)
from interlock.core.negotiation import State, Support, TargetClosed, TimedOut
from interlock.core.opening import Opening
from interlock.core.policy import GLOBAL_REQUESTS, Verdict
from interlock.core.refusal import Refusal
from interlock.core.replies import ReplyLedger
from interlock.core.share import Stage
from interlock.core.sharing import Sharing
from interlock.core.sides import Side
from interlock.core.table import ChannelTable, ended
from interlock.core.wire import Reader

ENDED_BY_GATEWAY = 254
"""Exit status of a session that we refused to run; ssh itself uses 255."""

_QUERY = "session-id-query"
_KEEPALIVE = "keepalive"
_QUERIES = (extensions.SESSION_ID_QUERY_V1, extensions.SESSION_ID_QUERY_V2)


def _anywhere(_host: str, _port: int) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """What is known of the connection when the relay begins."""

    support: Support  # UNKNOWN: ask the target for its session ID; NO: mint
    passes_params: bool  # whether the target reads session parameters; sshd would drop the connection
    recording_proxy: bool  # the answer to cluster-details
    refusal: Refusal | None = None  # there is no target
    minted_counts: bool = True  # see `Opening`: False if the target records
    grants: Grants = NOTHING_FORWARDED  # what may be forwarded, at first
    reach: Reach = _anywhere  # where forwards must not lead
    joins: extensions.SessionParams | None = None  # the session there that is joined, whatever the client says
    hand_over: bytes | None = None  # the answer to a root cluster's forwarder; None: the client is no such


class Relay:
    """One client connection and one target connection."""

    def __init__(self, options: RelayOptions, mint: Callable[[], SessionId]) -> None:
        self._options = options
        self._table = ChannelTable()
        self.sharing = Sharing(self._table)
        self._opening = Opening(
            self._table,
            mint,
            support=options.support,
            passes_params=options.passes_params,
            minted_counts=options.minted_counts,
            refusal=options.refusal,
            joins=options.joins,
        )
        self._forwards = Forwards(self._table, grants=options.grants, reach=options.reach)
        self._requests = ChannelRequests(self._table, self._opening, self._forwards)
        self._answered_by = {Side.CLIENT: ReplyLedger(), Side.TARGET: ReplyLedger()}
        self._missed = {Side.CLIENT: 0, Side.TARGET: 0}

    @property
    def flows(self) -> dict[Side, Flows]:
        """The data path's tables: for what arrives from each side."""
        return self._table.flows

    # --- what the performer calls -----------------------------------------------------------------

    def begin_relaying(self) -> list[Effect]:
        """Both legs are up: ask the target, once per connection, whether it shares its session IDs."""
        if self._options.support is not Support.UNKNOWN or self._options.refusal:
            return []
        self._answered_by[Side.TARGET].ask(_QUERY)
        return [Send(Side.TARGET, global_request(extensions.SESSION_ID_QUERY_V2, want_reply=True))]

    def asks_policy(self, side: Side, payload: bytes) -> bool:
        """Whether a message wants something that policy may have changed its mind about since the beginning."""
        if side is not Side.CLIENT:
            return False
        listens = payload[0] == wire.GLOBAL_REQUEST and (
            GLOBAL_REQUESTS.get((side, Request.decode(payload).name)) is Verdict.LISTEN
        )
        return listens or payload[0] == wire.CHANNEL_OPEN

    def handles(self, message_type: int) -> bool:
        """Whether this is a message of the connection protocol at all."""
        return message_type in self._HANDLERS

    def receive(self, side: Side, payload: bytes) -> list[Effect]:
        """Judge one message from ``side``. RemoteProtocolError: disconnect that side."""
        return self._HANDLERS[payload[0]](self, side, payload)

    def accept(self, client_no: int) -> list[Effect]:
        """The session exists: let the client in, and tell it the ID."""
        return self._opening.accept(self._channel(client_no))

    def reject(self, client_no: int, refusal: Refusal) -> list[Effect]:
        """The session cannot be: refuse the client's channel and close the target's."""
        return self._opening.reject(self._channel(client_no), refusal)

    def begin(self, client_no: int, kind: str, command: bytes, *, want_reply: bool) -> list[Effect]:
        """The session started: pass the shell, exec or subsystem request on."""
        channel = self._channel(client_no)
        self._table.start_flows(channel)
        held = channel.share is not None and channel.share.stage is Stage.HELD
        if held:
            channel.answered_by[Side.TARGET].ask(HELD_START)
        elif want_reply:
            channel.answered_by[Side.TARGET].pass_on()
        data = wire.string(command) if kind != "shell" else b""
        request = channel_request(channel.target_no, kind.encode(), want_reply=want_reply or held, data=data)
        return [Send(Side.TARGET, request), *(self.sharing.resume(client_no) if held else [])]

    def hold(self, client_no: int, *, want_reply: bool) -> list[Effect]:
        """The session must wait: answer the start, so that the client shows what we say. `begin` follows."""
        channel = self._channel(client_no)
        effects = self.sharing.hold(client_no)
        success = channel_message(wire.CHANNEL_SUCCESS, client_no)
        answers = channel.answered_by[Side.TARGET].answer(success) if want_reply else []
        return [*effects, *(Send(Side.CLIENT, ready) for ready in answers)]

    def refuse_from_now_on(self, refusal: Refusal) -> None:
        """Refuse every channel that is opened from now on: policy has changed its mind."""
        self._opening.refusal = refusal

    def grant(self, grants: Grants) -> None:
        """What may be forwarded from now on."""
        self._forwards.grants = grants

    def limit_sessions(self, refusal: Refusal | None) -> None:
        """Refuse session channels beyond ``refusal.maximum`` with it; None: there is no such limit."""
        self._opening.session_limit = refusal

    def activity(self) -> int:
        """A number that changes whenever the person does something."""
        return sum(channel.activity + 1 for channel in self._table.all())

    def terminate(self, client_no: int, text: str, *last: bytes) -> list[Effect]:
        """End one session from here: tell the person, close both ends. ``last``: messages before the close."""
        channel = self._table.session(client_no)
        if channel is None or channel.phase is not Phase.OPEN:
            return []
        effects: list[Effect] = []
        if Side.TARGET not in channel.closed:
            told = (stderr_data(client_no, text), *last, channel_message(wire.CHANNEL_CLOSE, client_no))
            effects += [Send(Side.CLIENT, message) for message in told]
        if Side.CLIENT not in channel.closed:
            effects.append(Send(Side.TARGET, channel_message(wire.CHANNEL_CLOSE, channel.target_no)))
        self._table.abandon(channel)
        return [*effects, *ended(channel)]

    def decline(self, client_no: int, text: str, *, want_reply: bool) -> list[Effect]:
        """The session cannot start: answer what the client asked, tell the person, close both ends.

        The client's earlier requests that the target has not answered are answered too, since replies leave in
        order; libraries wait for them before they look at anything else. The start is not called a failure:
        ssh would end there and then, and not show the text.
        """
        channel = self._channel(client_no)
        success = channel_message(wire.CHANNEL_SUCCESS, client_no)
        replies = [*channel.answered_by[Side.TARGET].outstanding(success), *[success] * want_reply]
        status = channel_request(client_no, b"exit-status", data=wire.uint32(ENDED_BY_GATEWAY))
        effects: list[Effect] = [Send(Side.CLIENT, reply) for reply in replies]
        return effects + self.terminate(client_no, text, status)

    def timed_out(self, client_no: int) -> list[Effect]:
        """The time that a `StartTimer` asked for has passed."""
        channel = self._table.session(client_no)
        return self._opening.negotiate(channel, TimedOut()) if channel else []

    def keepalive(self, side: Side) -> list[Effect] | None:
        """Ask a silent side whether it is alive; None when it has not answered too often or owes too much."""
        if self._missed[side] >= KEEPALIVE_MAX_MISSED or self._answered_by[side].full:
            return None
        self._missed[side] += 1
        self._answered_by[side].ask(_KEEPALIVE)
        return [Send(side, global_request(extensions.KEEPALIVE, want_reply=True))]

    def flow(self, client_no: int, side: Side) -> Flow:
        """The data path's state for what comes from ``side`` on a channel, to set its tap."""
        return self._channel(client_no).flow_from[side]

    def has_twin(self, client_no: int) -> bool:
        """Whether the ID is ours because the target does not know the protocol: it has a session of its own."""
        asked = self._options.support is Support.UNKNOWN
        return asked and self._channel(client_no).negotiation.state is State.MINTED

    def open_channels(self) -> list[int]:
        """Channels on which a session is live."""
        return [channel.client_no for channel in self._table.sessions() if channel.phase is Phase.OPEN]

    def waiting(self) -> bool:
        """Whether the client has opened a channel and got no answer yet."""
        unanswered = {Phase.OPENING, Phase.NEGOTIATING}
        return any(each.phase in unanswered and each.opener is Side.CLIENT for each in self._table.all())

    def lost(self) -> list[Effect]:
        """A leg has gone: every session ends."""
        effects = self._forwards.close_all()
        for channel in self._table.sessions():
            self._table.drop(channel)
            effects += [StopTimer(channel.client_no), *ended(channel)]
        return effects

    def _channel(self, client_no: int) -> SessionChannel:
        channel = self._table.session(client_no)
        if channel is None:
            raise LocalProtocolError(f"no channel {client_no}")
        return channel

    # --- global requests and their replies (RFC 4254 §4) ------------------------------------------

    def _global_request(self, side: Side, payload: bytes) -> list[Effect]:
        request = Request.decode(payload)
        verdict = GLOBAL_REQUESTS.get((side, request.name), Verdict.REFUSE)
        if request.name in _QUERIES and side is Side.CLIENT and self._opening.refusal is not None:
            text = self._opening.refusal.public.encode()  # PROTOCOL.md §2.1: a client may ask before it opens
            return self._reply(side, request, REQUEST_FAILURE + text)
        if request.name in _QUERIES and not self._options.minted_counts and side is Side.CLIENT:
            verdict = Verdict.PASS_ON  # the target names the sessions that it records, so it knows when it does
        if verdict is Verdict.ANSWER:
            answer = self._answer(request.name)
            return self._reply(side, request, REQUEST_FAILURE if answer is None else request_success(answer))
        if verdict in {Verdict.REFUSE, Verdict.DROP} or self._options.refusal is not None:
            return self._reply(side, request, REQUEST_FAILURE)
        asked: Listening | None = None
        effects: list[Effect] = []
        if verdict is Verdict.LISTEN:
            asked, effects = self._forwards.listen(request)
            if asked is None:
                return effects + self._reply(side, request, REQUEST_FAILURE)
        elif verdict is Verdict.STOP_LISTENING:
            self._forwards.stop_listening(request)
        if request.want_reply:
            self._answered_by[side.other].pass_on(asked)
        return [*effects, Send(side.other, payload)]

    def _answer(self, name: bytes) -> bytes | None:
        match name:
            case extensions.NO_MORE_SESSIONS:
                self._opening.no_more_sessions = True
            case extensions.VERSION_QUERY:
                return extensions.SOFTWARE.encode()
            case extensions.CLUSTER_DETAILS:
                return extensions.cluster_details(recording_proxy=self._options.recording_proxy)
            case extensions.HAND_OVER:
                return self._options.hand_over
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
            effects += self._opening.query_answered(payload)
        if isinstance(settled.note, Listening):
            effects += self._forwards.answered(settled.note, payload)
        return effects

    # --- channels come to be (§5.1) ----------------------------------------------------------------

    def _open(self, side: Side, payload: bytes) -> list[Effect]:
        wanted = Open.decode(payload)
        kind = kind_of(wanted.kind)
        if kind is None or self._opening.refusal is not None:
            return self._opening.opened(side, wanted)
        return self._forwards.opened(side, wanted, payload)

    def _confirmed(self, side: Side, payload: bytes) -> list[Effect]:
        confirmation = Confirmation.decode(payload)
        match self._table.answered(side, confirmation.recipient):
            case SessionChannel() as channel:
                return self._opening.confirmed(channel, confirmation)
            case ForwardChannel() as forward:
                return self._forwards.confirmed(forward, confirmation, payload)
            case _:
                return []

    def _failed(self, side: Side, payload: bytes) -> list[Effect]:
        reader = Reader(payload[1:])
        recipient, code = reader.uint32(), reader.uint32()
        text = reader.string()[:MAX_REASON].decode("utf-8", "replace")
        match self._table.answered(side, recipient):
            case SessionChannel() as channel:
                return self._opening.failed(channel, code, text)
            case ForwardChannel() as forward:
                return self._forwards.failed(forward, code, text)
            case _:
                return []

    # --- messages on a channel (§5.2 to §5.4) ------------------------------------------------------

    def _channel_request(self, side: Side, payload: bytes) -> list[Effect]:
        return self._requests.received(side, payload)

    def _stray_data(self, side: Side, payload: bytes) -> list[Effect]:
        """Data that no flow exists for: late on an abandoned channel, else an offence: nothing runs yet (R1)."""
        channel = self._table.find(side, Reader(payload[1:]).uint32())
        if channel.phase is Phase.ABANDONED:
            return []
        waits = side is Side.CLIENT and channel.share is not None and channel.share.stage is Stage.HELD
        if channel.share is None or not (channel.running or waits):
            raise RemoteProtocolError(Rule.UNEXPECTED_MESSAGE, f"data while {channel.phase.name}")
        effects = channel.share.data(side, *read_data(payload))
        self.sharing.settle(channel)
        return effects

    def _window_adjust(self, side: Side, payload: bytes) -> list[Effect]:
        reader = Reader(payload[1:])
        channel = self._table.find(side, reader.uint32())
        amount = reader.uint32()
        reader.end()
        if isinstance(channel, SessionChannel) and channel.phase is Phase.NEGOTIATING:
            channel.more_window += amount
            return []
        if channel.share is not None and channel.phase is Phase.OPEN:
            effects = channel.share.adjusted(side, amount)
            self.sharing.settle(channel)
            return effects
        channel.flow_from[side].granted += amount
        return self._pass_on(channel, side, payload)

    def _bare(self, side: Side, payload: bytes) -> Channel:
        """The channel of a message that is its number and nothing else: it may be passed on as it came."""
        reader = Reader(payload[1:])
        number = reader.uint32()
        reader.end()
        return self._table.find(side, number)

    def _eof(self, side: Side, payload: bytes) -> list[Effect]:
        channel = self._bare(side, payload)
        if channel.phase is Phase.NEGOTIATING:
            raise RemoteProtocolError(Rule.UNEXPECTED_MESSAGE, "EOF before the session ID")
        if channel.share is not None and channel.phase is Phase.OPEN:
            return channel.share.eof(side, payload)
        return self._pass_on(channel, side, payload)

    def _close(self, side: Side, payload: bytes) -> list[Effect]:
        channel = self._bare(side, payload)
        if isinstance(channel, SessionChannel) and channel.phase is Phase.NEGOTIATING:
            effects = self._opening.negotiate(channel, TargetClosed())
            self._table.drop(channel)
            return effects
        both = channel.close_from(side)
        if channel.phase is Phase.ABANDONED:
            if both:
                self._table.drop(channel)
            return []
        self._table.close_flow(channel, side)
        effects = [*(channel.share.closed(side) if channel.share else []), Send(side.other, payload)]
        if both:
            self._table.drop(channel)
            effects += ended(channel)
        return effects

    def _pass_on(self, channel: Channel, side: Side, payload: bytes) -> list[Effect]:
        return [Send(side.other, payload)] if channel.phase is Phase.OPEN else []

    def _channel_reply(self, side: Side, payload: bytes) -> list[Effect]:
        channel = self._bare(side, payload)
        effects = self._requests.replied(channel, side, payload)
        if isinstance(channel, SessionChannel) and channel.start_refused:
            effects += self.terminate(channel.client_no, "\r\nthe target refused to start the session\r\n")
        return effects

    _HANDLERS: ClassVar[Mapping[int, Callable[["Relay", Side, bytes], list[Effect]]]] = {
        wire.GLOBAL_REQUEST: _global_request,
        wire.REQUEST_SUCCESS: _global_reply,
        wire.REQUEST_FAILURE: _global_reply,
        wire.CHANNEL_OPEN: _open,
        wire.CHANNEL_OPEN_CONFIRMATION: _confirmed,
        wire.CHANNEL_OPEN_FAILURE: _failed,
        wire.CHANNEL_WINDOW_ADJUST: _window_adjust,
        wire.CHANNEL_DATA: _stray_data,
        wire.CHANNEL_EXTENDED_DATA: _stray_data,
        wire.CHANNEL_EOF: _eof,
        wire.CHANNEL_CLOSE: _close,
        wire.CHANNEL_REQUEST: _channel_request,
        wire.CHANNEL_SUCCESS: _channel_reply,
        wire.CHANNEL_FAILURE: _channel_reply,
    }

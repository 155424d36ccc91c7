"""Requests on channels (RFC 4254 §5.4): which pass, what they tell the outside, who answers those that do not."""

from interlock.core import wire
from interlock.core.channel import Channel, Phase, SessionChannel
from interlock.core.effects import Effect, Exited, Granted, Refused, Resized, Send, Started
from interlock.core.forward import REQUEST_WORDS, X11_REQUEST, not_allowed
from interlock.core.forwards import Forwards, note_grant
from interlock.core.messages import Request, channel_message, exit_status
from interlock.core.negotiation import Announced
from interlock.core.opening import Opening
from interlock.core.policy import CHANNEL_REQUESTS, FORWARD_REQUESTS, Verdict
from interlock.core.sides import Side
from interlock.core.table import ChannelTable
from interlock.core.wire import Reader

NO_TERMINAL = "your certificate or key is restricted to sessions without a terminal"

HELD_START = "start"
"""Our own request: the start of a session that was held. Its client has had our answer."""


class ChannelRequests:
    """The requests on all channels of one connection."""

    def __init__(self, table: ChannelTable, opening: Opening, forwards: Forwards) -> None:
        self._table = table
        self._opening = opening
        self._forwards = forwards

    def received(self, side: Side, payload: bytes) -> list[Effect]:
        """A CHANNEL_REQUEST from ``side``. RemoteProtocolError if it is malformed or may not be made."""
        request = Request.decode(payload)
        channel = self._table.find(side, request.recipient)
        if not isinstance(channel, SessionChannel):
            return self._forward_request(channel, side, request, payload)
        verdict = CHANNEL_REQUESTS.get((side, request.name), Verdict.REFUSE)
        if verdict is Verdict.ANNOUNCEMENT:
            return self._opening.negotiate(channel, Announced(request.data)) + self._fail(channel, side, request)
        if channel.phase is not Phase.OPEN:
            return self._fail(channel, side, request)  # the client, who would answer, does not know the channel
        if verdict is Verdict.START:
            return self._start(channel, request)
        if side is Side.CLIENT and channel.share is not None and channel.share.refuses(request.name):
            return self._fail(channel, side, request)
        allowed, effects = self._judge(channel, request, verdict)
        if not allowed:
            return effects + self._fail(channel, side, request)
        if request.want_reply:
            granted = Granted(request.text, channel.client_no) if verdict is Verdict.GRANT else None
            channel.answered_by[side.other].pass_on(granted)
        return [*effects, Send(side.other, payload)]

    def _forward_request(self, channel: Channel, side: Side, request: Request, payload: bytes) -> list[Effect]:
        """A request on a forwarded channel, where nothing can be started."""
        if channel.phase is not Phase.OPEN or request.name not in FORWARD_REQUESTS:
            return self._fail(channel, side, request)
        if request.want_reply:
            channel.answered_by[side.other].pass_on()
        return [Send(side.other, payload)]

    def _judge(self, channel: SessionChannel, request: Request, verdict: Verdict) -> tuple[bool, list[Effect]]:
        """Whether a request passes, and what the outside should know of it."""
        match verdict:
            case Verdict.PASS_ON:
                return True, []
            case Verdict.PTY:
                return self._terminal(channel, request)
            case Verdict.ENV:
                return channel.take_env(request.data), []
            case Verdict.ENVS:
                return channel.take_envs(request.data), []
            case Verdict.RESIZE:
                size = channel.take_resize(request.data)
                return size is not None, [Resized(channel.client_no, *size)] if size else []
            case Verdict.EXIT_STATUS:
                return True, [Exited(channel.client_no, exit_status(request.data), None)]
            case Verdict.EXIT_SIGNAL:
                name = Reader(request.data).string()[:32].decode("ascii", "replace")
                return True, [Exited(channel.client_no, None, name)]
            case Verdict.GRANT:
                return self._grant(channel, request)
            case _:
                return False, []

    def _terminal(self, channel: SessionChannel, request: Request) -> tuple[bool, list[Effect]]:
        if not self._forwards.grants.allow("pty"):
            return False, [Refused(request.text, NO_TERMINAL, NO_TERMINAL, channel.client_no)]
        return channel.take_pty(request.data), []

    def _grant(self, channel: SessionChannel, request: Request) -> tuple[bool, list[Effect]]:
        """X11 or the agent, asked for within a session."""
        what = request.text
        grant = "x11" if what == X11_REQUEST else "agent"
        if not self._forwards.grants.allow(grant):
            text = not_allowed(REQUEST_WORDS[what])
            return False, [Refused(what, text, text, channel.client_no)]
        if what in channel.granted:
            return False, []  # once is enough, and bounds what is told
        note_grant(channel, what, given=True)
        return True, [] if request.want_reply else [Granted(what, channel.client_no)]

    def _start(self, channel: SessionChannel, request: Request) -> list[Effect]:
        if Side.TARGET in channel.closed:
            return []  # nothing can run there any more, so no session starts
        wanted = channel.take_start(request.name, request.data)
        if wanted is None:
            text = "this channel already runs a command"
            return [
                Refused(request.text, text, text, channel.client_no),
                *self._fail(channel, Side.CLIENT, request),
            ]
        return [Started(channel.client_no, wanted, request.want_reply)]

    def _fail(self, channel: Channel, side: Side, request: Request) -> list[Effect]:
        """The relay's own answer to ``side``, unless we have closed the channel there (§5.3)."""
        if not request.want_reply or side.other in channel.closed or channel.phase is Phase.ABANDONED:
            return []
        reply = channel_message(wire.CHANNEL_FAILURE, channel.number(side))
        return [Send(side, ready) for ready in channel.answered_by[side.other].answer(reply)]

    def replied(self, channel: Channel, side: Side, payload: bytes) -> list[Effect]:
        """A CHANNEL_SUCCESS or CHANNEL_FAILURE. RemoteProtocolError if ``side`` was not asked."""
        settled = channel.answered_by[side].settle(payload)
        effects: list[Effect] = []
        if settled.token == HELD_START and isinstance(channel, SessionChannel):
            channel.start_refused = payload[0] == wire.CHANNEL_FAILURE
        if channel.phase is Phase.OPEN:
            effects += [Send(side.other, ready) for ready in settled.release]
        if isinstance(settled.note, Granted) and isinstance(channel, SessionChannel) and channel.agreed:
            if payload[0] == wire.CHANNEL_SUCCESS:
                effects.append(settled.note)
            else:
                note_grant(channel, settled.note.what, given=False)
                text = f"the host refused {REQUEST_WORDS[settled.note.what]}"
                effects.append(Refused(settled.note.what, text, text, channel.client_no))
        return effects

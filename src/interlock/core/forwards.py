"""How forwarded channels come to be, and what may listen for the client at the target.

Whatever is refused is refused towards whoever asked, in words, and told to the audit log. A target may open only
what the client has asked for: a channel from a port that it was allowed to listen on, X11 or the agent within a
session that got them.
"""

from collections.abc import Callable
from itertools import count

from interlock.core import wire
from interlock.core.channel import NOT_ANSWERED, Phase, SessionChannel
from interlock.core.effects import Effect, ForwardFailed, ForwardOpened, ListenBegan, Send
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.forward import (
    AGENT_REQUEST,
    LISTEN_PORT,
    REQUEST_WORDS,
    RULES,
    X11_REQUEST,
    Endpoints,
    ForwardChannel,
    Grants,
    Kind,
    Listening,
    kind_of,
    not_allowed,
)
from interlock.core.limits import MAX_FORWARD_ADDRESS, MAX_FORWARDS, MAX_LISTENERS, MAX_REASON
from interlock.core.messages import Confirmation, Open, Request, channel_message, open_failure
from interlock.core.refusal import Refusal
from interlock.core.sides import Side
from interlock.core.table import ChannelTable, ended
from interlock.core.wire import Reader

Reach = Callable[[str, int], str | None]
"""Why a host and port must not be reached through the gateway, for the person; None if they may."""

_SESSION_GRANT = {Kind.X11: X11_REQUEST, Kind.AGENT: AGENT_REQUEST}
_TOO_MANY = f"too many forwarded connections at once (at most {MAX_FORWARDS})"
_TOO_MANY_LISTENERS = f"too many remote forwardings (at most {MAX_LISTENERS})"
_NO_REPLY = "a port that the host chooses can only be asked for with a reply"
_TOO_LONG = f"no address has more than {MAX_FORWARD_ADDRESS} characters"
_STILL_CLOSING = "the channel that had this number before is still being closed: try again"


class Forwards:
    """The forwards of one connection. ``grants`` may change while it lasts."""

    def __init__(self, table: ChannelTable, *, grants: Grants, reach: Reach) -> None:
        self.grants = grants
        self._table = table
        self._reach = reach
        self._ids = count()
        self._listening: dict[int | str, Listening] = {}

    # --- channels ----------------------------------------------------------------------------------

    def opened(self, side: Side, wanted: Open, payload: bytes) -> list[Effect]:
        """A CHANNEL_OPEN of one of our kinds. RemoteProtocolError if it is malformed."""
        kind = Kind(wanted.kind)
        reader = Reader(wanted.extra)
        ends = RULES[kind].read(reader)
        reader.end()
        refusal, session = self._judge(side, kind, ends, wanted.sender)
        if refusal is not None:
            return [
                Send(side, open_failure(wanted.sender, refusal.code, refusal.public)),
                ForwardFailed(kind.value, ends.address, refusal.public, refusal.reason),
            ]
        channel = ForwardChannel(
            wanted.sender if side is Side.CLIENT else NOT_ANSWERED,
            wanted.sender if side is Side.TARGET else NOT_ANSWERED,
            side,
            id=next(self._ids),
            kind=kind,
            ends=ends,
            session=session,
        )
        self._table.add(channel)
        return [Send(side.other, payload)]

    def _judge(self, side: Side, kind: Kind, ends: Endpoints, number: int) -> tuple[Refusal | None, int | None]:
        """Why not, and the session that the channel belongs to where its kind tells."""
        rules = RULES[kind]
        held = self._table.held_by(side, number)
        if held is not None and held.phase is not Phase.ABANDONED:
            raise RemoteProtocolError(Rule.CHANNEL_IN_USE, str(number))
        if side is not rules.opener:
            return Refusal.by_policy(f"the {side.value} tried to open a channel of type {kind.value}"), None
        if not self.grants.allow(rules.grant):
            return Refusal.by_policy(not_allowed(rules.words)), None
        if len(ends.host) > MAX_FORWARD_ADDRESS:  # it is kept as long as the channel is open
            return Refusal.by_policy(_TOO_LONG), None
        if held is not None:
            return Refusal.shortage(_STILL_CLOSING), None
        if len(self._table.forwards()) >= MAX_FORWARDS:
            return Refusal.shortage(_TOO_MANY), None
        session, asked = None, True
        match kind:
            case Kind.PORT:
                why = self._reach(ends.host, ends.port) if self.grants.judges else None
                return (Refusal.by_policy(why) if why else None), None
            case Kind.FROM_PORT | Kind.FROM_SOCKET:
                asked = (ends.port if kind is Kind.FROM_PORT else ends.address) in self._listening
            case Kind.X11 | Kind.AGENT:
                session = self._session_with(_SESSION_GRANT[kind])
                asked = session is not None
            case Kind.SOCKET:
                pass
        unasked = f"the target opened a channel of type {kind.value} that the client had not asked for"
        return (None if asked else Refusal.by_policy(unasked)), session

    def _session_with(self, request: str) -> int | None:
        """The session of an X11 or agent channel: the last one that asked, as the wire does not say."""
        with_it = [each for each in self._table.sessions() if request in each.granted and each.phase is Phase.OPEN]
        return with_it[-1].client_no if with_it else None

    def confirmed(self, channel: ForwardChannel, confirmation: Confirmation, payload: bytes) -> list[Effect]:
        """The side that was asked accepted."""
        opener = channel.opener
        usable = self._table.confirmed(channel, confirmation.sender)
        if not usable:
            number = channel.number(opener)
            self._table.abandon(channel)
            channel.closed.add(opener)
            close = channel_message(wire.CHANNEL_CLOSE, channel.number(opener.other))
            refusal = Refusal.shortage(_STILL_CLOSING)
            return [
                Send(opener, open_failure(number, refusal.code, refusal.public)),
                Send(opener.other, close),
                ForwardFailed(channel.kind.value, channel.ends.address, refusal.public, refusal.reason),
            ]
        channel.phase = Phase.OPEN
        channel.told = True
        self._table.start_flows(channel)
        ends = channel.ends
        told = ForwardOpened(channel.id, channel.kind.value, ends.address, ends.origin, channel.session)
        return [Send(opener, payload), told]

    def failed(self, channel: ForwardChannel, code: int, text: str) -> list[Effect]:
        """The side that was asked refused: its code and text reach the opener."""
        self._table.drop(channel)
        number = channel.number(channel.opener)
        reason = f"the {channel.opener.other.value} refused it with code {code}: {text}"
        return [
            Send(channel.opener, open_failure(number, code, text[:MAX_REASON])),
            ForwardFailed(channel.kind.value, channel.ends.address, text, reason),
        ]

    def close_all(self) -> list[Effect]:
        """The connection is over."""
        effects: list[Effect] = []
        for channel in self._table.forwards():
            self._table.drop(channel)
            effects += ended(channel)
        return effects

    # --- ports and sockets that the target listens on (RFC 4254 §7.1) -------------------------------

    def listen(self, request: Request) -> tuple[Listening | None, list[Effect]]:
        """The client asks the target to listen: what to remember until the target answers, or why not."""
        wanted = Listening.decode(request.text, request.data)
        words = REQUEST_WORDS[wanted.request]
        if not self.grants.allow("remote"):
            return None, [_refused(wanted, not_allowed(words))]
        if max(len(wanted.host), len(wanted.path)) > MAX_FORWARD_ADDRESS:
            return None, [_refused(wanted, _TOO_LONG)]
        if len(self._listening) >= MAX_LISTENERS:
            return None, [_refused(wanted, _TOO_MANY_LISTENERS)]
        if not request.want_reply and wanted.request == LISTEN_PORT and not wanted.port:
            return None, [_refused(wanted, _NO_REPLY)]
        return wanted, ([] if request.want_reply else self._began(wanted))

    def answered(self, wanted: Listening, payload: bytes) -> list[Effect]:
        """The target's answer; for port 0 it names the port that it chose, RemoteProtocolError if it does not."""
        if payload[0] == wire.REQUEST_FAILURE:
            return [_refused(wanted, f"the host refused {REQUEST_WORDS[wanted.request]}")]
        if wanted.request == LISTEN_PORT and not wanted.port:
            wanted = Listening(wanted.request, wanted.host, Reader(payload[1:]).uint32())
        return self._began(wanted)

    def stop_listening(self, request: Request) -> None:
        """The client wants no more of it; the target answers whether there was something to stop."""
        self._listening.pop(Listening.decode(request.text, request.data).key, None)

    def _began(self, wanted: Listening) -> list[Effect]:
        self._listening[wanted.key] = wanted
        return [ListenBegan(wanted.request, wanted.address)]


def _refused(wanted: Listening, text: str) -> ForwardFailed:
    return ForwardFailed(wanted.request, wanted.address, text, text)


def forwards(name: str) -> bool:
    """Whether a channel type is one of ours."""
    return kind_of(name) is not None


def note_grant(channel: SessionChannel, what: str, *, given: bool) -> None:
    """X11 or the agent was granted to a session, or the target refused it."""
    (channel.granted.add if given else channel.granted.discard)(what)

"""How session channels come to be: from the client's open over the agreement on an ID to an accepted channel.

The client is answered last, so whatever goes wrong before is a refusal of its channel, with the target's own
code and text where the target refused (RFC 4254 §5.1).
"""

from collections.abc import Callable

from interlock.core import extensions, wire
from interlock.core.channel import Phase, SessionChannel
from interlock.core.effects import Agreed, Effect, Refused, Send, StartTimer, StopTimer, TwinNamed
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.ids import SessionId
from interlock.core.limits import MAX_CHANNELS, MAX_REASON
from interlock.core.messages import Confirmation, Open, channel_message, channel_request, open_failure
from interlock.core.negotiation import (
    Agree,
    Answered,
    Await,
    Confirmed,
    Input,
    Named,
    Negotiation,
    Reject,
    State,
    Support,
)
from interlock.core.policy import not_relayed
from interlock.core.refusal import Refusal
from interlock.core.sides import Side
from interlock.core.table import ChannelTable, ended

_STILL_CLOSING = "the channel that had this number before is still being closed: try again"


class Opening:
    """The opens of one connection.

    ``passes_params``: whether the target reads session parameters. ``minted_counts``: whether an ID that we mint
    is the session's; if not, the target records, and the client hears of an ID when the target names one.
    """

    def __init__(
        self,
        table: ChannelTable,
        mint: Callable[[], SessionId],
        *,
        support: Support,
        passes_params: bool,
        minted_counts: bool,
        refusal: Refusal | None,
        joins: extensions.SessionParams | None,
    ) -> None:
        self.refusal = refusal  # for every channel; set at once without a target, later if the target says so
        self.session_limit: Refusal | None = None  # for a session beyond its maximum
        self.no_more_sessions = False  # the client said that it opens no more
        self._table = table
        self._mint = mint
        self._support = support
        self._asked = support is Support.UNKNOWN
        self._passes_params = passes_params
        self._joins = joins  # what the target is told instead of the client's own parameters
        self._minted_counts = minted_counts

    def opened(self, side: Side, wanted: Open) -> list[Effect]:
        """A CHANNEL_OPEN of a session, or of a type that nobody may open."""
        refusal = self._why_not(side, wanted)
        if refusal is not None:
            return [
                Send(side, open_failure(wanted.sender, refusal.code, refusal.public)),
                Refused(wanted.kind[:64], refusal.public, refusal.reason, maximum=refusal.maximum),
            ]
        params = extensions.SessionParams.decode(wanted.extra)
        channel = SessionChannel(
            wanted.sender,
            negotiation=Negotiation(self._support, self._mint),
            client_window=wanted.window,
            client_packet=wanted.max_packet,
            words=params.words,
        )
        self._table.add(channel)
        extra = self._joins.encode() if self._joins else wanted.extra
        return [Send(Side.TARGET, wanted.encode(extra if self._passes_params else b""))]

    def _why_not(self, side: Side, wanted: Open) -> Refusal | None:
        if side is Side.TARGET:
            return Refusal.by_policy(f"the target tried to open a channel of type {wanted.kind[:64]}")
        if self.refusal is not None:
            return self.refusal
        if wanted.kind != "session":
            text = not_relayed(wanted.kind)
            return Refusal.by_policy(text) if text else _unknown_type(wanted.kind)
        if self.no_more_sessions:
            return Refusal.by_policy("the client declared that it opens no more sessions")
        held = self._table.held_by(Side.CLIENT, wanted.sender)
        if held is not None and held.phase is not Phase.ABANDONED:
            raise RemoteProtocolError(Rule.CHANNEL_IN_USE, str(wanted.sender))
        if held is not None:
            return Refusal.shortage(_STILL_CLOSING)
        if len(self._table.sessions()) >= MAX_CHANNELS:
            return Refusal.shortage("too many session channels on this connection")
        if self._session_limit_reached():
            return self.session_limit
        return _unusable_params(wanted.extra)

    def _session_limit_reached(self) -> bool:
        """Whether as many sessions are open, or being opened, as there may be."""
        limit = self.session_limit.maximum if self.session_limit is not None else None
        held = sum(each.phase is not Phase.ABANDONED for each in self._table.sessions())
        return limit is not None and held >= limit

    def confirmed(self, channel: SessionChannel, confirmation: Confirmation) -> list[Effect]:
        """The target accepted the session."""
        usable = self._table.confirmed(channel, confirmation.sender)
        if channel.phase is Phase.OPENING:
            channel.phase = Phase.NEGOTIATING
            channel.confirmation = confirmation
        if channel.phase is Phase.ABANDONED:
            return [Send(Side.TARGET, channel_message(wire.CHANNEL_CLOSE, channel.target_no))]
        if not usable:
            return self.reject(channel, Refusal.shortage(_STILL_CLOSING))
        return self.negotiate(channel, Confirmed())

    def failed(self, channel: SessionChannel, code: int, text: str) -> list[Effect]:
        """The target refused the session: its code and text reach the client unchanged."""
        self._table.drop(channel)
        if channel.phase is Phase.ABANDONED:
            return []
        reason = f"the target refused the channel with code {code}: {text}"
        return [Send(Side.CLIENT, open_failure(channel.client_no, code, text)), Refused("session", text, reason)]

    def query_answered(self, payload: bytes) -> list[Effect]:
        """The target's answer to our query. An empty FAILURE is an old node; one with text refuses us all."""
        supported = payload[0] == wire.REQUEST_SUCCESS
        rejection = "" if supported else payload[1:].decode("utf-8", "replace").strip()
        self._support = Support.YES if supported else Support.NO
        if rejection:
            self.refusal = Refusal.by_policy(f"remote session open failed: {rejection[:MAX_REASON]}")
        answer = Answered(supported, rejection)
        return [effect for channel in self._table.sessions() for effect in self.negotiate(channel, answer)]

    def negotiate(self, channel: SessionChannel, item: Input) -> list[Effect]:
        """Feed a channel's negotiation and translate what it wants.

        RemoteProtocolError if the target gives two channels of the connection one ID.
        """
        effects: list[Effect] = []
        for outcome in channel.negotiation.receive(item):
            match outcome:
                case Await(seconds):
                    effects.append(StartTimer(channel.client_no, seconds))
                case Agree(sid):
                    self._check_unused(channel, sid)
                    channel.agreed = True
                    effects += [StopTimer(channel.client_no), Agreed(channel.client_no, sid)]
                case Named(sid):
                    effects += self._named(channel, sid)
                case Reject(code, public, reason):
                    effects += self.reject(channel, Refusal(code, public, reason))
        return effects

    def _named(self, channel: SessionChannel, sid: SessionId) -> list[Effect]:
        """An old node named its session itself, after shell or exec. The word of an sshd counts for nothing."""
        if not self._asked:
            return []
        self._check_unused(channel, sid)
        if self._minted_counts:
            return [TwinNamed(channel.client_no, sid)]
        return [Send(Side.CLIENT, _announcement(channel, sid))]

    def _check_unused(self, channel: SessionChannel, sid: SessionId) -> None:
        others = [each.negotiation for each in self._table.sessions() if each is not channel]
        if any(sid in (each.sid, each.named) for each in others):
            raise RemoteProtocolError(Rule.SESSION_ID_REUSED, sid)

    def accept(self, channel: SessionChannel) -> list[Effect]:
        """Let the client in, and tell it the ID; not one that nobody else will know."""
        confirmation, sid = channel.confirmation, channel.negotiation.sid
        if channel.phase is not Phase.NEGOTIATING or confirmation is None or sid is None:
            return []
        channel.phase = Phase.OPEN  # no data may flow before something runs: it would be in no recording (R1)
        accepted: list[Effect] = [Send(Side.CLIENT, confirmation.encode(more_window=channel.more_window))]
        if self._minted_counts or channel.negotiation.state is not State.MINTED:
            accepted.append(Send(Side.CLIENT, _announcement(channel, sid)))
        return accepted

    def reject(self, channel: SessionChannel, refusal: Refusal) -> list[Effect]:
        """Refuse the client's channel, and close the target's if it has one."""
        effects: list[Effect] = [
            StopTimer(channel.client_no),
            Send(Side.CLIENT, open_failure(channel.client_no, refusal.code, refusal.public)),
            Refused("session", refusal.public, refusal.reason),
        ]
        if channel.phase is Phase.NEGOTIATING:
            effects.append(Send(Side.TARGET, channel_message(wire.CHANNEL_CLOSE, channel.target_no)))
        channel.negotiation.abandon()
        self._table.abandon(channel)
        channel.closed.add(Side.CLIENT)
        return [*effects, *ended(channel)]


def _announcement(channel: SessionChannel, sid: SessionId) -> bytes:
    return channel_request(channel.client_no, extensions.CURRENT_SESSION_ID, data=sid.encode())


def _unknown_type(kind: str) -> Refusal:
    return Refusal(wire.OPEN_UNKNOWN_CHANNEL_TYPE, "unknown channel type", f"unknown channel type {kind[:64]}")


def _unusable_params(extra: bytes) -> Refusal | None:
    try:
        params = extensions.SessionParams.decode(extra)
    except RemoteProtocolError as error:
        return Refusal(wire.OPEN_CONNECT_FAILED, "malformed session parameters", error.reason)
    if params.join_session_id is not None:
        text = f"this connection leads to a host: join the session with ssh join%{params.join_session_id}@GATEWAY"
        return Refusal.by_policy(text)
    return None

"""The channels of one relayed connection, found by either side's number, and the data path's flows for them."""

from interlock.core.channel import NOT_ANSWERED, Channel, Phase, SessionChannel
from interlock.core.effects import Closed, Effect, ForwardClosed
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.flows import Flows
from interlock.core.forward import ForwardChannel
from interlock.core.sides import Side

_MAY_SEND: dict[Phase, tuple[Side, ...]] = {
    Phase.OPENING: (),  # the opener has no number to send to, the other side has not accepted
    Phase.NEGOTIATING: (Side.TARGET,),  # the client has no answer yet
    Phase.OPEN: (Side.CLIENT, Side.TARGET),
    Phase.ABANDONED: (Side.CLIENT, Side.TARGET),
}


class ChannelTable:
    """Knows which numbers are taken, and who may send on which channel."""

    def __init__(self) -> None:
        self.flows: dict[Side, Flows] = {Side.CLIENT: {}, Side.TARGET: {}}
        self._all: dict[Channel, None] = {}  # in the order in which they were opened
        self._by: dict[Side, dict[int, Channel]] = {Side.CLIENT: {}, Side.TARGET: {}}  # by that side's own number

    def all(self) -> list[Channel]:
        """All channels, abandoned ones included."""
        return list(self._all)

    def sessions(self) -> list[SessionChannel]:
        """Those of type ``session``, abandoned ones included."""
        return [channel for channel in self._all if isinstance(channel, SessionChannel)]

    def forwards(self) -> list[ForwardChannel]:
        """Those that carry something forwarded."""
        return [channel for channel in self._all if isinstance(channel, ForwardChannel)]

    def session(self, client_no: int) -> SessionChannel | None:
        """A session by the client's number."""
        channel = self.held_by(Side.CLIENT, client_no)
        return channel if isinstance(channel, SessionChannel) else None

    def held_by(self, side: Side, number: int) -> Channel | None:
        """The channel for which this side uses this number."""
        return self._by[side].get(number)

    def add(self, channel: Channel) -> None:
        """A channel that its opener asked for."""
        self._all[channel] = None
        self._by[channel.opener][channel.number(channel.opener)] = channel

    def find(self, side: Side, recipient: int) -> Channel:
        """The channel that a message from ``side`` is about. RemoteProtocolError if it may not send there."""
        channel = self._by[side.other].get(recipient)
        unanswered = channel is not None and NOT_ANSWERED in {channel.client_no, channel.target_no}
        if channel is None or unanswered or side not in _MAY_SEND[channel.phase]:
            raise RemoteProtocolError(Rule.UNKNOWN_CHANNEL, f"channel {recipient}")
        if side in channel.closed:
            raise RemoteProtocolError(Rule.DATA_AFTER_CLOSE, f"channel {recipient}")
        return channel

    def answered(self, side: Side, recipient: int) -> Channel:
        """The channel whose open ``side`` answers: only who was asked may, and only once."""
        channel = self._by[side.other].get(recipient)
        if channel is None or channel.opener is side or channel.number(side) != NOT_ANSWERED:
            raise RemoteProtocolError(Rule.UNKNOWN_CHANNEL, f"answer to an open of channel {recipient}")
        return channel

    def confirmed(self, channel: Channel, number: int) -> bool:
        """The side that was asked named its number; False if the opener still uses it for a channel before.

        It may use a number again once it has closed both ways (§5.3). When we ended that channel, the opener may
        not have closed it yet, and what it sends could not be told from messages on the new one.
        """
        side = channel.opener.other
        before = [each for each in self._all if each.number(side) == number]
        if any(each.phase is not Phase.ABANDONED or side not in each.closed for each in before):
            raise RemoteProtocolError(Rule.CHANNEL_IN_USE, str(number))
        channel.answered(number)
        if not before:
            self._by[side][number] = channel
        return not before

    def start_flows(self, channel: Channel) -> None:
        """Data may flow, except from a side that has closed."""
        channel.running = True
        for side in Side:
            self.open_flow(channel, side)

    def open_flow(self, channel: Channel, side: Side) -> None:
        """What ``side`` sends takes the fast path, unless it has closed."""
        if side not in channel.closed:
            self.flows[side][channel.number(side.other)] = channel.flow_from[side]

    def close_flow(self, channel: Channel, side: Side) -> None:
        """``side`` sends no more data, or what it sends is judged."""
        flows, number = self.flows[side], channel.number(side.other)
        if flows.get(number) is channel.flow_from[side]:
            del flows[number]

    def abandon(self, channel: Channel) -> None:
        """We ended it: what still comes is swallowed until both sides have closed."""
        channel.phase = Phase.ABANDONED
        for side in Side:
            self.close_flow(channel, side)

    def drop(self, channel: Channel) -> None:
        """Forget it: its numbers may be used again."""
        self._all.pop(channel, None)
        for side in Side:
            self.close_flow(channel, side)
            if self._by[side].get(channel.number(side)) is channel:
                del self._by[side][channel.number(side)]


def ended(channel: Channel) -> list[Effect]:
    """Tell the outside once that a session or a forward which it knows of is over."""
    match channel:
        case SessionChannel(agreed=True):
            channel.agreed = False
            return [Closed(channel.client_no, *channel.octets)]
        case ForwardChannel(told=True):
            channel.told = False
            return [ForwardClosed(channel.id, *channel.octets)]
        case _:
            return []

"""The channels of one relayed connection, found by either side's number, and the data path's flows for them."""

from interlock.core.channel import Channel, Phase
from interlock.core.effects import Closed
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.flows import Flows
from interlock.core.messages import Confirmation
from interlock.core.sides import Side

_MAY_SEND: dict[Phase, tuple[Side, ...]] = {
    Phase.OPENING: (),  # the client has no number to send to
    Phase.NEGOTIATING: (Side.TARGET,),  # the client has no answer yet
    Phase.OPEN: (Side.CLIENT, Side.TARGET),
    Phase.ABANDONED: (Side.CLIENT, Side.TARGET),
}


class ChannelTable:
    """Knows which numbers are taken, and who may send on which channel."""

    def __init__(self) -> None:
        self.flows: dict[Side, Flows] = {Side.CLIENT: {}, Side.TARGET: {}}
        self._by_client: dict[int, Channel] = {}
        self._by_target: dict[int, Channel] = {}

    def __len__(self) -> int:
        """How many channels there are, abandoned ones included."""
        return len(self._by_client)

    def all(self) -> list[Channel]:
        """All channels."""
        return list(self._by_client.values())

    def get(self, client_no: int) -> Channel | None:
        """By the client's number."""
        return self._by_client.get(client_no)

    def add(self, channel: Channel) -> None:
        """A channel that the client opens."""
        self._by_client[channel.client_no] = channel

    def find(self, side: Side, recipient: int) -> Channel:
        """The channel that a message from ``side`` is about. RemoteProtocolError if it may not send there."""
        channel = self._by_target.get(recipient) if side is Side.CLIENT else self._by_client.get(recipient)
        if channel is None or channel.target_no == -1 or side not in _MAY_SEND[channel.phase]:
            raise RemoteProtocolError(Rule.UNKNOWN_CHANNEL, f"channel {recipient}")
        if side in channel.closed:
            raise RemoteProtocolError(Rule.DATA_AFTER_CLOSE, f"channel {recipient}")
        return channel

    def answered(self, side: Side, client_no: int) -> Channel:
        """The channel whose open is answered: only the target is ever asked, and only once."""
        channel = self._by_client.get(client_no) if side is Side.TARGET else None
        if channel is None or channel.target_no != -1:
            raise RemoteProtocolError(Rule.UNKNOWN_CHANNEL, f"answer to an open of channel {client_no}")
        return channel

    def confirmed(self, channel: Channel, confirmation: Confirmation) -> bool:
        """The target accepted and named its number; False if the client still uses it for a channel before.

        The target may use a number again once it has closed both ways (§5.3). When we ended that channel, the
        client may not have closed it yet, and what it sends could not be told from messages on the new one.
        """
        number = confirmation.sender
        before = [each for each in self._by_client.values() if each.target_no == number]
        if any(each.phase is not Phase.ABANDONED or Side.TARGET not in each.closed for each in before):
            raise RemoteProtocolError(Rule.CHANNEL_IN_USE, str(number))
        channel.target_no = number
        if not before:
            self._by_target[number] = channel
        if channel.phase is Phase.OPENING:
            channel.phase = Phase.NEGOTIATING
            channel.confirmation = confirmation
        return not before

    def open(self, channel: Channel) -> None:
        """Both sides accepted. No data may flow before something runs: it would be in no recording (R1)."""
        channel.phase = Phase.OPEN

    def start_flows(self, channel: Channel) -> None:
        """The session has started: data may flow, except from a side that has closed."""
        for side in Side:
            if side not in channel.closed:
                self.flows[side][channel.number(side.other)] = channel.flow_from[side]

    def close_flow(self, channel: Channel, side: Side) -> None:
        """``side`` sends no more data."""
        self.flows[side].pop(channel.number(side.other), None)

    def abandon(self, channel: Channel) -> None:
        """We ended it: what still comes is swallowed until both sides have closed."""
        channel.phase = Phase.ABANDONED
        for side in Side:
            self.close_flow(channel, side)

    def drop(self, channel: Channel) -> None:
        """Forget it: its numbers may be used again."""
        for side in Side:
            self.close_flow(channel, side)
        self._by_client.pop(channel.client_no, None)
        if self._by_target.get(channel.target_no) is channel:
            del self._by_target[channel.target_no]


def ended(channel: Channel) -> list[Closed]:
    """Tell the outside once that a session which it knows of is over."""
    if not channel.agreed:
        return []
    channel.agreed = False
    flows = channel.flow_from
    return [Closed(channel.client_no, flows[Side.CLIENT].octets, flows[Side.TARGET].octets)]

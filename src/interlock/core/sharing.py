"""The shared channels of one relayed connection: what others type, notices, holding and pausing.

A channel that is not shared costs nothing. Of a shared one the client's messages come to the core, which are few
on a terminal; output stays on the fast path unless window is owed or the session is paused.
"""

from interlock.core.channel import Channel, SessionChannel
from interlock.core.effects import Effect
from interlock.core.errors import LocalProtocolError
from interlock.core.share import Share, Stage
from interlock.core.sides import Side
from interlock.core.table import ChannelTable


class Sharing:
    """What the performer calls; channels by the client's number."""

    def __init__(self, table: ChannelTable) -> None:
        self._table = table

    def hold(self, client_no: int) -> list[Effect]:
        """A start was taken, but must wait: what the client types goes nowhere until `Relay.begin`."""
        channel = self._channel(client_no)
        effects = self._share(channel).hold()
        self.settle(channel)
        return effects

    def insert(self, client_no: int, data: bytes) -> tuple[list[Effect], int]:
        """See `Share.insert`; takes everything, for nobody, when the channel has ended."""
        channel = self._table.session(client_no)
        if channel is None or not channel.live:
            return [], len(data)
        effects, taken = self._share(channel).insert(data)
        self.settle(channel)
        return effects, taken

    def notice(self, client_no: int, data: bytes) -> list[Effect]:
        """See `Share.notice`; nothing when the channel has ended."""
        channel = self._table.session(client_no)
        if channel is None or not channel.live:
            return []
        effects = self._share(channel).notice(data)
        self.settle(channel)
        return effects

    def pause(self, client_no: int) -> None:
        """Let neither input nor output pass."""
        channel = self._channel(client_no)
        self._share(channel).stage = Stage.PAUSED
        self.settle(channel)

    def resume(self, client_no: int) -> list[Effect]:
        """Let both pass again, what was held first."""
        channel = self._channel(client_no)
        effects = self._share(channel).go_on()
        self.settle(channel)
        return effects

    def settle(self, channel: Channel) -> None:
        """Choose the path that data takes from now on."""
        share = channel.share
        if share is None:
            return
        self._table.close_flow(channel, Side.CLIENT)
        if not share.in_order:
            self._table.close_flow(channel, Side.TARGET)
        elif share.stage is Stage.OPEN and channel.running:
            self._table.open_flow(channel, Side.TARGET)

    def _channel(self, client_no: int) -> SessionChannel:
        channel = self._table.session(client_no)
        if channel is None:
            raise LocalProtocolError(f"no channel {client_no}")
        return channel

    def _share(self, channel: SessionChannel) -> Share:
        """The channel's share, made when it is needed first."""
        confirmation = channel.confirmation
        if confirmation is None:
            raise LocalProtocolError(f"channel {channel.client_no} was not accepted")
        if channel.share is None:
            windows = {Side.CLIENT: channel.client_window, Side.TARGET: confirmation.window + channel.more_window}
            packets = {Side.CLIENT: channel.client_packet, Side.TARGET: confirmation.max_packet}
            numbers = {side: channel.number(side) for side in Side}
            channel.share = Share(numbers, windows, packets, channel.flow_from)
            channel.flow_from[Side.TARGET].judged = True
        return channel.share

"""The relay under any messages from both sides, in any order: what must hold whatever the peers do.

`Ledger` sees what a strict peer on each leg would see: which channels it knows, what was answered, what is closed.
An offence ends the connection, as the forwarder would, and a new one begins.
"""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from interlock.core import extensions, wire
from interlock.core.effects import Agreed, Closed, Effect, Exited, Resized, Send, Started
from interlock.core.errors import RemoteProtocolError
from interlock.core.ids import SessionId
from interlock.core.messages import Confirmation, Request
from interlock.core.negotiation import Support
from interlock.core.opening import Refusal
from interlock.core.sides import Side
from interlock.core.wire import Reader
from interlock.testing import script as say
from interlock.testing.script import Script, sid

REFUSAL = Refusal(wire.OPEN_RESOURCE_SHORTAGE, "full", "disk full")


class End:
    """One side's view of one channel."""

    def __init__(self) -> None:
        self.sent_close = False  # by that side
        self.got_close = False
        self.owed = 0  # replies that the side waits for


class Ledger:
    """What both sides and the outside have seen on one connection; AssertionError when it makes no sense."""

    def __init__(self) -> None:
        self.asked: set[int] = set()  # opens of the client that are not answered
        self.asked_target: set[int] = set()  # opens passed to the target that it has not answered
        self.ends: dict[Side, dict[int, End]] = {Side.CLIENT: {}, Side.TARGET: {}}  # by the side's own number
        self.names: dict[Side, dict[int, int]] = {Side.CLIENT: {}, Side.TARGET: {}}  # own number to the other's
        self.owed_global = {Side.CLIENT: 0, Side.TARGET: 0}
        self.agreed: dict[int, SessionId] = {}  # sessions that the outside knows of and that have not ended
        self._announce: tuple[int, SessionId] | None = None  # what must be the next message to the client

    # --- what a side sends, once the relay has taken it ---

    def took(self, side: Side, payload: bytes) -> None:
        """Before the effects: the side has sent this."""
        kind = payload[0]
        if kind == wire.GLOBAL_REQUEST:
            self.owed_global[side] += Request.decode(payload).want_reply
        elif kind == wire.CHANNEL_OPEN and side is Side.CLIENT:
            self.asked.add(Reader(payload[1 + 4 + Reader(payload[1:]).uint32() :]).uint32())
        elif kind == wire.CHANNEL_OPEN_CONFIRMATION:
            confirmation = Confirmation.decode(payload)
            assert confirmation.recipient in self.asked_target
            self.asked_target.discard(confirmation.recipient)
            self.ends[Side.TARGET][confirmation.sender] = End()
            self.names[Side.TARGET][confirmation.sender] = confirmation.recipient
        elif kind == wire.CHANNEL_OPEN_FAILURE:
            self.asked_target.discard(Reader(payload[1:]).uint32())
        elif kind in (wire.CHANNEL_CLOSE, wire.CHANNEL_REQUEST):
            self._took_on_channel(side, payload)

    def _took_on_channel(self, side: Side, payload: bytes) -> None:
        recipient = Reader(payload[1:]).uint32()
        number = self._own_number(side, recipient)
        end = self.ends[side][number]
        assert not end.sent_close, "the relay took a message after CLOSE"
        if payload[0] == wire.CHANNEL_CLOSE:
            end.sent_close = True
        else:
            end.owed += Request.decode(payload).want_reply

    def _own_number(self, side: Side, recipient: int) -> int:
        if side is Side.TARGET:
            live = [n for n, client in self.names[side].items() if client == recipient]
        else:
            live = [n for n, target in self.names[side].items() if target == recipient]
        assert live, "the relay took a message on a channel that its sender does not have"
        return live[-1]

    # --- what came of it ---

    def saw(self, effects: list[Effect]) -> None:
        """The effects, in order."""
        for effect in effects:
            match effect:
                case Send(Side.CLIENT, payload):
                    self._to_client(payload)
                case Send(Side.TARGET, payload):
                    self._to_target(payload)
                case Agreed(channel, agreed):
                    assert channel in self.asked
                    assert channel not in self.agreed
                    assert agreed not in self.agreed.values()
                    self.agreed[channel] = agreed
                case Closed(channel, _, _):
                    assert channel in self.agreed, "closed twice, or never agreed"
                    del self.agreed[channel]
                case Started(channel, _, _) | Resized(channel, _, _) | Exited(channel, _, _):
                    assert channel in self.agreed
                    assert channel in self.ends[Side.CLIENT]
                case _:
                    pass
        assert self._announce is None, "accepted without the ID"
        self._forget()

    def _to_client(self, payload: bytes) -> None:
        number = Reader(payload[1:]).uint32() if payload[0] > wire.CHANNEL_OPEN else -1
        if self._announce is not None:
            channel, agreed = self._announce
            assert payload == say.announces(channel, agreed), "the ID does not follow immediately"
            self._announce = None
            return
        match payload[0]:
            case wire.CHANNEL_OPEN_CONFIRMATION:
                confirmation = Confirmation.decode(payload)
                self.asked.remove(number)
                self._announce = (number, self.agreed[number])
                self.ends[Side.CLIENT][number] = End()
                self.names[Side.CLIENT][number] = confirmation.sender
            case wire.CHANNEL_OPEN_FAILURE:
                self.asked.remove(number)  # KeyError: refused without an open, or a second answer
            case _:
                self._to(Side.CLIENT, payload)

    def _to_target(self, payload: bytes) -> None:
        if payload[0] == wire.CHANNEL_OPEN:
            number = Reader(payload[1 + 4 + Reader(payload[1:]).uint32() :]).uint32()
            assert number not in self.asked_target
            assert number not in self.names[Side.TARGET].values(), "the target still knows the number"
            self.asked_target.add(number)
        elif payload[0] != wire.CHANNEL_OPEN_FAILURE:
            self._to(Side.TARGET, payload)

    def _to(self, side: Side, payload: bytes) -> None:
        """An established side gets a message."""
        if payload[0] in (wire.REQUEST_SUCCESS, wire.REQUEST_FAILURE):
            self.owed_global[side] -= 1
            assert self.owed_global[side] >= 0, "a reply that nobody asked for"
        if payload[0] < wire.CHANNEL_OPEN:
            return
        end = self.ends[side].get(Reader(payload[1:]).uint32())
        assert end is not None, f"{side.value} does not know the channel"
        assert not end.got_close, "a message after CLOSE"
        if payload[0] == wire.CHANNEL_CLOSE:
            end.got_close = True
        elif payload[0] in (wire.CHANNEL_SUCCESS, wire.CHANNEL_FAILURE):
            end.owed -= 1
            assert end.owed >= 0, "a reply that nobody asked for"

    def _forget(self) -> None:
        """A channel that was closed both ways is gone for that side (§5.3)."""
        for side in Side:
            for number, end in list(self.ends[side].items()):
                if end.sent_close and end.got_close:
                    del self.ends[side][number], self.names[side][number]


class AnyMessages(RuleBasedStateMachine):
    """Two peers that send what they like, a performer that accepts and refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.script = Script()
        self.ledger = Ledger()
        self.support = Support.UNKNOWN
        self.refuses = False  # what the performer does with an agreed ID

    @initialize(support=st.sampled_from(Support))
    def connects(self, support: Support) -> None:
        self.support = support
        self._connect()

    def _connect(self) -> None:
        self.script = Script(support=self.support)
        self.ledger = Ledger()
        self.script.on_agreed = self._decide
        self._saw(self.script.begins().effects)

    @rule(refuses=st.booleans())
    def performer_changes_its_mind(self, refuses: bool) -> None:
        self.refuses = refuses

    def _decide(self, agreed: Agreed) -> list[Effect]:
        relay = self.script.relay
        return relay.reject(agreed.channel, REFUSAL) if self.refuses else relay.accept(agreed.channel)

    # --- the client ---

    @rule(number=st.integers(0, 3), kind=st.sampled_from(["session"] * 4 + ["direct-tcpip"]))
    def client_opens(self, number: int, kind: str) -> None:
        self._feed(Side.CLIENT, say.opening(kind, number))

    @rule(side=st.sampled_from(Side), which=st.integers(0, 3), what=st.integers(0, 13), reply=st.booleans())
    def sends_on_channel(self, side: Side, which: int, what: int, reply: bool) -> None:
        known = sorted(set(self.script.relay.flows[side])) or [0, 7]
        number = known[which % len(known)]
        self._feed(side, self._on_channel(number, what, reply))

    @rule(side=st.sampled_from(Side), number=st.integers(0, 9), what=st.integers(0, 13), reply=st.booleans())
    def sends_anywhere(self, side: Side, number: int, what: int, reply: bool) -> None:
        self._feed(side, self._on_channel(number, what, reply))

    @staticmethod
    def _on_channel(number: int, what: int, reply: bool) -> bytes:
        return [
            say.close(number),
            say.eof(number),
            say.adjust(number, 1),
            say.shell(number, reply=reply),
            say.runs(number, "id", reply=reply),
            say.pty(number, reply=reply),
            say.env(number, "A", "1", reply=reply),
            say.resize(number, 1, 1),
            say.asks(number, b"nonsense@example.com", reply=reply),
            say.asks(number, extensions.KEEPALIVE, reply=reply),
            say.exit_status(number, 0),
            say.success(number),
            say.failure(number),
            say.data(number),
        ][what]

    @rule(
        side=st.sampled_from(Side),
        name=st.sampled_from([extensions.KEEPALIVE, extensions.VERSION_QUERY, b"tcpip-forward", b"x"]),
        reply=st.booleans(),
    )
    def asks_globally(self, side: Side, name: bytes, reply: bool) -> None:
        self._feed(side, say.requests(name, reply=reply))

    @rule(side=st.sampled_from(Side), reply=st.sampled_from([say.yes(), say.no(), say.no(b"locked")]))
    def replies_globally(self, side: Side, reply: bytes) -> None:
        self._feed(side, reply)

    # --- the target ---

    @rule(which=st.integers(0, 3), number=st.integers(4, 9))
    def target_confirms(self, which: int, number: int) -> None:
        waiting = sorted(self.ledger.asked_target) or [which]
        self._feed(Side.TARGET, say.confirms(waiting[which % len(waiting)], number))

    @rule(which=st.integers(0, 3))
    def target_refuses(self, which: int) -> None:
        waiting = sorted(self.ledger.asked_target) or [which]
        self._feed(Side.TARGET, say.refuses(waiting[which % len(waiting)], wire.OPEN_CONNECT_FAILED, "no"))

    @rule(number=st.integers(0, 3), named=st.integers(0, 3) | st.none())
    def target_announces(self, number: int, named: int | None) -> None:
        payload: str = "no-uuid" if named is None else sid(500 + number * 4 + named // 3)
        self._feed(Side.TARGET, say.announces(number, payload))

    @rule(number=st.integers(0, 3))
    def target_opens(self, number: int) -> None:
        self._feed(Side.TARGET, say.opening("x11", number))

    # --- the performer ---

    @rule(number=st.integers(0, 3))
    def time_is_up(self, number: int) -> None:
        if number not in self.ledger.asked_target:  # the forwarder has a timer for accepted channels only
            self._does(lambda: self.script.relay.timed_out(number))

    @rule(number=st.integers(0, 3))
    def performer_terminates(self, number: int) -> None:
        self._does(lambda: self.script.relay.terminate(number, "over"))

    @rule(side=st.sampled_from(Side))
    def performer_asks_whether_it_lives(self, side: Side) -> None:
        self._does(lambda: self.script.relay.keepalive(side) or [])

    @rule()
    def leg_is_lost(self) -> None:
        self._lost()
        self._connect()

    # --- what must hold ---

    @invariant()
    def flows_are_channels_on_which_the_side_may_send(self) -> None:
        for side in Side:
            for number in self.script.relay.flows[side]:
                own = [mine for mine, other in self.ledger.names[side].items() if other == number]
                assert own, "a flow for a channel that its sender does not have"
                assert not self.ledger.ends[side][own[-1]].sent_close
                assert number in self.ledger.ends[side.other], "a flow towards a side that has no such channel"
                assert not self.ledger.ends[side.other][number].got_close

    @invariant()
    def what_is_open_is_agreed(self) -> None:
        assert set(self.script.relay.open_channels()) <= set(self.ledger.agreed)

    def _feed(self, side: Side, payload: bytes) -> None:
        step = self.script.feeds(side, payload)
        step >> ...
        if isinstance(step.outcome, RemoteProtocolError):
            self._lost()
            self._connect()
            return
        self.ledger.took(side, payload)
        self._saw(step.outcome)

    def _does(self, call: Callable[[], list[Effect]]) -> None:
        self._saw(self.script.does("the performer acts", call).effects)

    def _lost(self) -> None:
        self._saw(self.script.does("lost", self.script.relay.lost).effects)
        assert self.ledger.agreed == {}, "a session did not end"
        assert self.script.relay.flows == {Side.CLIENT: {}, Side.TARGET: {}}

    def _saw(self, effects: list[Effect]) -> None:
        self.ledger.saw(effects)

    def teardown(self) -> None:
        """The connection ends at last."""
        self._lost()


TestAnyMessages = AnyMessages.TestCase
TestAnyMessages.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)

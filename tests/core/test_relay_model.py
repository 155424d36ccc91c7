"""The relay under any messages from both sides, in any order: what must hold whatever the peers do.

`Ledger` sees what a strict peer on each leg would see: which channels it knows, what was answered, what is closed.
An offence ends the connection, as the forwarder would, and a new one begins.
"""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from interlock.core import extensions, wire
from interlock.core.effects import Agreed, Closed, Effect, Exited, Resized, Send, Started
from interlock.core.errors import RemoteProtocolError
from interlock.core.ids import SessionId
from interlock.core.messages import Confirmation, Request
from interlock.core.negotiation import Support
from interlock.core.refusal import Refusal
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
        self.owes = 0  # replies that are waited for from it


class Ledger:
    """What both sides and the outside have seen on one connection; AssertionError when it makes no sense."""

    def __init__(self) -> None:
        self.asked: set[int] = set()  # opens of the client that are not answered
        self.asked_target: set[int] = set()  # opens passed to the target that it has not answered
        self.ends: dict[Side, dict[int, End]] = {Side.CLIENT: {}, Side.TARGET: {}}  # by the side's own number
        self.names: dict[Side, dict[int, int]] = {Side.CLIENT: {}, Side.TARGET: {}}  # own number to the other's
        self.owed_global = {Side.CLIENT: 0, Side.TARGET: 0}  # replies that the side waits for
        self.owes_global = {Side.CLIENT: 0, Side.TARGET: 0}  # replies that are waited for from it
        self.agreed: dict[int, SessionId] = {}  # sessions that the outside knows of and that have not ended
        self._announce: tuple[int, SessionId] | None = None  # what must be the next message to the client

    def unanswered(self) -> list[int]:
        """Channels that the target has accepted and the client does not know of yet."""
        return sorted(self.asked & set(self.names[Side.TARGET].values()))

    def half_closed(self) -> list[tuple[Side, int]]:
        """Who has closed which channel, by the number that its messages carried, and waits for the other side."""
        ends = [(side, number, end) for side in Side for number, end in self.ends[side].items()]
        return [(side, self.names[side][number]) for side, number, end in ends if end.sent_close]

    # --- what a side sends, once the relay has taken it ---

    def took(self, side: Side, payload: bytes) -> None:
        """Before the effects: the side has sent this."""
        kind = payload[0]
        if kind == wire.GLOBAL_REQUEST:
            self.owed_global[side] += Request.decode(payload).want_reply
        elif kind in (wire.REQUEST_SUCCESS, wire.REQUEST_FAILURE):
            self.owes_global[side] -= 1
            assert self.owes_global[side] >= 0, "the relay took a reply that nobody waits for"
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
        elif kind in (wire.CHANNEL_CLOSE, wire.CHANNEL_REQUEST, wire.CHANNEL_SUCCESS, wire.CHANNEL_FAILURE):
            self._took_on_channel(side, payload)

    def _took_on_channel(self, side: Side, payload: bytes) -> None:
        recipient = Reader(payload[1:]).uint32()
        number = self._own_number(side, recipient)
        end = self.ends[side][number]
        assert not end.sent_close, "the relay took a message after CLOSE"
        if payload[0] == wire.CHANNEL_CLOSE:
            end.sent_close = True
        elif payload[0] == wire.CHANNEL_REQUEST:
            end.owed += Request.decode(payload).want_reply
        else:
            end.owes -= 1
            assert end.owes >= 0, "the relay took a reply that nobody waits for"

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
        elif payload[0] == wire.GLOBAL_REQUEST:
            self.owes_global[side] += Request.decode(payload).want_reply
        if payload[0] < wire.CHANNEL_OPEN:
            return
        end = self.ends[side].get(Reader(payload[1:]).uint32())
        assert end is not None, f"{side.value} does not know the channel"
        assert not end.got_close, "a message after CLOSE"
        if payload[0] == wire.CHANNEL_CLOSE:
            end.got_close = True
        elif payload[0] == wire.CHANNEL_REQUEST:
            end.owes += Request.decode(payload).want_reply
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
        self.queried = False  # whether the target has answered the relay's query, or never will
        self.locked = False  # whether that answer refused the connection
        self.named = 0  # session IDs that the target made up
        self.refuses = False  # what the performer does with an agreed ID

    @initialize(support=st.sampled_from(Support))
    def connects(self, support: Support) -> None:
        self.support = support
        self._connect()

    def _connect(self) -> None:
        self.script = Script(support=self.support)
        self.ledger = Ledger()
        self.script.on_agreed = self._decide
        self.queried, self.locked = self.support is not Support.UNKNOWN, False
        self._saw(self.script.begins().effects)

    @rule(refuses=st.booleans())
    def performer_changes_its_mind(self, refuses: bool) -> None:
        self.refuses = refuses

    def _decide(self, agreed: Agreed) -> list[Effect]:
        relay = self.script.relay
        return relay.reject(agreed.channel, REFUSAL) if self.refuses else relay.accept(agreed.channel)

    # --- what peers may send, most of the time ---

    @rule(which=st.integers(0, 2), kind=st.sampled_from(["session"] * 4 + ["direct-tcpip"]))
    def client_opens(self, which: int, kind: str) -> None:
        taken = self.ledger.asked | set(self.ledger.ends[Side.CLIENT])
        free = [number for number in range(3) if number not in taken]
        if free:
            number = free[which % len(free)]
            waits = self.ledger.asked_target | set(self.ledger.names[Side.TARGET].values())
            self._feed(Side.CLIENT, say.direct(number) if kind == "direct-tcpip" else say.opening(kind, number))
            passed = number in self.ledger.asked_target and number not in waits
            assert passed is (kind == "session" and number not in waits and not self.locked)

    @rule(target_no=st.integers(4, 9), number=st.integers(0, 2))
    def a_session_opens(self, target_no: int, number: int) -> None:
        """The usual way, at once."""
        used = (
            self.ledger.asked | set(self.ledger.names[Side.TARGET].values()) | set(self.ledger.ends[Side.CLIENT])
        )
        used |= self.ledger.asked_target
        if self.locked or number in used or target_no in self.ledger.names[Side.TARGET]:
            return
        self._feed(Side.CLIENT, say.session(number))
        self._feed(Side.TARGET, say.confirms(number, target_no))
        if number in self.ledger.unanswered():
            self.named += 1
            self._feed(Side.TARGET, say.announces(number, sid(500 + self.named)))

    @precondition(lambda self: self.ledger.asked_target)
    @rule(which=st.integers(0, 3), number=st.integers(0, 5))
    def target_confirms(self, which: int, number: int) -> None:
        waiting = sorted(self.ledger.asked_target)
        free = [each for each in range(4, 10) if each not in self.ledger.names[Side.TARGET]]
        if waiting and free:
            self._feed(Side.TARGET, say.confirms(waiting[which % len(waiting)], free[number % len(free)]))

    @precondition(lambda self: self.ledger.asked_target and self.ledger.ends[Side.TARGET])
    @rule(which=st.integers(0, 3))
    def target_confirms_with_a_number_that_it_uses(self, which: int) -> None:
        waiting, used = sorted(self.ledger.asked_target), sorted(self.ledger.names[Side.TARGET])
        if waiting and used:
            message = say.confirms(waiting[which % len(waiting)], used[which % len(used)])
            self._feed(Side.TARGET, message, lawful=False)
            assert self.ledger.ends[Side.TARGET] == {}, "it was taken"

    @precondition(lambda self: self.ledger.asked_target)
    @rule(which=st.integers(0, 3))
    def target_refuses(self, which: int) -> None:
        if waiting := sorted(self.ledger.asked_target):
            text = say.refuses(waiting[which % len(waiting)], wire.OPEN_CONNECT_FAILED, "no")
            self._feed(Side.TARGET, text)

    @precondition(lambda self: self.ledger.unanswered())
    @rule(which=st.integers(0, 3), named=st.sampled_from(["new"] * 4 + ["same", "no-uuid"]))
    def target_announces(self, which: int, named: str) -> None:
        if unanswered := self.ledger.unanswered():
            self.named += named == "new"
            payload = named if named == "no-uuid" else sid(500 + self.named)
            message = say.announces(unanswered[which % len(unanswered)], payload)
            self._feed(Side.TARGET, message, lawful=named != "same")

    @precondition(lambda self: self.ledger.agreed)
    @rule(side=st.sampled_from(Side), which=st.integers(0, 3), what=st.integers(0, 10), reply=st.booleans())
    def sends_on_channel(self, side: Side, which: int, what: int, reply: bool) -> None:
        ends = self.ledger.ends[side].items()
        usable = [self.ledger.names[side][n] for n, end in ends if not end.sent_close]
        if side is Side.TARGET:  # until the client is answered, it may only close
            usable = [client for client in usable if what == 0 or client not in self.ledger.asked]
        if usable:
            self._feed(side, self._on_channel(usable[which % len(usable)], what, reply))

    @precondition(lambda self: self.ledger.half_closed())
    @rule(side=st.sampled_from(Side), what=st.integers(0, 13), reply=st.booleans())
    def sends_after_close(self, side: Side, what: int, reply: bool) -> None:
        if ended := [number for by, number in self.ledger.half_closed() if by is side]:
            self._feed(side, self._on_channel(ended[0], what, reply), lawful=False)
            assert self.ledger.ends[side] == {}, "it was taken"

    @precondition(lambda self: self.ledger.agreed)
    @rule(side=st.sampled_from(Side), which=st.integers(0, 3), taken=st.booleans())
    def replies_on_channel(self, side: Side, which: int, taken: bool) -> None:
        ends = self.ledger.ends[side].items()
        owing = [self.ledger.names[side][n] for n, end in ends if end.owes and not end.sent_close]
        if owing:
            number = owing[which % len(owing)]
            self._feed(side, say.success(number) if taken else say.failure(number))

    @rule(
        side=st.sampled_from(Side),
        name=st.sampled_from([extensions.KEEPALIVE, extensions.VERSION_QUERY, b"tcpip-forward", b"x"]),
        reply=st.booleans(),
    )
    def asks_globally(self, side: Side, name: bytes, reply: bool) -> None:
        self._feed(
            side, say.listen(name=name, reply=reply) if b"forward" in name else say.requests(name, reply=reply)
        )

    @precondition(lambda self: any(self.ledger.owes_global.values()))
    @rule(side=st.sampled_from(Side), reply=st.sampled_from([say.yes(), say.no()] * 3 + [say.no(b"locked")]))
    def replies_globally(self, side: Side, reply: bytes) -> None:
        if self.ledger.owes_global[side]:
            asked_before = self.queried
            self.queried |= side is Side.TARGET
            self.locked |= self.queried and not asked_before and reply == say.no(b"locked")
            self._feed(side, reply)

    # --- what they may not ---

    @precondition(lambda self: self.ledger.agreed)
    @rule(
        often=st.integers(0, 9),
        side=st.sampled_from(Side),
        number=st.integers(0, 9),
        what=st.integers(0, 17),
        reply=st.booleans(),
    )
    def sends_anything(self, often: int, side: Side, number: int, what: int, reply: bool) -> None:
        if often == 7 and (what != 16 or self.queried):
            self._feed(side, self._on_channel(number, what, reply), lawful=False)

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
            say.session(number),
            say.confirms(number % 4, number),
            say.yes() if reply else say.no(),
            say.announces(number, sid(500)),
        ][what]

    # --- the performer ---

    @rule(number=st.integers(0, 3))
    def time_is_up(self, number: int) -> None:
        if number not in self.ledger.asked_target:  # the forwarder has a timer for accepted channels only
            self._does(lambda: self.script.relay.timed_out(number))

    @precondition(lambda self: self.ledger.agreed)
    @rule(which=st.integers(0, 3))
    def performer_terminates(self, which: int) -> None:
        numbers = sorted(self.ledger.agreed) or [which]
        self._does(lambda: self.script.relay.terminate(numbers[which % len(numbers)], "over"))

    @rule(side=st.sampled_from(Side))
    def performer_asks_whether_it_lives(self, side: Side) -> None:
        self._does(lambda: self.script.relay.keepalive(side) or [])

    @precondition(lambda self: self.ledger.agreed)
    @rule(often=st.integers(0, 9))
    def leg_is_lost(self, often: int) -> None:
        if often == 7:
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

    def _feed(self, side: Side, payload: bytes, *, lawful: bool = True) -> None:
        """A peer that keeps to the protocol is never disconnected."""
        step = self.script.feeds(side, payload)
        step >> ...
        if isinstance(step.outcome, RemoteProtocolError):
            assert not lawful, step.outcome.reason
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
TestAnyMessages.settings = settings(max_examples=settings().max_examples * 4 // 5, stateful_step_count=50)

"""Forwards under any order of opens, answers, data, closes and losses from two lawful peers."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from interlock.core import wire
from interlock.core.effects import Effect, ForwardClosed, ForwardFailed, ForwardOpened, Send
from interlock.core.forward import Grants
from interlock.core.negotiation import Support
from interlock.core.sides import Side
from interlock.core.wire import Reader
from interlock.testing import script as say
from interlock.testing.script import Script

ALL = Grants(local=True, remote=True)
KINDS = {Side.CLIENT: "direct-tcpip", Side.TARGET: "forwarded-tcpip"}


class End:
    """One side's view of a channel that both have accepted."""

    def __init__(self, other_no: int) -> None:
        self.other_no = other_no
        self.sent_close = self.got_close = False


class Peers(RuleBasedStateMachine):
    """Each side keeps to RFC 4254 and uses its numbers again as soon as it may."""

    def __init__(self) -> None:
        super().__init__()
        self.connect()

    def connect(self) -> None:
        self.script = Script(support=Support.NO, grants=ALL)
        self.script.client(say.listen()) >> ...
        self.script.target(say.yes()) >> ...
        self.asked: dict[Side, set[int]] = {side: set() for side in Side}  # opens of this side, unanswered
        self.owes: dict[Side, list[int]] = {side: [] for side in Side}  # opens that this side has to answer
        self.ends: dict[Side, dict[int, End]] = {side: {} for side in Side}  # by the side's own number
        self.told: set[int] = set()

    def free(self, side: Side, which: int) -> int | None:
        taken = self.asked[side] | set(self.ends[side])
        numbers = [number for number in range(3) if number not in taken]
        return numbers[which % len(numbers)] if numbers else None

    @rule(side=st.sampled_from(Side), which=st.integers(0, 2), granted=st.booleans())
    def opens(self, side: Side, which: int, granted: bool) -> None:
        number = self.free(side, which)
        if number is None:
            return
        self.script.relay.grant(ALL if granted else Grants())
        self.asked[side].add(number)
        extra = say.tcp("db", 8080)
        effects = self.feed(side, say.opening(KINDS[side], number, extra))
        passed = any(isinstance(each, Send) and each.payload[0] == wire.CHANNEL_OPEN for each in effects)
        assert passed or number not in self.asked[side]
        assert granted or not passed

    @rule(side=st.sampled_from(Side), which=st.integers(0, 2), number=st.integers(0, 2), accepts=st.booleans())
    def answers(self, side: Side, which: int, number: int, accepts: bool) -> None:
        if not self.owes[side]:
            return
        recipient = self.owes[side].pop(which % len(self.owes[side]))
        mine = self.free(side, number)
        if accepts and mine is not None:
            self.ends[side][mine] = End(recipient)
            self.feed(side, say.confirms(recipient, mine))
        else:
            self.feed(side, say.refuses(recipient, wire.OPEN_CONNECT_FAILED, "no"))

    @rule(
        side=st.sampled_from(Side), which=st.integers(0, 2), what=st.sampled_from(["eof", "adjust", "keepalive"])
    )
    def sends(self, side: Side, which: int, what: str) -> None:
        usable = [end for end in self.ends[side].values() if not end.sent_close]
        if usable:
            number = usable[which % len(usable)].other_no
            message = {"eof": say.eof(number), "adjust": say.adjust(number, 1)}.get(
                what, say.asks(number, b"eow@openssh.com")
            )
            self.feed(side, message)

    @rule(side=st.sampled_from(Side), which=st.integers(0, 2))
    def closes(self, side: Side, which: int) -> None:
        usable = [end for end in self.ends[side].values() if not end.sent_close]
        if usable:
            end = usable[which % len(usable)]
            end.sent_close = True
            self.feed(side, say.close(end.other_no))

    @rule(often=st.integers(0, 9))
    def is_lost(self, often: int) -> None:
        if often == 5:
            self.saw(self.script.does("lost", self.script.relay.lost).effects)
            assert self.told == set(), "a forward did not end"
            assert self.script.relay.flows == {Side.CLIENT: {}, Side.TARGET: {}}
            self.connect()

    def feed(self, side: Side, payload: bytes) -> list[Effect]:
        effects = self.script.feeds(side, payload).effects
        self.saw(effects)
        self.forget()
        return effects

    def saw(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(side, payload):
                    self.arrives(side, payload)
                case ForwardOpened(forward):
                    assert forward not in self.told
                    self.told.add(forward)
                case ForwardClosed(forward):
                    self.told.remove(forward)
                case ForwardFailed():
                    pass
                case other:
                    raise AssertionError(other)

    def arrives(self, side: Side, payload: bytes) -> None:
        if payload[0] == wire.CHANNEL_OPEN:
            self.owes[side].append(Reader(payload[5 + Reader(payload[1:]).uint32() :]).uint32())
            return
        number = Reader(payload[1:]).uint32()
        match payload[0]:
            case wire.CHANNEL_OPEN_CONFIRMATION:
                self.asked[side].remove(number)
                assert number not in self.ends[side]
                self.ends[side][number] = End(Reader(payload[5:]).uint32())
            case wire.CHANNEL_OPEN_FAILURE:
                self.asked[side].remove(number)
            case wire.CHANNEL_CLOSE:
                assert not self.ends[side][number].got_close
                self.ends[side][number].got_close = True
            case _:
                assert not self.ends[side][number].got_close, "a message after CLOSE"

    def forget(self) -> None:
        for side in Side:
            for number, end in list(self.ends[side].items()):
                if end.sent_close and end.got_close:
                    del self.ends[side][number]

    @invariant()
    def data_flows_exactly_where_both_have_accepted(self) -> None:
        for side in Side:
            open_ends = {end.other_no for number, end in self.ends[side].items() if not end.sent_close}
            assert set(self.script.relay.flows[side]) <= open_ends

    def teardown(self) -> None:
        self.saw(self.script.does("lost", self.script.relay.lost).effects)
        assert self.told == set()


TestPeers = Peers.TestCase
TestPeers.settings = settings(max_examples=settings().max_examples * 4 // 5, stateful_step_count=50)

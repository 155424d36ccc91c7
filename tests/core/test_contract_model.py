"""The contract with both ends: a client, a node of any age, and messages that take their time on either leg.

`test_relay_model` asks what holds whatever peers send. Here both keep to the protocol, and the question is what
they agree on: everything is in flight for as long as hypothesis likes, so opens race each other, the ID outruns
the answer to the query or comes too late, and either end closes or vanishes at any moment.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from interlock.core import extensions, wire
from interlock.core.effects import Agreed, Closed, Effect, Send, StartTimer, StopTimer, TwinNamed
from interlock.core.ids import SessionId
from interlock.core.limits import MAX_CHANNELS
from interlock.core.messages import Confirmation, Open, Request, channel_message
from interlock.core.negotiation import Support
from interlock.core.refusal import Refusal
from interlock.core.sides import Side
from interlock.core.wire import Reader
from interlock.testing import script as say
from interlock.testing.script import Script, sid

REFUSAL = Refusal(wire.OPEN_RESOURCE_SHORTAGE, "full", "disk full")
NODES_OWN = 5000
"""From here on the node counts its session IDs."""


class Age(Enum):
    """What the target is."""

    NEW = auto()
    V1 = auto()  # names its sessions after shell or exec
    MUTE = auto()  # knows no query and names nothing
    REJECTING = auto()  # refuses the whole connection, in answer to the query
    SSHD = auto()  # is not asked


@dataclass
class Seen:
    """A channel as its client sees it."""

    target_no: int = -1  # once it is open
    told: list[SessionId] = field(default_factory=list)
    refused: bool = False
    started: bool = False
    sent_close: bool = False
    got_close: bool = False

    @property
    def answered(self) -> bool:
        """Whether the open was confirmed or refused."""
        return self.refused or self.target_no >= 0

    @property
    def usable(self) -> bool:
        """Whether the client may send on it."""
        return self.target_no >= 0 and not self.sent_close


class Client:
    """Opens, starts and closes as RFC 4254 has it; AssertionError if it is answered otherwise."""

    def __init__(self) -> None:
        self.channels: dict[int, Seen] = {}
        self.outbox: deque[bytes] = deque()

    def open(self, number: int) -> None:
        self.channels[number] = Seen()
        self.outbox.append(say.session(number))

    def close(self, seen: Seen) -> None:
        seen.sent_close = True
        self.outbox.append(say.close(seen.target_no))

    def receive(self, payload: bytes) -> None:
        """A message arrives."""
        if payload[0] in (wire.REQUEST_SUCCESS, wire.REQUEST_FAILURE):
            return
        reader = Reader(payload[1:])
        seen = self.channels[reader.uint32()]
        match payload[0]:
            case wire.CHANNEL_OPEN_CONFIRMATION:
                assert not seen.answered
                seen.target_no = Confirmation.decode(payload).sender
            case wire.CHANNEL_OPEN_FAILURE:
                assert not seen.answered
                seen.refused = True
            case _:
                assert seen.target_no >= 0, "a message on a channel that is not open"
                assert not seen.got_close, "a message after CLOSE"
                self._on_open_channel(seen, payload)

    def _on_open_channel(self, seen: Seen, payload: bytes) -> None:
        if payload[0] == wire.CHANNEL_CLOSE:
            seen.got_close = True
            if not seen.sent_close:
                self.close(seen)
        elif payload[0] == wire.CHANNEL_REQUEST:
            request = Request.decode(payload)
            if request.name == extensions.CURRENT_SESSION_ID:
                seen.told.append(SessionId(request.data.decode()))


@dataclass
class Run:
    """A session of the node's."""

    client_no: int
    sid: SessionId
    named: bool = False
    started: bool = False
    sent_close: bool = False
    got_close: bool = False


class Node:
    """A target of some age. What it does next, and when, is for the machine to say."""

    def __init__(self, age: Age) -> None:
        self.age = age
        self.asked = False
        self.answered = False
        self.opens: list[int] = []  # client numbers that wait for an answer
        self.runs: dict[int, Run] = {}  # by its own number
        self.history: dict[int, list[Run]] = {}  # every run on a client's number
        self.outbox: deque[bytes] = deque()
        self.numbers = 100
        self.names = NODES_OWN

    def receive(self, payload: bytes) -> None:
        """A message arrives."""
        match payload[0]:
            case wire.GLOBAL_REQUEST:
                assert not self.asked, "asked twice on one connection"
                assert self.age is not Age.SSHD
                self.asked = True
            case wire.CHANNEL_OPEN:
                self.opens.append(Open.decode(payload).sender)
            case wire.CHANNEL_CLOSE:
                run = self.runs[Reader(payload[1:]).uint32()]
                assert not run.got_close
                run.got_close = True
                if not run.sent_close:
                    self.close(run)
            case wire.CHANNEL_REQUEST:
                request = Request.decode(payload)
                self._start(self.runs[request.recipient], want_reply=request.want_reply)
            case _:
                raise AssertionError(payload)

    def _start(self, run: Run, *, want_reply: bool) -> None:
        run.started = True
        if run.sent_close:
            return
        if want_reply:
            self.outbox.append(say.success(run.client_no))
        if self.age is Age.V1:
            self.name(run)

    def answer(self) -> None:
        """The query."""
        answers = {Age.NEW: say.yes(), Age.REJECTING: say.no(b"locked")}
        self.answered = True
        self.outbox.append(answers.get(self.age, say.no()))

    def accept(self, client_no: int) -> None:
        """An open; a new node makes its session's ID now, and names it when it gets to it."""
        self.numbers += 1
        self.names += 1
        self.opens.remove(client_no)
        run = self.runs[self.numbers] = Run(client_no, sid(self.names))
        self.history.setdefault(client_no, []).append(run)
        self.outbox.append(say.confirms(client_no, self.numbers))

    def refuse(self, client_no: int) -> None:
        """An open."""
        self.opens.remove(client_no)
        self.outbox.append(say.refuses(client_no, wire.OPEN_CONNECT_FAILED, "no"))

    def name(self, run: Run) -> None:
        """``current-session-id``."""
        run.named = True
        self.outbox.append(say.announces(run.client_no, run.sid))

    def close(self, run: Run) -> None:
        """From its side."""
        run.sent_close = True
        self.outbox.append(say.close(run.client_no))

    def nameless(self) -> list[Run]:
        """Sessions that a new node owes a name."""
        owed = self.age in (Age.NEW, Age.REJECTING)
        return [run for run in self.runs.values() if owed and not run.named and not run.sent_close]

    def open_runs(self) -> list[Run]:
        """Sessions that it has not closed."""
        return [run for run in self.runs.values() if not run.sent_close]


class Contract(RuleBasedStateMachine):
    """Both ends around one relay; ``records`` is whether the forwarder does."""

    def __init__(self) -> None:
        super().__init__()
        self.age, self.records = Age.NEW, True
        self._connect()

    @initialize(age=st.sampled_from(Age), records=st.booleans())
    def connects(self, age: Age, records: bool) -> None:
        self.age = age
        self.records = records or age is Age.SSHD  # for a plain sshd the forwarder always records
        self._connect()

    def _connect(self) -> None:
        support = Support.NO if self.age is Age.SSHD else Support.UNKNOWN
        self.script = Script(support=support, minted_counts=self.records)
        self.script.on_agreed = self._decide
        self.client, self.node = Client(), Node(self.age)
        self.to_client: deque[bytes] = deque()
        self.to_node: deque[bytes] = deque()
        self.timers: set[int] = set()
        self.agreed: dict[int, SessionId] = {}  # live sessions of the performer, by the client's number
        self.twins: dict[SessionId, SessionId] = {}  # ours to the node's
        self.refuses = False
        self._did(self.script.begins().effects)

    # --- the performer ---

    def _decide(self, agreed: Agreed) -> list[Effect]:
        relay = self.script.relay
        return relay.reject(agreed.channel, REFUSAL) if self.refuses else relay.accept(agreed.channel)

    def _did(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(Side.CLIENT, payload):
                    self.to_client.append(payload)
                case Send(Side.TARGET, payload):
                    self.to_node.append(payload)
                case StartTimer(channel):
                    self.timers.add(channel)
                case StopTimer(channel):
                    self.timers.discard(channel)
                case Agreed(channel, agreed):
                    assert channel not in self.agreed
                    assert agreed not in self.agreed.values()
                    assert channel not in self.timers, "agreed, and still waiting"
                    self.agreed[channel] = agreed
                case TwinNamed(channel, named):
                    ours = self.agreed[channel]
                    assert ours not in self.twins, "a second name"
                    assert self.records
                    assert self.age is Age.V1
                    assert named == self.node.history[channel][-1].sid
                    self.twins[ours] = named
                case Closed(channel):
                    del self.agreed[channel]
                case _:
                    pass

    def _feed(self, side: Side, payload: bytes) -> None:
        self._did(self.script.feeds(side, payload).effects)  # AssertionError: a lawful peer was taken for a foe

    @rule(refuses=st.booleans())
    def performer_changes_its_mind(self, refuses: bool) -> None:
        self.refuses = refuses

    @precondition(lambda self: self.timers)
    @rule(which=st.integers(0, 99), often=st.integers(0, 4))
    def time_is_up(self, which: int, often: int) -> None:
        if often == 0 and self.timers:
            number = sorted(self.timers)[which % len(self.timers)]
            self.timers.discard(number)
            self._did(self.script.does("time is up", lambda: self.script.relay.timed_out(number)).effects)

    # --- the wires ---

    @rule(count=st.integers(1, 8))
    def client_leg_delivers(self, count: int) -> None:
        for _ in range(min(count, len(self.client.outbox))):
            self._feed(Side.CLIENT, self.client.outbox.popleft())

    @rule(count=st.integers(1, 8))
    def node_leg_delivers(self, count: int) -> None:
        for _ in range(min(count, len(self.node.outbox))):
            self._feed(Side.TARGET, self.node.outbox.popleft())

    @rule(count=st.integers(1, 8))
    def client_reads(self, count: int) -> None:
        for _ in range(min(count, len(self.to_client))):
            self.client.receive(self.to_client.popleft())

    @rule(count=st.integers(1, 8))
    def node_reads(self, count: int) -> None:
        for _ in range(min(count, len(self.to_node))):
            self.node.receive(self.to_node.popleft())

    # --- the client ---

    @rule(count=st.sampled_from([1, 1, 2, 50]))
    def client_opens(self, count: int) -> None:
        """Numbers are used again when a channel was closed both ways or refused (§5.3)."""
        over = [
            n for n, seen in self.client.channels.items() if seen.refused or (seen.sent_close and seen.got_close)
        ]
        for number in over:
            self._check_over(self.client.channels.pop(number))
        free = [number for number in range(MAX_CHANNELS + 1) if number not in self.client.channels]
        for number in free[:count]:
            self.client.open(number)

    def _usable(self) -> list[Seen]:
        return [seen for seen in self.client.channels.values() if seen.usable]

    @precondition(lambda self: self._usable())
    @rule(which=st.integers(0, 99))
    def client_starts(self, which: int) -> None:
        waiting = [seen for seen in self._usable() if not seen.started]
        if waiting:
            seen = waiting[which % len(waiting)]
            seen.started = True
            self.client.outbox.append(say.shell(seen.target_no))

    @precondition(lambda self: self._usable())
    @rule(which=st.integers(0, 99))
    def client_closes(self, which: int) -> None:
        if usable := self._usable():
            self.client.close(usable[which % len(usable)])

    # --- the node ---

    @precondition(lambda self: self.node.asked and not self.node.answered)
    @rule()
    def node_answers_the_query(self) -> None:
        if self.node.asked and not self.node.answered:
            self.node.answer()

    @precondition(lambda self: self.node.opens)
    @rule(which=st.integers(0, 99), accepts=st.sampled_from([True, True, True, False]), often=st.integers(1, 50))
    def node_decides(self, which: int, accepts: bool, often: int) -> None:
        for _ in range(min(often, len(self.node.opens))):
            number = self.node.opens[which % len(self.node.opens)]
            (self.node.accept if accepts else self.node.refuse)(number)

    @precondition(lambda self: self.node.nameless())
    @rule(which=st.integers(0, 99), often=st.integers(1, 50))
    def node_names(self, which: int, often: int) -> None:
        for _ in range(often):
            if owed := self.node.nameless():
                self.node.name(owed[which % len(owed)])

    @precondition(lambda self: self.node.open_runs())
    @rule(which=st.integers(0, 99))
    def node_closes(self, which: int) -> None:
        if runs := self.node.open_runs():
            self.node.close(runs[which % len(runs)])

    # --- the end ---

    @precondition(lambda self: self.agreed or self.timers)
    @rule(often=st.integers(0, 9))
    def an_end_vanishes(self, often: int) -> None:
        """In whatever state, nothing of the connection is left."""
        if often == 0:
            self._did(self.script.does("lost", self.script.relay.lost).effects)
            self._check_empty()
            self._connect()

    @precondition(lambda self: self.client.channels)
    @rule()
    def everything_settles(self) -> None:
        """Nothing more is begun, and what is on its way arrives: no open is left without an answer."""
        self._quiesce(self._everybody_acts)
        assert all(seen.answered for seen in self.client.channels.values()), "an open was never answered"
        for seen in self.client.channels.values():
            self._check_told(seen)

    def teardown(self) -> None:
        """The client closes everything: nothing is left on any side."""
        self.everything_settles()
        for seen in self._usable():
            self.client.close(seen)
        self._quiesce(self._everybody_acts)
        for seen in self.client.channels.values():
            self._check_over(seen)
            assert seen.refused or seen.got_close
        assert all(run.sent_close and run.got_close for run in self.node.runs.values())
        self._check_empty()

    def _everybody_acts(self) -> None:
        if self.node.asked and not self.node.answered:
            self.node.answer()
        for number in list(self.node.opens):
            self.node.accept(number)
        for run in self.node.nameless():
            self.node.name(run)

    def _quiesce(self, act: Callable[[], None]) -> None:
        act()
        while self.client.outbox or self.node.outbox or self.to_client or self.to_node:
            self.client_leg_delivers(8)
            self.node_leg_delivers(8)
            self.client_reads(8)
            self.node_reads(8)
            act()

    # --- what must hold ---

    def _check_empty(self) -> None:
        assert self.agreed == {}, "a session did not end"
        assert self.timers == set(), "a timer is left"
        assert self.script.relay.open_channels() == []
        assert not self.script.relay.waiting()
        assert self.script.relay.flows == {Side.CLIENT: {}, Side.TARGET: {}}

    def _run_of(self, seen: Seen) -> Run:
        return self.node.runs[seen.target_no]

    def _check_over(self, seen: Seen) -> None:
        if seen.refused:
            assert seen.told == []
        else:
            self._check_told(seen, over=True)

    def _check_told(self, seen: Seen, *, over: bool = False) -> None:
        """What a client knows when all that was said has arrived, or when its channel is over."""
        if seen.refused:
            return
        theirs = self._run_of(seen).sid
        if self.age in (Age.NEW, Age.REJECTING):  # the ID may outrun the answer that refuses everything
            assert seen.told == [theirs], "not the ID of the session on this very channel"
        elif self.records:
            assert len(seen.told) == 1
            assert seen.told[0] != theirs
        elif self.age is Age.MUTE:
            assert seen.told == [], "an ID that nobody knows"
        elif self._run_of(seen).named and not over and not seen.got_close:
            assert seen.told == [theirs]
        else:
            assert seen.told in ([], [theirs])

    @invariant()
    def nobody_is_told_two_ids_or_anothers(self) -> None:
        told = [each for seen in self.client.channels.values() for each in seen.told]
        assert len(told) == len(set(told))
        assert all(len(seen.told) <= 1 for seen in self.client.channels.values())

    @invariant()
    def what_waits_has_a_timer_or_an_open_on_its_way(self) -> None:
        """The forwarder can always find out that an agreement will not come."""
        assert bool(self.timers) <= self.script.relay.waiting()

    @invariant()
    def the_node_closes_no_more_than_it_opened(self) -> None:
        numbers = [channel_message(wire.CHANNEL_CLOSE, run.client_no) for run in self.node.open_runs()]
        assert len(numbers) <= MAX_CHANNELS


TestContract = Contract.TestCase
TestContract.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=60)

"""Others put bytes into a channel: no side ever gets more than its window, and none loses a byte or its order."""

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from interlock.core import wire
from interlock.core.effects import Effect, Hungry, Overfull, Send, Started, StartRequest, Typed
from interlock.core.errors import Rule
from interlock.core.flows import Flow
from interlock.core.limits import MAX_INSERTED, MAX_NOTICES, MAX_PAUSED_OUTPUT
from interlock.core.messages import channel_data, read_data, window_adjust
from interlock.core.negotiation import Support
from interlock.core.share import HELD_WINDOW, Share, Stage
from interlock.core.sides import Side
from interlock.core.wire import Reader
from interlock.testing import script as say
from interlock.testing.script import Script, to_client, to_target

CLIENT_WINDOW, TARGET_WINDOW = 50, 30
NUMBERS = {Side.CLIENT: 0, Side.TARGET: 7}


class Ends(RuleBasedStateMachine):
    """Two strict ends around one shared channel, and somebody who types into it."""

    def __init__(self) -> None:
        super().__init__()
        flows = {side: Flow() for side in Side}
        windows = {Side.CLIENT: CLIENT_WINDOW, Side.TARGET: TARGET_WINDOW}
        self.share = Share(NUMBERS, windows, dict.fromkeys(Side, 8), flows)
        self.room = {Side.CLIENT: CLIENT_WINDOW, Side.TARGET: TARGET_WINDOW}  # what an end still takes
        self.may_send = {Side.CLIENT: TARGET_WINDOW, Side.TARGET: CLIENT_WINDOW}  # what an end believes
        self.unread = dict.fromkeys(Side, 0)  # bytes that an end received and has not granted again
        self.due = {side: deque[bytes]() for side in Side}  # what must arrive there, in order
        self.got = dict.fromkeys(Side, b"")
        self.inserted = dict.fromkeys(Side, b"")

    def see(self, effects: list[Effect]) -> None:
        """Both ends receive."""
        for effect in effects:
            if isinstance(effect, Send) and effect.payload[0] == wire.CHANNEL_WINDOW_ADJUST:
                self.may_send[effect.side] += Reader(effect.payload[5:]).uint32()
            elif isinstance(effect, Send):
                data = read_data(effect.payload)[1]
                assert len(data) <= 8
                self.room[effect.side] -= len(data)
                self.unread[effect.side] += len(data)
                self.got[effect.side] += data
                assert self.room[effect.side] >= 0, "more than the window"

    @rule(side=st.sampled_from(Side), size=st.integers(1, 20))
    def sends(self, side: Side, size: int) -> None:
        """An end sends as much as it believes it may. Its bytes are lower-case letters."""
        data = b"abcdefghijklmnopqrstuvwxyz"[: min(size, self.may_send[side])]
        if data:
            self.may_send[side] -= len(data)
            if side is Side.TARGET or self.share.stage is Stage.OPEN:
                self.due[side.other].append(data)
            self.see(self.share.data(side, 0, data))

    @rule(size=st.integers(1, 20))
    def types(self, size: int) -> None:
        """Somebody else types, in upper case."""
        data = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:size]
        effects, taken = self.share.insert(data)
        self.inserted[Side.TARGET] += data[:taken]
        self.see(effects)

    @rule(size=st.integers(1, 10))
    def told(self, size: int) -> None:
        """The client is told something."""
        effects = self.share.notice(b"ABCDEFGHIJ"[:size])
        self.inserted[Side.CLIENT] += b"ABCDEFGHIJ"[:size] if effects else b""
        self.see(effects)

    @rule(side=st.sampled_from(Side), share=st.integers(1, 4))
    def reads(self, side: Side, share: int) -> None:
        """An end reads some of what it got and grants window for it."""
        amount = -(-self.unread[side] // share)
        if amount:
            self.unread[side] -= amount
            self.room[side] += amount
            self.see(self.share.adjusted(side, amount))

    @precondition(lambda self: self.share.stage is Stage.OPEN)
    @rule()
    def pause(self) -> None:
        """A moderator leaves."""
        self.share.stage = Stage.PAUSED

    @precondition(lambda self: self.share.stage is Stage.PAUSED)
    @rule()
    def resume(self) -> None:
        """And comes back."""
        self.see(self.share.go_on())

    @invariant()
    def nobody_is_promised_more_than_there_is(self) -> None:
        """Every promise is covered by room, by what is held, and by the debt."""
        for side in Side:
            got = bytes(each for each in self.got[side] if each not in self.inserted_letters)
            assert b"".join(self.due[side]).startswith(got), "lost, or out of order"

    inserted_letters = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")

    def teardown(self) -> None:
        """When both ends read on, everything arrives."""
        if self.share.stage is Stage.PAUSED:
            self.resume()
        for _ in range(200):
            for side in Side:
                self.reads(side, 1)
        for side in Side:
            plain = bytes(each for each in self.got[side] if each not in self.inserted_letters)
            assert plain == b"".join(self.due[side])
            upper = bytes(each for each in self.got[side] if each in self.inserted_letters)
            assert upper == self.inserted[side]


TestEnds = Ends.TestCase
TestEnds.settings = settings(max_examples=settings().max_examples * 3 // 2, stateful_step_count=40)


@pytest.fixture
def script() -> Script:
    """A shell on a terminal on channel 0 (7 for the target)."""
    script = Script(support=Support.NO)
    script.opens(0, 7)
    script.client(say.pty(7)) >> ...
    script.client(say.shell(7)) >> ...
    return script


def paths(script: Script) -> set[Side]:
    """Whose data takes the fast path."""
    return {side for side in Side if script.relay.flows[side]}


def test_a_channel_that_nobody_shares_takes_the_fast_path(script: Script) -> None:
    """The relay's speed is for sessions that nobody joins."""
    assert paths(script) == set(Side)


def test_typing_is_paid_for_by_the_clients_window(script: Script) -> None:
    """Of the target's next adjust so much is withheld; the client's keys come to the core from then on."""
    assert script.relay.sharing.insert(0, b"ls\r") == ([to_target(channel_data(7, b"ls\r"))], 3)
    assert paths(script) == {Side.TARGET}
    script.target(window_adjust(0, 2)) >> []
    script.target(window_adjust(0, 5)) >> [to_client(window_adjust(0, 4))]
    script.client(say.data(7, b"x")) >> [to_target(say.data(7, b"x"))]
    script.client(window_adjust(7, 9)) >> [to_target(window_adjust(7, 9))]


def test_a_notice_is_paid_for_by_the_targets_window(script: Script) -> None:
    """Output takes the fast path again as soon as nothing is owed."""
    assert script.relay.sharing.notice(0, b"hello") == [to_client(channel_data(0, b"hello"))]
    assert paths(script) == set()
    script.target(say.data(0, b"out")) >> [to_client(say.data(0, b"out"))]
    script.client(window_adjust(7, 8)) >> [to_target(window_adjust(7, 3))]
    assert paths(script) == {Side.TARGET}


def test_notices_end_where_they_would_cost_window(script: Script) -> None:
    """A client that adjusts late is told less, and its window is never exceeded."""
    told = 0
    while script.relay.sharing.notice(0, b"x" * 100):
        told += 100
    assert MAX_NOTICES - 100 < told <= MAX_NOTICES


def test_typing_stops_at_the_targets_window(script: Script) -> None:
    """And goes on when the target has read."""
    effects, taken = script.relay.sharing.insert(0, b"x" * (MAX_INSERTED + say.WINDOW))
    assert taken == min(MAX_INSERTED, say.WINDOW)
    assert sum(len(read_data(each.payload)[1]) for each in effects if isinstance(each, Send)) == taken
    script.target(window_adjust(0, 1)) >> [Hungry(0)]
    assert script.relay.sharing.insert(0, b"xy")[1] == 1


def test_a_held_session_takes_no_input_and_gives_window_back() -> None:
    """What the person types while waiting is told, not sent; the start is answered at once and passed on later."""
    held = Script(support=Support.NO)
    held.opens(0, 7)
    held.client(say.pty(7)) >> ...
    held.on_started = lambda started: held.relay.hold(started.channel, want_reply=started.want_reply)
    held.client(say.shell(7)) >> [Started(0, StartRequest("shell", b"", "xterm", (80, 24)), True)]
    held.target(say.success(0)) >> [to_client(say.success(0)), to_client(say.success(0))]
    held.client(say.data(7, b"\x03")) >> [to_client(window_adjust(0, 1)), Typed(0, b"\x03")]
    held.client(say.asks(7, b"signal", b"\0\0\0\3INT")) >> []
    held.target(say.data(0, b"psst")) >> Rule.UNEXPECTED_MESSAGE


def test_a_held_session_hears_its_person_where_the_target_grants_no_window_yet() -> None:
    """As sshd, which grants it when something runs: we advance some, and its first adjust pays for that."""
    held = Script(support=Support.NO)
    held.client(say.session(0)) >> ...
    held.target(say.confirms(0, 7, window=0)) >> ...
    held.on_started = lambda started: held.relay.hold(started.channel, want_reply=started.want_reply)
    held.client(say.shell(7)) >> [
        Started(0, StartRequest("shell", b"", "", None), True),
        to_client(window_adjust(0, HELD_WINDOW)),
        to_client(say.success(0)),
    ]
    held.client(say.data(7, b"no")) >> [to_client(window_adjust(0, 2)), Typed(0, b"no")]
    assert held.relay.begin(0, "shell", b"", want_reply=True) == [to_target(say.shell(7))]
    held.client(say.data(7, b"early bird")) >> []
    held.target(window_adjust(0, 2_000_000)) >> [
        to_client(window_adjust(0, 2_000_000 - HELD_WINDOW)),
        to_target(say.data(7, b"early bird")),
    ]


def test_a_held_session_begins() -> None:
    """The target's answer is ours; from then on everything passes."""
    held = Script(support=Support.NO)
    held.opens(0, 7)
    held.on_started = lambda started: held.relay.hold(started.channel, want_reply=started.want_reply)
    held.client(say.shell(7)) >> [
        Started(0, StartRequest("shell", b"", "", None), True),
        to_client(say.success(0)),
    ]
    assert held.relay.begin(0, "shell", b"", want_reply=True) == [to_target(say.shell(7))]
    held.target(say.success(0)) >> []
    held.client(say.data(7, b"ls")) >> [to_target(say.data(7, b"ls"))]
    assert paths(held) == {Side.TARGET}


def test_a_held_session_that_the_target_refuses_ends_with_words() -> None:
    """The client has its answer already, so the refusal is told in another way."""
    held = Script(support=Support.NO)
    held.opens(0, 7)
    held.on_started = lambda started: held.relay.hold(started.channel, want_reply=started.want_reply)
    held.client(say.shell(7)) >> ...
    held.relay.begin(0, "shell", b"", want_reply=True)
    ends = held.target(say.failure(0)).effects
    assert any(isinstance(each, Send) and b"refused to start" in each.payload for each in ends)


def test_a_paused_session_lets_nothing_pass(script: Script) -> None:
    """Input goes nowhere and costs no window, signals are refused, output is held until it resumes (R30)."""
    script.relay.sharing.pause(0)
    assert paths(script) == set()
    script.client(say.data(7, b"rm")) >> [to_client(window_adjust(0, 2)), Typed(0, b"rm")]
    script.client(say.asks(7, b"signal", b"\0\0\0\4KILL", reply=True)) >> []
    script.target(say.data(0, b"secret")) >> []
    assert script.relay.sharing.insert(0, b"x") == ([], 0)
    assert script.relay.sharing.resume(0) == [to_client(say.data(0, b"secret")), Hungry(0)]
    assert paths(script) == {Side.TARGET}


def test_what_a_paused_session_wrote_is_not_shown_when_it_ends(script: Script) -> None:
    """Nobody watches any more, so nobody sees it; the recording has it."""
    script.relay.sharing.pause(0)
    script.target(say.data(0, b"secret")) >> []
    script.target(say.eof(0)) >> [to_client(say.eof(0))]
    script.target(say.close(0)) >> [to_client(say.close(0))]


def test_what_a_paused_session_holds_is_bounded(script: Script) -> None:
    """Whatever window the client has granted."""
    script.relay.sharing.pause(0)
    piece = b"x" * 32768
    for _ in range(MAX_PAUSED_OUTPUT // len(piece)):
        script.target(say.data(0, piece)) >> []
    script.target(say.data(0, b"x")) >> [Overfull(0)]


def test_recording_goes_on_while_data_is_judged(script: Script) -> None:
    """Bytes are counted and shown to the tap on either path."""
    seen: list[bytes] = []
    flow = script.relay.flow(0, Side.TARGET)
    flow.tap = lambda _kind, data: seen.append(bytes(data))
    script.relay.sharing.pause(0)
    script.target(say.data(0, b"abc")) >> ...
    assert (seen, flow.octets) == ([b"abc"], 3)

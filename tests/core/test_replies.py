"""Replies carry no number, so their order is their meaning: a model of one asking and one answering side."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.limits import MAX_PENDING_REPLIES
from interlock.core.replies import ReplyLedger


def test_a_reply_to_a_request_that_was_passed_on_goes_back() -> None:
    """The plain case."""
    ledger = ReplyLedger()
    ledger.pass_on()
    settled = ledger.settle(b"yes")
    assert (settled.token, settled.release) == (None, [b"yes"])


def test_a_reply_to_our_own_request_stays_here() -> None:
    """The asking side never sees it."""
    ledger = ReplyLedger()
    ledger.ask("mine")
    settled = ledger.settle(b"yes")
    assert (settled.token, settled.release) == ("mine", [])


def test_our_answer_leaves_at_once_when_nothing_is_in_front() -> None:
    """Requests of our own are not in front of anybody's."""
    ledger = ReplyLedger()
    assert ledger.answer(b"no") == [b"no"]
    ledger.ask("mine")
    assert ledger.answer(b"no") == [b"no"]


def test_our_answer_waits_for_the_requests_before_it() -> None:
    """And leaves right behind them, before the next one's reply."""
    ledger = ReplyLedger()
    ledger.pass_on()
    assert ledger.answer(b"ours") == []
    ledger.ask("mine")
    ledger.pass_on()
    assert ledger.answer(b"last") == []
    assert ledger.settle(b"first").release == [b"first", b"ours"]
    assert ledger.settle(b"kept").token == "mine"
    assert ledger.settle(b"second").release == [b"second", b"last"]


@pytest.mark.parametrize("settled", [0, 1])
def test_an_unsolicited_reply_is_an_offence(settled: int) -> None:
    """Whether nothing was asked or all is answered."""
    ledger = ReplyLedger()
    for _ in range(settled):
        ledger.pass_on()
        ledger.settle(b"yes")
    with pytest.raises(RemoteProtocolError) as caught:
        ledger.settle(b"yes")
    assert caught.value.rule is Rule.UNSOLICITED_REPLY


def test_what_may_be_outstanding_is_bounded() -> None:
    """Own, passed-on and waiting ones together; a settled one makes room."""
    ledger = ReplyLedger()
    ledger.pass_on()
    for number in range(MAX_PENDING_REPLIES - 1):
        match number % 3:
            case 0:
                ledger.pass_on()
            case 1:
                ledger.ask("mine")
            case _:
                assert ledger.answer(b"no") == []
    with pytest.raises(RemoteProtocolError) as caught:
        ledger.pass_on()
    assert caught.value.rule is Rule.TOO_MUCH_PENDING
    with pytest.raises(RemoteProtocolError):
        ledger.answer(b"no")
    ledger.settle(b"yes")
    ledger.pass_on()


class RepliesInOrder(RuleBasedStateMachine):
    """The asking side numbers its requests; replies must come back in that order, each exactly once."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = ReplyLedger()
        self.asked = 0  # requests of the asking side so far
        self.came_back: list[bytes] = []  # what left towards it
        self.at_answerer: list[bytes | str] = []  # what the answering side has to reply to, oldest first
        self.own = 0
        self.own_settled: list[str] = []

    @rule()
    def passes_on(self) -> None:
        if self._full():
            return
        self.ledger.pass_on()
        self.at_answerer.append(self._number())

    @rule()
    def answers_here(self) -> None:
        if self._full():
            return
        self.came_back += self.ledger.answer(self._number())

    @rule()
    def asks_itself(self) -> None:
        if self._full():
            return
        self.own += 1
        self.ledger.ask(str(self.own))
        self.at_answerer.append(str(self.own))

    @precondition(lambda self: self.at_answerer)
    @rule(times=st.integers(1, 4))
    def is_answered(self, times: int) -> None:
        for expected in self.at_answerer[:times]:
            settled = self.ledger.settle(expected if isinstance(expected, bytes) else b"own")
            self.came_back += settled.release
            if isinstance(expected, str):
                assert settled.token == expected
                self.own_settled.append(expected)
        del self.at_answerer[:times]

    @precondition(lambda self: not self.at_answerer)
    @rule()
    def is_answered_without_request(self) -> None:
        with pytest.raises(RemoteProtocolError):
            self.ledger.settle(b"?")

    @invariant()
    def replies_are_in_the_order_of_requests(self) -> None:
        assert self.came_back == [str(number).encode() for number in range(1, len(self.came_back) + 1)]

    @invariant()
    def nothing_waits_without_a_reason(self) -> None:
        if not any(isinstance(entry, bytes) for entry in self.at_answerer):
            assert len(self.came_back) == self.asked

    def _number(self) -> bytes:
        self.asked += 1
        return str(self.asked).encode()

    def _full(self) -> bool:
        return self.asked + self.own >= MAX_PENDING_REPLIES


TestRepliesInOrder = RepliesInOrder.TestCase
TestRepliesInOrder.settings = settings(max_examples=settings().max_examples * 2 // 5, stateful_step_count=40)

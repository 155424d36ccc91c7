"""Agreeing on a session ID: every input in every state, as one table, and the flows that matter."""

from collections.abc import Callable
from typing import get_args

import pytest

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.ids import SessionId
from interlock.core.limits import MAX_REASON, SESSION_ID_WAIT_S
from interlock.core.negotiation import (
    NO_SESSION_ID,
    Agree,
    Announced,
    Answered,
    Await,
    Confirmed,
    Input,
    Named,
    Negotiation,
    Outcome,
    Reject,
    State,
    Support,
    TargetClosed,
    TimedOut,
)
from interlock.core.wire import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_CONNECT_FAILED
from interlock.testing.script import sid

OURS, THEIRS, OTHER = sid(1), sid(2), sid(3)
YES = Answered(supported=True)
NO = Answered(supported=False)
REJECTION = Answered(supported=False, rejection="node is locked")


def negotiation(support: Support = Support.UNKNOWN) -> Negotiation:
    """A machine that mints `OURS`."""
    return Negotiation(support, lambda: OURS)


def brought_to(state: State) -> Negotiation:
    """A machine in this state, by a way that leads there."""
    ways: dict[State, list[Input]] = {
        State.OPENING: [],
        State.UNSURE: [Confirmed()],
        State.AWAITING: [Confirmed(), YES],
        State.ADOPTED: [Confirmed(), Announced(THEIRS.encode())],
        State.MINTED: [Confirmed(), NO],
        State.REJECTED: [Confirmed(), TimedOut()],
    }
    machine = negotiation()
    for item in ways[state]:
        machine.receive(item)
    assert machine.state is state
    return machine


def _reject(reason: str, *, public: str = NO_SESSION_ID, code: int = OPEN_CONNECT_FAILED) -> list[Outcome]:
    return [Reject(code, public, reason)]


Cell = tuple[State | None, list[Outcome]] | Rule
"""The state after the input (None: the same) and the outcomes, or the rule that the input breaks."""

IDLE: Cell = (None, [])
LATE = _reject(f"no session ID after {SESSION_ID_WAIT_S:g} s")
GONE = _reject("the target closed the channel before its ID was known")
LOCKED = _reject(
    "remote session open failed: node is locked",
    public="remote session open failed: node is locked",
    code=OPEN_ADMINISTRATIVELY_PROHIBITED,
)

ADOPT: Cell = (State.ADOPTED, [Agree(THEIRS, minted=False)])
MINT: Cell = (State.MINTED, [Agree(OURS, minted=True)])
ANNOUNCED = Announced(THEIRS.encode())
TABLE: dict[tuple[State, Input], Cell] = {
    (State.OPENING, Confirmed()): (State.UNSURE, [Await(SESSION_ID_WAIT_S)]),
    (State.OPENING, YES): IDLE,
    (State.OPENING, NO): IDLE,
    (State.OPENING, REJECTION): (State.REJECTED, LOCKED),
    (State.OPENING, ANNOUNCED): Rule.UNEXPECTED_MESSAGE,
    (State.OPENING, TimedOut()): Rule.UNEXPECTED_MESSAGE,
    (State.OPENING, TargetClosed()): Rule.UNEXPECTED_MESSAGE,
    (State.UNSURE, Confirmed()): Rule.UNEXPECTED_MESSAGE,
    (State.UNSURE, YES): (State.AWAITING, []),
    (State.UNSURE, NO): MINT,
    (State.UNSURE, REJECTION): (State.REJECTED, LOCKED),
    (State.UNSURE, ANNOUNCED): ADOPT,  # it outran the answer
    (State.UNSURE, TimedOut()): (State.REJECTED, LATE),
    (State.UNSURE, TargetClosed()): (State.REJECTED, GONE),
    (State.AWAITING, Confirmed()): Rule.UNEXPECTED_MESSAGE,
    (State.AWAITING, YES): Rule.UNEXPECTED_MESSAGE,
    (State.AWAITING, NO): Rule.UNEXPECTED_MESSAGE,
    (State.AWAITING, REJECTION): (State.REJECTED, LOCKED),
    (State.AWAITING, ANNOUNCED): ADOPT,
    (State.AWAITING, TimedOut()): (State.REJECTED, LATE),
    (State.AWAITING, TargetClosed()): (State.REJECTED, GONE),
    (State.ADOPTED, Confirmed()): IDLE,
    (State.ADOPTED, YES): IDLE,  # the answer that the announcement outran
    (State.ADOPTED, NO): IDLE,
    (State.ADOPTED, REJECTION): IDLE,
    (State.ADOPTED, ANNOUNCED): IDLE,  # the same again
    (State.ADOPTED, TimedOut()): IDLE,
    (State.ADOPTED, TargetClosed()): IDLE,
    (State.MINTED, Confirmed()): IDLE,
    (State.MINTED, YES): IDLE,
    (State.MINTED, NO): IDLE,
    (State.MINTED, REJECTION): IDLE,
    (State.MINTED, ANNOUNCED): (None, [Named(THEIRS)]),  # an old target names its session after shell or exec
    (State.MINTED, TimedOut()): IDLE,
    (State.MINTED, TargetClosed()): IDLE,
    (State.REJECTED, Confirmed()): IDLE,
    (State.REJECTED, YES): IDLE,
    (State.REJECTED, NO): IDLE,
    (State.REJECTED, REJECTION): IDLE,
    (State.REJECTED, ANNOUNCED): IDLE,
    (State.REJECTED, TimedOut()): IDLE,
    (State.REJECTED, TargetClosed()): IDLE,
}


def test_the_table_has_every_input_in_every_state() -> None:
    """A new state or input is not forgotten here."""
    inputs = {item for _, item in TABLE}
    assert {type(item) for item in inputs} == set(get_args(Input))
    assert set(TABLE) == {(state, item) for state in State for item in inputs}


@pytest.mark.parametrize(("at", "after"), TABLE.items())
def test_each_input_in_each_state(at: tuple[State, Input], after: Cell) -> None:
    """The machine does what the table says, and nothing after an offence."""
    state, item = at
    machine = brought_to(state)
    if isinstance(after, Rule):
        with pytest.raises(RemoteProtocolError) as caught:
            machine.receive(item)
        assert caught.value.rule is after
        assert machine.state is state
        return
    entered, outcomes = after
    assert machine.receive(item) == outcomes
    assert machine.state is (entered or state)


@pytest.mark.parametrize(
    ("support", "outcomes"),
    [
        (Support.UNKNOWN, [Await(SESSION_ID_WAIT_S)]),
        (Support.YES, [Await(SESSION_ID_WAIT_S)]),
        (Support.NO, [Agree(OURS, minted=True)]),
    ],
)
def test_what_is_known_of_the_target_decides(support: Support, outcomes: list[Outcome]) -> None:
    """An OpenSSH server or old node is not waited for; any other is, and not for ever."""
    assert negotiation(support).receive(Confirmed()) == outcomes


@pytest.mark.parametrize(("answer", "agreed"), [(YES, None), (NO, OURS)])
def test_the_answer_may_come_before_the_channel_is_accepted(answer: Answered, agreed: SessionId | None) -> None:
    """It was asked once per connection, so it usually does."""
    machine = negotiation()
    assert machine.receive(answer) == []
    machine.receive(Confirmed())
    assert machine.sid == agreed


def test_an_id_may_outrun_the_answer() -> None:
    """Whichever comes last, the ID is the target's and one is minted by nobody."""
    minted: list[SessionId] = []

    def mint() -> SessionId:
        minted.append(OURS)
        return OURS

    machine = Negotiation(Support.UNKNOWN, mint)
    machine.receive(Confirmed())
    assert machine.receive(ANNOUNCED) == [Agree(THEIRS, minted=False)]
    assert machine.receive(YES) == []
    assert machine.sid == THEIRS
    assert minted == []


@pytest.mark.parametrize("payload", [OTHER.encode(), b"", b"\xff", THEIRS.encode() + b"\x00"])
def test_a_changed_id_is_an_offence(payload: bytes) -> None:
    """One channel is one session; the agreed ID stays."""
    machine = brought_to(State.ADOPTED)
    with pytest.raises(RemoteProtocolError) as caught:
        machine.receive(Announced(payload))
    assert caught.value.rule is Rule.SESSION_ID_CHANGED
    assert machine.sid == THEIRS


def test_the_same_id_in_another_case_is_no_change() -> None:
    """IDs are compared as IDs, since the first was made canonical too."""
    shouted = "0A1B2C3D-4E5F-4A6B-8C7D-0123456789AB"
    machine = negotiation(Support.YES)
    machine.receive(Confirmed())
    assert machine.receive(Announced(shouted.encode())) == [Agree(SessionId(shouted.lower()), minted=False)]
    assert machine.receive(Announced(shouted.encode())) == []


@pytest.mark.parametrize(
    "payload", [b"", b"not-a-uuid", b"\xff" * 36, b"\x00\x00\x00\x24" + THEIRS.encode(), THEIRS.encode() + b"\n"]
)
def test_an_id_that_is_no_uuid_refuses_the_channel(payload: bytes) -> None:
    """The person is told that the target failed; the private reason quotes what came."""
    machine = brought_to(State.AWAITING)
    (outcome,) = machine.receive(Announced(payload))
    assert isinstance(outcome, Reject)
    assert outcome.code == OPEN_CONNECT_FAILED
    assert outcome.public == NO_SESSION_ID
    assert outcome.reason.startswith("not a session ID")
    assert machine.sid is None


@pytest.mark.parametrize("state", list(State))
def test_an_abandoned_channel_is_past_everything(state: State) -> None:
    """Refused by us in any state, it neither agrees nor refuses again."""
    machine = brought_to(state)
    machine.abandon()
    for item in (Confirmed(), YES, REJECTION, ANNOUNCED, Announced(OTHER.encode()), TimedOut(), TargetClosed()):
        assert machine.receive(item) == []


@pytest.mark.parametrize(("answer", "state"), [(NO, State.MINTED), (REJECTION, State.REJECTED)])
def test_an_empty_failure_is_an_old_node_and_one_with_text_a_refusal(answer: Answered, state: State) -> None:
    """The difference is the length of the payload (teleport-facts §1.2)."""
    machine = brought_to(State.UNSURE)
    machine.receive(answer)
    assert machine.state is state


def test_a_long_refusal_is_cut() -> None:
    """The target cannot make us pass on any amount of text."""
    (outcome,) = brought_to(State.UNSURE).receive(Answered(supported=False, rejection="x" * 100_000))
    assert isinstance(outcome, Reject)
    assert len(outcome.public) <= MAX_REASON + 64


@pytest.mark.parametrize("said", [b"", b"not-a-uuid", OURS.encode(), OURS.upper().encode()])
def test_what_an_old_target_says_that_is_no_name_of_its_own(said: bytes) -> None:
    """It is ignored, and does not use up the one name that counts."""
    machine = brought_to(State.MINTED)
    assert machine.receive(Announced(said)) == []
    assert machine.receive(Announced(THEIRS.encode())) == [Named(THEIRS)]
    assert machine.receive(Announced(OTHER.encode())) == []
    assert (machine.sid, machine.named) == (OURS, THEIRS)


@pytest.mark.parametrize("support", list(Support))
@pytest.mark.parametrize("way", [lambda: ANNOUNCED, lambda: NO], ids=["announced", "old"])
def test_an_id_is_agreed_at_most_once(support: Support, way: Callable[[], Input]) -> None:
    """Whatever comes again, there is one `Agree`."""
    machine = negotiation(support)
    outcomes: list[Outcome] = []
    for item in [Confirmed(), way(), ANNOUNCED, TimedOut(), TargetClosed(), ANNOUNCED]:
        try:
            outcomes += machine.receive(item)
        except RemoteProtocolError:
            assert support is Support.YES  # it contradicted itself
    assert sum(isinstance(outcome, Agree) for outcome in outcomes) <= 1

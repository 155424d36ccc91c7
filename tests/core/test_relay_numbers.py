"""Channel numbers: when they can be used again, who must not use them twice, and how many there are."""

import pytest

from interlock.core import wire
from interlock.core.effects import Agreed, Closed, Send, StartTimer, StopTimer
from interlock.core.errors import Rule
from interlock.core.limits import MAX_CHANNELS, SESSION_ID_WAIT_S
from interlock.core.sides import Side
from interlock.testing import script as say
from interlock.testing.script import accepted, new_node, refused, sid, sshd, to_client, to_target

FAILED = wire.OPEN_CONNECT_FAILED
SHORTAGE = wire.OPEN_RESOURCE_SHORTAGE


def test_a_number_can_be_used_again_after_a_refusal() -> None:
    """As soon as the target has forgotten it too; before, the client is told why not."""
    script = new_node()
    script.client(say.session(0)) >> ...
    script.target(say.confirms(0, 7)) >> ...
    script.does("the time is up", lambda: script.relay.timed_out(0)) >> ...
    text = "the channel that had this number before is still being closed: try again"
    script.client(say.session(0)) >> refused(0, SHORTAGE, text)
    script.target(say.close(0)) >> []
    script.opens(0, 7)


def test_a_number_can_be_used_again_after_the_targets_refusal() -> None:
    """The target never had it."""
    script = new_node()
    script.client(say.session(0)) >> ...
    script.target(say.refuses(0, FAILED, "no")) >> ...
    script.opens(0, 7)


def test_numbers_can_be_used_again_after_both_sides_closed() -> None:
    """The target's number as well, by another channel."""
    script = new_node()
    script.opens(0, 7)
    script.client(say.close(7)) >> [to_target(say.close(7))]
    script.target(say.close(0)) >> [to_client(say.close(0)), Closed(0, 0, 0)]
    script.client(say.session(0)) >> [to_target(say.session(0))]
    script.target(say.confirms(0, 7)) >> [StartTimer(0, SESSION_ID_WAIT_S)]


def test_the_target_may_use_a_number_again_that_the_client_still_closes() -> None:
    """We ended the channel and only the target has answered: no offence, but the client must try again."""
    script = new_node()
    script.opens(0, 7)
    script.opens(5, 12)
    script.does("terminate", lambda: script.relay.terminate(0, "over")) >> ...
    script.target(say.close(0)) >> []
    script.client(say.session(1)) >> [to_target(say.session(1))]
    text = "the channel that had this number before is still being closed: try again"
    script.target(say.confirms(1, 7)) >> [StopTimer(1), *refused(1, SHORTAGE, text), to_target(say.close(7))]
    script.does("a late timer", lambda: script.relay.timed_out(1)) >> []
    script.target(say.close(1)) >> []
    script.client(say.data(7)) >> []
    script.client(say.close(7)) >> []
    script.opens(1, 7)
    assert script.relay.open_channels() == [5, 1]


def test_a_channel_that_was_refused_for_its_number_still_has_it() -> None:
    """Until the target has closed it; naming the number once more before is an offence."""
    script = new_node()
    script.opens(0, 7)
    script.does("terminate", lambda: script.relay.terminate(0, "over")) >> ...
    script.target(say.close(0)) >> []
    for number in (1, 2):
        script.client(say.session(number)) >> [to_target(say.session(number))]
    script.target(say.confirms(1, 7)) >> ...
    script.target(say.confirms(2, 7)) >> Rule.CHANNEL_IN_USE


def test_the_client_cannot_open_a_number_twice() -> None:
    """Its channels must differ."""
    script = new_node()
    script.opens(0, 7)
    script.client(say.session(0)) >> Rule.CHANNEL_IN_USE


def test_the_target_cannot_name_a_number_twice() -> None:
    """Its answers would reach the wrong session otherwise."""
    script = new_node()
    script.opens(0, 7)
    script.client(say.session(1)) >> ...
    script.target(say.confirms(1, 7)) >> Rule.CHANNEL_IN_USE


def test_an_open_is_answered_once() -> None:
    """Neither a second confirmation nor a refusal after one."""
    for second in (say.confirms(0, 8), say.refuses(0, FAILED, "no")):
        script = new_node()
        script.opens(0, 7)
        script.target(second) >> Rule.UNKNOWN_CHANNEL


def test_the_target_cannot_give_two_channels_one_id() -> None:
    """One session, one ID: the other channel would hide in the first one's recording."""
    script = new_node()
    script.opens(0, 7)
    script.client(say.session(1)) >> ...
    script.target(say.confirms(1, 8)) >> ...
    script.target(say.announces(1, sid(1000))) >> Rule.SESSION_ID_REUSED
    script.does("lost", script.relay.lost) >> [StopTimer(0), Closed(0, 0, 0), StopTimer(1)]


def test_channels_are_bounded() -> None:
    """At the bound more are refused, and one that closes makes room."""
    script = sshd()
    for number in range(MAX_CHANNELS):
        script.opens(number, number + 100)
    text = "too many session channels on this connection"
    script.client(say.session(999)) >> refused(999, SHORTAGE, text)
    script.client(say.close(100)) >> ...
    script.target(say.close(0)) >> ...
    script.opens(999, 5)


def test_opens_that_nobody_answers_are_bounded_too() -> None:
    """The target's silence does not make us keep more."""
    script = new_node()
    for number in range(MAX_CHANNELS):
        script.client(say.session(number)) >> [to_target(say.session(number))]
    sent, _ = script.client(say.session(999)).effects
    assert isinstance(sent, Send)
    assert sent.side is Side.CLIENT


@pytest.mark.parametrize("count", [20, 50])
def test_interleaved_opens_do_not_mix(count: int) -> None:
    """All are opened, then confirmed in one order and named in another: each gets its own ID."""
    script = new_node()
    numbers = range(count)
    for number in numbers:
        script.client(say.session(number)) >> [to_target(say.session(number))]
    for number in reversed(numbers):
        script.target(say.confirms(number, 500 - number)) >> [StartTimer(number, SESSION_ID_WAIT_S)]
    for number in sorted(numbers, key=lambda n: n * 7919 % 101):
        script.target(say.announces(number, sid(number))) >> [
            StopTimer(number),
            Agreed(number, sid(number)),
            *accepted(number, 500 - number, sid(number)),
        ]
    assert sorted(script.relay.open_channels()) == list(numbers)
    for number in numbers:
        script.client(say.shell(500 - number)) >> ...
    assert len(script.relay.flows[Side.CLIENT]) == len(script.relay.flows[Side.TARGET]) == count

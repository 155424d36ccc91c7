"""Limits and refusals of a whole connection, as transcripts: how many sessions, and who asks first."""

import pytest

from interlock.core import extensions, wire
from interlock.core.effects import Refused
from interlock.core.messages import REQUEST_FAILURE, open_failure, request_success
from interlock.core.negotiation import Support
from interlock.core.refusal import Refusal
from interlock.testing import script as say
from interlock.testing.script import Script, to_client, to_target

PROHIBITED = wire.OPEN_ADMINISTRATIVELY_PROHIBITED
TEXT = 'too many session channels for user "alice" (max=2)'
TWO = Refusal(PROHIBITED, TEXT, "max_sessions limit reached", 2)
LOCKED = Refusal(PROHIBITED, "access is locked: call 4711", "lock l1 is in force")
QUERIES = [extensions.SESSION_ID_QUERY_V1, extensions.SESSION_ID_QUERY_V2]


@pytest.fixture
def limited() -> Script:
    """A connection that may have two sessions, with an OpenSSH server behind it."""
    script = Script(support=Support.NO)
    script.relay.limit_sessions(TWO)
    return script


def test_a_session_too_many_is_refused_before_the_target_hears_of_it(limited: Script) -> None:
    """With the field's words for the person, and the limit for the audit log."""
    limited.opens(0, 7)
    limited.client(say.session(1)) >> [to_target(say.session(1))]  # one that is being opened counts
    limited.client(say.session(2)) >> [
        to_client(open_failure(2, PROHIBITED, TEXT)),
        Refused("session", TEXT, "max_sessions limit reached", maximum=2),
    ]


def test_a_session_that_ended_makes_room(limited: Script) -> None:
    """When both sides have closed it."""
    limited.opens(0, 7)
    limited.opens(1, 8)
    limited.client(say.close(8)) >> ...
    assert limited.client(say.session(2)).effects[1:]
    limited.target(say.close(1)) >> ...
    limited.opens(2, 8)


def test_a_session_that_the_target_refused_takes_up_no_place(limited: Script) -> None:
    """Nor does one that we refused."""
    for number in range(5):
        limited.client(say.session(number)) >> [to_target(say.session(number))]
        limited.target(say.refuses(number, PROHIBITED, "no")) >> ...
    limited.opens(8, 8)
    limited.opens(9, 9)


def test_a_limit_that_policy_takes_back(limited: Script) -> None:
    """It is asked again while the connection lasts."""
    limited.opens(0, 7)
    limited.opens(1, 8)
    limited.relay.limit_sessions(None)
    limited.opens(2, 9)


@pytest.mark.parametrize("query", QUERIES)
def test_a_client_that_asks_before_it_opens_is_told_why_it_may_not(query: bytes) -> None:
    """FAILURE with the text, raw behind the message's type; and at once, since there is nobody else to ask."""
    script = Script(refusal=LOCKED)
    script.begins() >> []
    script.client(say.requests(query)) >> [to_client(REQUEST_FAILURE + b"access is locked: call 4711")]
    script.client(say.requests(query, reply=False)) >> []
    script.client(say.session(0)) >> ...


@pytest.mark.parametrize("query", QUERIES)
def test_the_answer_changes_with_policy(query: bytes) -> None:
    """Whoever is refused from now on learns it from the next query too."""
    script = Script(support=Support.NO)
    script.client(say.requests(query)) >> [to_client(request_success())]
    script.relay.refuse_from_now_on(LOCKED)
    script.client(say.requests(query)) >> [to_client(REQUEST_FAILURE + b"access is locked: call 4711")]


def test_what_shows_that_somebody_is_there(limited: Script) -> None:
    """Input always, output only where no terminal shows it; and every channel that is opened."""
    quiet = limited.relay.activity()
    limited.opens(0, 7)
    opened = limited.relay.activity()
    assert opened != quiet
    limited.client(say.pty(7)) >> ...
    limited.client(say.shell(7)) >> ...
    flow = {side: limited.relay.flow(0, side) for side in limited.relay.flows}
    (from_client, from_target) = flow.values()
    from_target.octets += 5000
    assert limited.relay.activity() == opened
    from_client.octets += 1
    assert limited.relay.activity() == opened + 1
    limited.opens(1, 8)
    before = limited.relay.activity()
    (_, from_target) = (limited.relay.flow(1, side) for side in limited.relay.flows)
    from_target.octets += 5000
    assert limited.relay.activity() == before + 5000

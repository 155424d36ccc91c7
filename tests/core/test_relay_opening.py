"""How session channels come to be, as transcripts: agreement, refusals, races and numbers used again."""

import pytest

from interlock.core import extensions, wire
from interlock.core.effects import Agreed, Closed, Effect, Refused, Send, StartTimer, StopTimer, TwinNamed
from interlock.core.errors import LocalProtocolError, Rule
from interlock.core.extensions import JoinMode, SessionParams
from interlock.core.limits import MAX_CHANNELS, MAX_REASON, SESSION_ID_WAIT_S
from interlock.core.messages import open_failure
from interlock.core.negotiation import NO_SESSION_ID, Support
from interlock.core.policy import NOT_RELAYED
from interlock.core.refusal import Refusal
from interlock.core.sides import Side
from interlock.testing import script as say
from interlock.testing.script import Script, sid, to_client, to_target

PROHIBITED = wire.OPEN_ADMINISTRATIVELY_PROHIBITED
FAILED = wire.OPEN_CONNECT_FAILED
SHORTAGE = wire.OPEN_RESOURCE_SHORTAGE
THEIRS = sid(1000)


def new_node() -> Script:
    """A target that shares its session IDs."""
    script = Script()
    script.begins() >> [to_target(say.query())]
    script.target(say.yes()) >> []
    return script


def sshd() -> Script:
    """A target that is never asked."""
    script = Script(support=Support.NO)
    script.begins() >> []
    return script


def accepted(client_no: int, target_no: int, agreed: str) -> list[Effect]:
    """What the client gets when its channel is accepted: the ID follows immediately."""
    return [to_client(say.confirms(client_no, target_no)), to_client(say.announces(client_no, agreed))]


def refused(client_no: int, code: int, text: str, reason: str = "") -> list[Effect]:
    """What a refusal before any answer of the target looks like."""
    return [to_client(open_failure(client_no, code, text)), Refused("session", text, reason or text)]


# --- the ways to an ID ------------------------------------------------------------------------------


def test_a_new_node_names_the_session() -> None:
    """The client is answered last, and learns the node's ID at once."""
    script = new_node()
    script.client(say.session(0)) >> [to_target(say.session(0))]
    script.target(say.confirms(0, 7)) >> [StartTimer(0, SESSION_ID_WAIT_S)]
    script.target(say.announces(0, THEIRS)) >> [StopTimer(0), Agreed(0, THEIRS), *accepted(0, 7, THEIRS)]
    assert script.minted == 0


@pytest.mark.parametrize("answer_first", [True, False])
def test_an_old_node_gets_an_id_of_ours(answer_first: bool) -> None:
    """An empty FAILURE, before or after it accepts the channel; its own ID comes after the shell."""
    script = Script()
    script.begins() >> [to_target(say.query())]
    minted = [StopTimer(0), Agreed(0, sid(1)), *accepted(0, 7, sid(1))]
    if answer_first:
        script.target(say.no()) >> []
        script.client(say.session(0)) >> [to_target(say.session(0))]
        script.target(say.confirms(0, 7)) >> minted
    else:
        script.client(say.session(0)) >> [to_target(say.session(0))]
        script.target(say.confirms(0, 7)) >> [StartTimer(0, SESSION_ID_WAIT_S)]
        script.target(say.no()) >> minted
    assert script.relay.has_twin(0)
    script.client(say.shell(7)) >> ...
    script.target(say.announces(0, THEIRS)) >> [TwinNamed(0, THEIRS)]
    script.target(say.announces(0, sid(1001))) >> []


def old_node(*client_nos: int, minted_counts: bool) -> Script:
    """Sessions on a node of before the contract, each with its shell."""
    script = Script(minted_counts=minted_counts)
    script.begins() >> ...
    script.target(say.no()) >> []
    for number in client_nos:
        script.client(say.session(number)) >> ...
        script.target(say.confirms(number, number + 7)) >> ...
        script.client(say.shell(number + 7)) >> ...
    return script


def test_a_client_hears_of_no_id_that_nobody_knows() -> None:
    """Where the old node records, the session has its ID alone: the client learns it when the node names it."""
    script = Script(minted_counts=False)
    script.begins() >> ...
    script.target(say.no()) >> []
    script.client(say.session(0)) >> ...
    script.target(say.confirms(0, 7)) >> [StopTimer(0), Agreed(0, sid(1)), to_client(say.confirms(0, 7))]
    script.client(say.shell(7)) >> ...
    named = to_client(say.announces(0, THEIRS))
    script.target(say.announces(0, THEIRS)) >> [named]
    script.target(say.announces(0, THEIRS)) >> []


@pytest.mark.parametrize("minted_counts", [True, False])
def test_an_old_node_names_no_two_channels_alike(minted_counts: bool) -> None:
    """Nor with an ID that we gave to another channel."""
    script = old_node(0, 1, minted_counts=minted_counts)
    script.target(say.announces(0, THEIRS)) >> ...
    script.target(say.announces(1, THEIRS)) >> Rule.SESSION_ID_REUSED
    script = old_node(0, 1, minted_counts=minted_counts)
    script.target(say.announces(1, sid(1))) >> Rule.SESSION_ID_REUSED


def test_the_word_of_an_openssh_server_counts_for_nothing() -> None:
    """It was never asked, so it has no twin, whatever it says."""
    script = sshd()
    script.opens(0, 7)
    script.client(say.shell(7)) >> ...
    assert not script.relay.has_twin(0)
    script.target(say.announces(0, THEIRS)) >> []


def test_an_openssh_server_is_not_asked() -> None:
    """It would answer, but cannot know; the ID is ours at once."""
    script = sshd()
    script.client(say.session(3)) >> [to_target(say.session(3))]
    script.target(say.confirms(3, 0)) >> [StopTimer(3), Agreed(3, sid(1)), *accepted(3, 0, sid(1))]


def test_an_announcement_that_outruns_the_answer() -> None:
    """The late answer changes nothing for this channel."""
    script = Script()
    script.begins() >> ...
    script.client(say.session(0)) >> ...
    script.target(say.confirms(0, 7)) >> [StartTimer(0, SESSION_ID_WAIT_S)]
    script.target(say.announces(0, THEIRS)) >> [StopTimer(0), Agreed(0, THEIRS), *accepted(0, 7, THEIRS)]
    script.target(say.yes()) >> []


def test_window_that_the_target_grants_early_is_not_lost() -> None:
    """The client hears of the channel once, with all the window there is by then."""
    script = new_node()
    script.client(say.session(0)) >> ...
    script.target(say.confirms(0, 7, 1000)) >> ...
    script.target(say.adjust(0, 24)) >> []
    script.target(say.adjust(0, 1)) >> []
    effects = script.target(say.announces(0, THEIRS)).effects
    assert to_client(say.confirms(0, 7, 1025)) in effects


def test_the_query_is_asked_once_per_connection() -> None:
    """Later channels know the answer."""
    script = new_node()
    for number in range(3):
        script.client(say.session(number)) >> [to_target(say.session(number))]
        script.target(say.confirms(number, number + 7)) >> [StartTimer(number, SESSION_ID_WAIT_S)]


# --- refusals ----------------------------------------------------------------------------------------


def test_the_targets_refusal_reaches_the_client_unchanged() -> None:
    """Its code and its text; the audit log has both."""
    script = new_node()
    script.client(say.session(0)) >> ...
    reason = "the target refused the channel with code 4: no ptys left"
    script.target(say.refuses(0, SHORTAGE, "no ptys left")) >> refused(0, SHORTAGE, "no ptys left", reason)


def test_a_long_refusal_is_cut() -> None:
    """The target's words have a bound, whatever bytes they are."""
    script = new_node()
    script.client(say.session(0)) >> ...
    long = say.refuses(0, FAILED, "x" * 100_000)
    sent, _ = script.target(long).effects
    assert isinstance(sent, Send)
    assert len(sent.payload) < MAX_REASON + 64


@pytest.mark.parametrize("payload", ["", "no-uuid", "\x1b[2J"])
def test_an_id_that_is_none_refuses_the_channel(payload: str) -> None:
    """Both ends are closed; what came is in the private reason only."""
    script = new_node()
    script.client(say.session(0)) >> ...
    script.target(say.confirms(0, 7)) >> ...
    stopped, sent, report, closing = script.target(say.announces(0, payload)).effects
    assert stopped == StopTimer(0)
    assert sent == to_client(open_failure(0, FAILED, NO_SESSION_ID))
    assert report == Refused("session", NO_SESSION_ID, f"not a session ID: {payload!r}")
    assert closing == to_target(say.close(7))
    script.target(say.close(0)) >> []


def test_a_target_that_never_names_the_session() -> None:
    """When the time is up the client is refused, and a late announcement is swallowed."""
    script = new_node()
    script.client(say.session(0)) >> ...
    script.target(say.confirms(0, 7)) >> ...
    script.does("the time is up", lambda: script.relay.timed_out(0)) >> [
        StopTimer(0),
        *refused(0, FAILED, NO_SESSION_ID, f"no session ID after {SESSION_ID_WAIT_S:g} s"),
        to_target(say.close(7)),
    ]
    script.target(say.announces(0, THEIRS)) >> []
    script.target(say.data(0)) >> []
    script.target(say.close(0)) >> []
    script.does("a late timer", lambda: script.relay.timed_out(0)) >> []


def test_a_target_that_closes_before_it_names_the_session() -> None:
    """Its CLOSE is answered, and the client refused."""
    script = new_node()
    script.client(say.session(0)) >> ...
    script.target(say.confirms(0, 7)) >> ...
    reason = "the target closed the channel before its ID was known"
    script.target(say.close(0)) >> [
        StopTimer(0),
        *refused(0, FAILED, NO_SESSION_ID, reason),
        to_target(say.close(7)),
    ]
    script.client(say.session(0)) >> [to_target(say.session(0))]


def test_a_node_that_rejects_the_connection() -> None:
    """FAILURE with text refuses what is open and all that comes, administratively; nothing is left at the node."""
    script = Script()
    script.begins() >> ...
    script.client(say.session(0)) >> ...
    script.client(say.session(1)) >> ...
    script.target(say.confirms(1, 7)) >> ...
    text = "remote session open failed: node is locked"
    script.target(say.no(b"node is locked")) >> [
        StopTimer(0),
        *refused(0, PROHIBITED, text),
        StopTimer(1),
        *refused(1, PROHIBITED, text),
        to_target(say.close(7)),
    ]
    script.client(say.session(2)) >> refused(2, PROHIBITED, text)
    script.target(say.confirms(0, 8)) >> [to_target(say.close(8))]
    script.target(say.close(0)) >> []
    script.target(say.close(1)) >> []
    assert script.relay.open_channels() == []


def test_without_a_target_every_channel_gets_the_reason() -> None:
    """The public text goes to the client, the private one to the audit log, and nobody is asked anything."""
    script = Script(refusal=Refusal(FAILED, "node web1 cannot be reached", "connect: ECONNREFUSED 10.0.0.5:22"))
    script.begins() >> []
    for kind in ("session", "direct-tcpip", "nonsense"):
        script.client(say.opening(kind, 0, say.tcp() if kind == "direct-tcpip" else b"")) >> [
            to_client(open_failure(0, FAILED, "node web1 cannot be reached")),
            Refused(kind, "node web1 cannot be reached", "connect: ECONNREFUSED 10.0.0.5:22"),
        ]
    script.client(say.requests(extensions.KEEPALIVE)) >> [to_client(say.no())]
    script.does("lost", script.relay.lost) >> []


@pytest.mark.parametrize("kind", list(NOT_RELAYED))
def test_what_is_never_relayed_is_refused_with_a_clear_text_and_reported_once(kind: str) -> None:
    """A person asked for it, so a person is told."""
    script = new_node()
    text = f"{NOT_RELAYED[kind]} is not available through this gateway"
    script.client(say.opening(kind, 4, b"whatever")) >> [
        to_client(open_failure(4, PROHIBITED, text)),
        Refused(kind, text, text),
    ]


def test_an_unknown_channel_type_is_called_unknown() -> None:
    """The code that RFC 4254 §5.1 has for it; a long name is cut."""
    script = new_node()
    kind = "x" * 1000
    script.client(say.opening(kind, 4)) >> [
        to_client(open_failure(4, wire.OPEN_UNKNOWN_CHANNEL_TYPE, "unknown channel type")),
        Refused(kind[:64], "unknown channel type", f"unknown channel type {kind[:64]}"),
    ]


@pytest.mark.parametrize("kind", ["session", "tun@openssh.com", "x" * 1000])
def test_the_target_opens_nothing_that_it_may_not(kind: str) -> None:
    """The client never hears of it."""
    script = new_node()
    text = f"the target tried to open a channel of type {kind[:64]}"
    script.target(say.opening(kind, 4)) >> [
        to_target(open_failure(4, PROHIBITED, text)),
        Refused(kind[:64], text, text),
    ]


def test_no_more_sessions_is_kept_to() -> None:
    """The client's own promise, so that nothing on its side opens one behind its back."""
    script = new_node()
    script.opens(0, 7)
    script.client(say.requests(extensions.NO_MORE_SESSIONS, reply=False)) >> []
    script.client(say.session(1)) >> refused(1, PROHIBITED, "the client declared that it opens no more sessions")
    assert script.relay.open_channels() == [0]


# --- session parameters ------------------------------------------------------------------------------

PARAMS = SessionParams(reason="fix it").encode()


@pytest.mark.parametrize(("passes", "extra"), [(True, PARAMS), (False, b"")])
def test_session_parameters_reach_only_who_reads_them(passes: bool, extra: bytes) -> None:
    """An OpenSSH server would end the connection over them."""
    script = Script(support=Support.NO, passes_params=passes)
    script.client(say.session(0, PARAMS)) >> [to_target(say.session(0, extra))]


def test_malformed_session_parameters_refuse_the_channel() -> None:
    """The channel, not the connection: other sessions on it go on."""
    script = new_node()
    script.opens(0, 7)
    sent, report = script.client(say.session(1, b"\x01")).effects
    assert sent == to_client(open_failure(1, FAILED, "malformed session parameters"))
    assert isinstance(report, Refused)
    assert report.reason.startswith("protocol error: a message could not be decoded")
    assert script.relay.open_channels() == [0]


def test_joining_is_refused_before_the_target_hears_of_it() -> None:
    """A node never names the session of a joining party, so waiting for that would hang."""
    script = new_node()
    join = SessionParams(join_session_id=THEIRS, join_mode=JoinMode.PEER).encode()
    text = f"this connection leads to a host: join the session with ssh join%{THEIRS}@GATEWAY"
    script.client(say.session(0, join)) >> refused(0, PROHIBITED, text)


# --- numbers -----------------------------------------------------------------------------------------


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


# --- the performer's say -------------------------------------------------------------------------------


def test_the_performer_may_reject_what_was_agreed() -> None:
    """The session cannot be recorded, say: the client is refused, the target's channel closed."""
    script = new_node()
    refusal = Refusal(SHORTAGE, "no new sessions for now", "disk full")
    script.on_agreed = lambda agreed: script.relay.reject(agreed.channel, refusal)
    script.client(say.session(0)) >> ...
    script.target(say.confirms(0, 7)) >> ...
    script.target(say.announces(0, THEIRS)) >> [
        StopTimer(0),
        Agreed(0, THEIRS),
        StopTimer(0),
        *refused(0, SHORTAGE, "no new sessions for now", "disk full"),
        to_target(say.close(7)),
        Closed(0, 0, 0),
    ]
    script.target(say.close(0)) >> []


def test_a_channel_is_accepted_once() -> None:
    """A second call does nothing."""
    script = sshd()
    script.opens(0, 7)
    script.does("accept again", lambda: script.relay.accept(0)) >> []


def test_a_channel_that_is_none_is_our_own_bug() -> None:
    """Not the peer's offence."""
    relay = Script().relay
    with pytest.raises(LocalProtocolError):
        relay.accept(0)
    with pytest.raises(LocalProtocolError):
        relay.flow(0, Side.CLIENT)


# --- the client vanishes ---------------------------------------------------------------------------------


def test_the_client_vanishes_in_each_state() -> None:
    """Every timer is stopped, each session that was agreed ends once, and nothing is left."""
    script = new_node()
    script.opens(0, 7)  # open
    script.client(say.session(1)) >> ...  # opening
    script.client(say.session(2)) >> ...
    script.target(say.confirms(2, 9)) >> ...  # negotiating
    script.opens(3, 10)
    script.client(say.close(10)) >> ...  # half closed
    script.opens(4, 11)
    script.does("terminate", lambda: script.relay.terminate(4, "over")) >> ...  # its end was told
    script.does("lost", script.relay.lost) >> [
        StopTimer(0),
        Closed(0, 0, 0),
        StopTimer(1),
        StopTimer(2),
        StopTimer(3),
        Closed(3, 0, 0),
        StopTimer(4),
    ]
    assert script.relay.flows == {Side.CLIENT: {}, Side.TARGET: {}}
    script.does("lost again", script.relay.lost) >> []

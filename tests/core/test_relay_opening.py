"""How session channels come to be, as transcripts: agreement, refusals and races."""

import pytest

from interlock.core import extensions, wire
from interlock.core.effects import Agreed, Closed, Refused, Send, StartTimer, StopTimer, TwinNamed
from interlock.core.errors import LocalProtocolError, Rule
from interlock.core.extensions import JoinMode, SessionParams
from interlock.core.limits import MAX_REASON, SESSION_ID_WAIT_S
from interlock.core.messages import open_failure
from interlock.core.negotiation import NO_SESSION_ID, Support
from interlock.core.policy import NOT_RELAYED
from interlock.core.refusal import Refusal
from interlock.core.sides import Side
from interlock.testing import script as say
from interlock.testing.script import Script, accepted, new_node, refused, sid, sshd, to_client, to_target

PROHIBITED = wire.OPEN_ADMINISTRATIVELY_PROHIBITED
FAILED = wire.OPEN_CONNECT_FAILED
SHORTAGE = wire.OPEN_RESOURCE_SHORTAGE
THEIRS = sid(1000)


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

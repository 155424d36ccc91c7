"""Forwarded channels: who may open which, what each side and the outside learn, and that nothing else gets by."""

import pytest

from interlock.core import wire
from interlock.core.effects import (
    Closed,
    ForwardClosed,
    ForwardFailed,
    ForwardOpened,
    Granted,
    ListenBegan,
    Refused,
    Send,
)
from interlock.core.errors import Rule
from interlock.core.forward import AGENT_REQUEST, REQUEST_WORDS, RULES, X11_REQUEST, Grants, Kind
from interlock.core.limits import MAX_FORWARD_ADDRESS, MAX_FORWARDS, MAX_LISTENERS
from interlock.core.messages import open_failure
from interlock.core.negotiation import Support
from interlock.core.sides import Side
from interlock.core.wire import string, uint32
from interlock.testing import script as say
from interlock.testing.script import Script, to_client, to_target

ALL = Grants(local=True, remote=True, x11=True, agent=True)
PROHIBITED = wire.OPEN_ADMINISTRATIVELY_PROHIBITED

EXTRA: dict[Kind, tuple[bytes, str, str]] = {
    Kind.PORT: (say.tcp(), "db:5432", "127.0.0.1:40000"),
    Kind.SOCKET: (string("/run/db.sock") + string("") + uint32(0), "/run/db.sock", ""),
    Kind.FROM_PORT: (say.tcp("localhost", 8080, "::1", 9), "localhost:8080", "[::1]:9"),
    Kind.FROM_SOCKET: (string("/tmp/s") + string(""), "/tmp/s", ""),
    Kind.X11: (string("127.0.0.1") + uint32(6), "X11 display", "127.0.0.1:6"),
    Kind.AGENT: (b"", "key agent", ""),
}


def world() -> Script:
    """A session runs on a plain sshd, X11 and agent are asked for, a port and a socket are listened on."""
    script = Script(support=Support.NO, grants=ALL)
    script.opens(0, 7)
    for what in (X11_REQUEST, AGENT_REQUEST):
        script.client(say.asks(7, what.encode(), reply=True)) >> ...
        script.target(say.success(0)) >> ...
    script.client(say.shell(7)) >> ...
    script.target(say.success(0)) >> ...
    script.client(say.listen()) >> ...
    script.target(say.yes()) >> ...
    script.client(say.requests(b"streamlocal-forward@openssh.com", string("/tmp/s"))) >> ...
    script.target(say.yes()) >> ...
    return script


def sends(script: Script, side: Side, payload: bytes) -> say.Step:
    """That side sends."""
    return script.feeds(side, payload)


@pytest.mark.parametrize("kind", list(Kind))
def test_the_life_of_a_forward(kind: Kind) -> None:
    """Open, confirmed, data both ways without the core, closed from both sides; numbers are kept end to end."""
    extra, address, origin = EXTRA[kind]
    opener, script = RULES[kind].opener, world()
    mine, theirs = 3, 12  # the opener's number, the other side's
    opening = say.opening(kind.value, mine, extra)
    sends(script, opener, opening) >> [Send(opener.other, opening)]
    confirmation = say.confirms(mine, theirs)
    session = 0 if kind in (Kind.X11, Kind.AGENT) else None
    sends(script, opener.other, confirmation) >> [
        Send(opener, confirmation),
        ForwardOpened(0, kind.value, address, origin, session),
    ]
    flows = script.relay.flows
    flows[opener][theirs].octets += 5
    flows[opener.other][mine].octets += 7
    sends(script, opener, say.eof(theirs)) >> [Send(opener.other, say.eof(theirs))]
    sends(script, opener, say.close(theirs)) >> [Send(opener.other, say.close(theirs))]
    assert theirs not in flows[opener]
    sent, received = (5, 7) if opener is Side.CLIENT else (7, 5)
    sends(script, opener.other, say.close(mine)) >> [
        Send(opener, say.close(mine)),
        ForwardClosed(0, sent, received),
    ]
    assert set(flows[Side.CLIENT]) == {7}
    assert set(flows[Side.TARGET]) == {0}


@pytest.mark.parametrize("kind", list(Kind))
def test_the_wrong_side_opens_nothing(kind: Kind) -> None:
    """A client does not play the server, nor the other way round."""
    side = RULES[kind].opener.other
    text = f"the {side.value} tried to open a channel of type {kind.value}"
    extra, address, _ = EXTRA[kind]
    sends(world(), side, say.opening(kind.value, 20, extra)) >> [
        Send(side, open_failure(20, PROHIBITED, text)),
        ForwardFailed(kind.value, address, text, text),
    ]


@pytest.mark.parametrize("kind", list(Kind))
def test_without_the_grant_it_is_refused_in_words(kind: Kind) -> None:
    """By role, towards whoever asked, and the audit log hears of it (R5)."""
    rules = RULES[kind]
    script = Script(support=Support.NO)
    script.opens(0, 7)
    text = f"{rules.words} is not allowed by your roles"
    extra, address, _ = EXTRA[kind]
    sends(script, rules.opener, say.opening(kind.value, 20, extra)) >> [
        Send(rules.opener, open_failure(20, PROHIBITED, text)),
        ForwardFailed(kind.value, address, text, text),
    ]


def test_what_is_no_address_is_not_kept() -> None:
    """A host of a packet's length, times all forwards that may be open: it is refused, whoever names it."""
    long = "h" * (MAX_FORWARD_ADDRESS + 1)
    script = world()
    asks = (
        (Side.CLIENT, say.direct(20, long)),
        (Side.TARGET, say.opening(Kind.FROM_PORT.value, 21, say.tcp(long, 8080))),
        (Side.CLIENT, say.requests(b"tcpip-forward", string(long) + uint32(22))),
        (Side.CLIENT, say.requests(b"streamlocal-forward@openssh.com", string(long))),
    )
    for side, ask in asks:
        [failed] = [each for each in sends(script, side, ask).effects if isinstance(each, ForwardFailed)]
        assert (len(failed.address), failed.public) == (
            MAX_FORWARD_ADDRESS,
            "no address has more than 512 characters",
        )
    script.client(say.direct(23, long[:MAX_FORWARD_ADDRESS])) >> [
        to_target(say.direct(23, long[:MAX_FORWARD_ADDRESS]))
    ]


@pytest.mark.parametrize("kind", [kind for kind in Kind if RULES[kind].opener is Side.TARGET])
def test_the_target_opens_only_what_was_asked_for(kind: Kind) -> None:
    """With every grant, but without a request of the client's."""
    script = Script(support=Support.NO, grants=ALL)
    script.opens(0, 7)
    text = f"the target opened a channel of type {kind.value} that the client had not asked for"
    extra, address, _ = EXTRA[kind]
    script.target(say.opening(kind.value, 20, extra)) >> [
        to_target(open_failure(20, PROHIBITED, text)),
        ForwardFailed(kind.value, address, text, text),
    ]


def test_where_the_target_judges_it_gets_the_question() -> None:
    """A node that records judges forwards itself: refusals and events are its own."""
    script = Script(support=Support.NO, grants=Grants(judges=False), reach=lambda _host, _port: "not there")
    script.client(say.direct(3)) >> [to_target(say.direct(3))]
    script.client(say.listen()) >> [to_target(say.listen())]


def test_the_other_sides_refusal_reaches_the_opener() -> None:
    """Its own code and text."""
    script = world()
    script.client(say.direct(3)) >> ...
    refused = say.refuses(3, wire.OPEN_CONNECT_FAILED, "Connection refused")
    reason = "the target refused it with code 2: Connection refused"
    script.target(refused) >> [
        to_client(refused),
        ForwardFailed("direct-tcpip", "db:5432", "Connection refused", reason),
    ]
    script.client(say.direct(3)) >> [to_target(say.direct(3))]


def test_a_forbidden_address_is_refused() -> None:
    """What `reach` says goes to the person and to the audit log."""
    script = Script(grants=ALL, support=Support.NO, reach=lambda host, port: f"not to {host}, {port}")
    script.client(say.direct(3)) >> [
        to_client(open_failure(3, PROHIBITED, "not to db, 5432")),
        ForwardFailed("direct-tcpip", "db:5432", "not to db, 5432", "not to db, 5432"),
    ]


@pytest.mark.parametrize("extra", [b"", b"\0\0\0\5ab", say.tcp() + b"x", string(b"\xff") + say.tcp()[6:]])
def test_a_malformed_address_is_an_offence(extra: bytes) -> None:
    """Nothing is guessed."""
    world().client(say.opening("direct-tcpip", 3, extra)) >> Rule.MALFORMED_MESSAGE


def test_a_number_is_used_once() -> None:
    """By sessions and forwards together, for each side's own numbers."""
    script = world()
    script.client(say.direct(0)) >> Rule.CHANNEL_IN_USE
    script = world()
    script.target(say.opening("forwarded-tcpip", 7, EXTRA[Kind.FROM_PORT][0])) >> Rule.CHANNEL_IN_USE
    script = world()
    script.client(say.direct(3)) >> ...
    script.target(say.confirms(3, 7)) >> Rule.CHANNEL_IN_USE
    script = world()
    script.client(say.session(3)) >> ...
    script.client(say.direct(3)) >> Rule.CHANNEL_IN_USE


def test_there_are_only_so_many() -> None:
    """Beyond the limit a forward is refused, and the connection goes on."""
    script = world()
    for number in range(100, 100 + MAX_FORWARDS):
        script.client(say.direct(number)) >> ...
    text = f"too many forwarded connections at once (at most {MAX_FORWARDS})"
    script.client(say.direct(3)) >> [
        to_client(open_failure(3, wire.OPEN_RESOURCE_SHORTAGE, text)),
        ForwardFailed("direct-tcpip", "db:5432", text, text),
    ]


def test_data_before_the_answer_is_an_offence() -> None:
    """Neither side has a number to send to."""
    script = world()
    script.client(say.direct(3)) >> ...
    script.target(say.data(3)) >> Rule.UNKNOWN_CHANNEL


@pytest.mark.parametrize("request_", [b"shell", b"exec", b"pty-req", b"current-session-id@goteleport.com"])
def test_nothing_starts_on_a_forward(request_: bytes) -> None:
    """A recording would miss it."""
    script = world()
    script.client(say.direct(3)) >> ...
    script.target(say.confirms(3, 12)) >> ...
    script.client(say.asks(12, request_, string("id"), reply=True)) >> [to_client(say.failure(3))]
    script.client(say.asks(12, b"eow@openssh.com")) >> [to_target(say.asks(12, b"eow@openssh.com"))]


def test_what_is_open_ends_with_the_connection() -> None:
    """Each forward once, before the session that it may belong to."""
    script = world()
    script.client(say.direct(3)) >> ...
    script.target(say.confirms(3, 12)) >> ...
    script.client(say.direct(4)) >> ...
    effects = script.does("lost", script.relay.lost).effects
    assert [e for e in effects if isinstance(e, ForwardClosed | Closed)] == [
        ForwardClosed(0, 0, 0),
        Closed(0, 0, 0),
    ]
    assert script.relay.flows == {Side.CLIENT: {}, Side.TARGET: {}}


# --- listening -----------------------------------------------------------------------------------------


def test_a_port_that_the_target_chooses() -> None:
    """It is named in the reply (RFC 4254 §7.1), and only channels from it are let through."""
    script = Script(support=Support.NO, grants=ALL)
    script.client(say.listen("", 0)) >> [to_target(say.listen("", 0))]
    script.target(say.yes(uint32(41000))) >> [
        to_client(say.yes(uint32(41000))),
        ListenBegan("tcpip-forward", ":41000"),
    ]
    script.target(say.opening("forwarded-tcpip", 5, say.tcp("", 41000))) >> [
        to_client(say.opening("forwarded-tcpip", 5, say.tcp("", 41000)))
    ]
    script.target(say.opening("forwarded-tcpip", 6, say.tcp("", 41001))).effects  # noqa: B018
    script.client(say.listen("", 41000, name=b"cancel-tcpip-forward")) >> ...
    effects = script.target(say.opening("forwarded-tcpip", 6, say.tcp("", 41000))).effects
    assert isinstance(effects[1], ForwardFailed)


def test_a_refused_listener_is_told() -> None:
    """By the target, and by us."""
    script = Script(support=Support.NO, grants=ALL)
    script.client(say.listen()) >> ...
    text = "the host refused remote port forwarding"
    script.target(say.no()) >> [to_client(say.no()), ForwardFailed("tcpip-forward", ":8080", text, text)]
    script = Script(support=Support.NO)
    for name in ("tcpip-forward", "streamlocal-forward@openssh.com"):
        text = f"{REQUEST_WORDS[name]} is not allowed by your roles"
        rest = string("/tmp/s") if "streamlocal" in name else string("") + uint32(8080)
        address = "/tmp/s" if "streamlocal" in name else ":8080"
        script.client(say.requests(name.encode(), rest)) >> [
            ForwardFailed(name, address, text, text),
            to_client(say.no()),
        ]


def test_an_unanswered_port_cannot_be_chosen_by_the_target() -> None:
    """Nobody would learn it, and what came from it could not be told from what was not asked for."""
    script = Script(support=Support.NO, grants=ALL)
    effects = script.client(say.listen("", 0, reply=False)).effects
    assert [type(effect) for effect in effects] == [ForwardFailed]


def test_there_are_only_so_many_listeners() -> None:
    """Each is a name that we keep."""
    script = Script(support=Support.NO, grants=ALL)
    for port in range(1, MAX_LISTENERS + 1):
        script.client(say.listen("", port)) >> ...
        script.target(say.yes()) >> ...
    effects = script.client(say.listen("", 9999)).effects
    assert isinstance(effects[0], ForwardFailed)
    assert effects[1] == to_client(say.no())


def test_grants_may_change_while_the_connection_lasts() -> None:
    """Policy is asked again."""
    script = Script(support=Support.NO)
    script.client(say.direct(3)).effects  # noqa: B018
    script.relay.grant(ALL)
    script.client(say.direct(3)) >> [to_target(say.direct(3))]


# --- X11 and the agent -----------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [X11_REQUEST, AGENT_REQUEST])
def test_a_grant_within_a_session(what: str) -> None:
    """Told when the target agrees; a second request is refused; what the target refuses is not granted."""
    script = Script(support=Support.NO, grants=ALL)
    script.opens(0, 7)
    asked = say.asks(7, what.encode(), reply=True)
    script.client(asked) >> [to_target(asked)]
    script.client(asked) >> []
    text = f"the host refused {REQUEST_WORDS[what]}"
    script.target(say.failure(0)) >> [
        to_client(say.failure(0)),
        to_client(say.failure(0)),
        Refused(what, text, text, 0),
    ]
    script.client(asked) >> [to_target(asked)]
    script.target(say.success(0)) >> [to_client(say.success(0)), Granted(what, 0)]


@pytest.mark.parametrize("what", [X11_REQUEST, AGENT_REQUEST])
def test_without_the_grant_the_request_fails(what: str) -> None:
    """In its order, with a text for the audit log."""
    script = Script(support=Support.NO)
    script.opens(0, 7)
    text = f"{REQUEST_WORDS[what]} is not allowed by your roles"
    script.client(say.asks(7, what.encode())) >> [Refused(what, text, text, 0)]
    script.client(say.pty(7)) >> [to_target(say.pty(7))]
    script.client(say.asks(7, what.encode(), reply=True)) >> [Refused(what, text, text, 0)]
    script.target(say.success(0)) >> [to_client(say.success(0)), to_client(say.failure(0))]


def test_the_session_that_asked_last_has_the_channel() -> None:
    """The wire does not say whose it is; a session that ended has none any more."""
    script = world()
    script.opens(1, 8)
    script.client(say.asks(8, AGENT_REQUEST.encode())) >> ...
    script.target(say.opening(Kind.AGENT.value, 30)) >> ...
    opened = script.client(say.confirms(30, 5)).effects[1]
    assert opened == ForwardOpened(0, Kind.AGENT.value, "key agent", "", 1)
    script.client(say.close(8)) >> ...
    script.target(say.close(1)) >> ...
    script.target(say.opening(Kind.AGENT.value, 31)) >> ...
    opened = script.client(say.confirms(31, 6)).effects[1]
    assert opened == ForwardOpened(1, Kind.AGENT.value, "key agent", "", 0)

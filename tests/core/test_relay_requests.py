"""What sessions carry, as transcripts: requests, replies in order, ends, keepalives, termination."""

from functools import partial

import pytest

from interlock.core import extensions
from interlock.core.effects import Closed, Effect, Exited, Refused, Resized, Started, StartRequest
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.forward import Grants
from interlock.core.limits import KEEPALIVE_MAX_MISSED, MAX_ENV_BYTES, MAX_ENV_VARS, MAX_PENDING_REPLIES
from interlock.core.messages import stderr_data
from interlock.core.negotiation import Support
from interlock.core.refusal import Refusal
from interlock.core.relay import Relay, RelayOptions
from interlock.core.sides import Side
from interlock.core.wire import string, uint32
from interlock.testing import script as say
from interlock.testing.script import Script, to_client, to_target


@pytest.fixture
def script() -> Script:
    """An open channel: 0 for the client, 7 for the target, which is an OpenSSH server."""
    script = Script(support=Support.NO)
    script.opens(0, 7)
    return script


def started(
    kind: str,
    command: bytes = b"",
    *,
    term: str = "",
    window: tuple[int, int] | None = None,
    reply: bool = True,
) -> Started:
    """The effect for a start on channel 0."""
    return Started(0, StartRequest(kind, command, term, window), reply)


# --- whole sessions --------------------------------------------------------------------------------


def test_a_shell_on_a_terminal(script: Script) -> None:
    """What ssh does from pty-req to the last CLOSE; every message arrives as it was sent."""
    script.client(say.pty(7)) >> [to_target(say.pty(7))]
    script.client(say.env(7, "LANG", "de_DE.UTF-8")) >> [to_target(say.env(7, "LANG", "de_DE.UTF-8"))]
    script.client(say.shell(7)) >> [
        started("shell", term="xterm", window=(80, 24)),
        to_target(say.shell(7)),
    ]
    script.target(say.success(0)) >> [to_client(say.success(0))]
    script.target(say.success(0)) >> [to_client(say.success(0))]
    script.client(say.resize(7, 132, 43)) >> [Resized(0, 132, 43), to_target(say.resize(7, 132, 43))]
    interrupt = say.asks(7, b"signal", string("INT"))
    script.client(interrupt) >> [to_target(interrupt)]
    pause = say.asks(7, b"break", uint32(500), reply=True)
    script.client(pause) >> [to_target(pause)]
    script.target(say.failure(0)) >> [to_client(say.failure(0))]
    script.target(say.asks(0, b"xon-xoff", b"\x01")) >> [to_client(say.asks(0, b"xon-xoff", b"\x01"))]
    script.target(say.exit_status(0, 3)) >> [Exited(0, 3, None), to_client(say.exit_status(0, 3))]
    script.target(say.eof(0)) >> [to_client(say.eof(0))]
    script.target(say.close(0)) >> [to_client(say.close(0))]
    script.client(say.close(7)) >> [to_target(say.close(7)), Closed(0, 0, 0)]
    assert script.relay.flows == {Side.CLIENT: {}, Side.TARGET: {}}


@pytest.mark.parametrize("side", list(Side))
def test_no_data_flows_before_something_runs(script: Script, side: Side) -> None:
    """It would be in no recording, so it is an offence of whoever sends it (R1)."""
    assert script.relay.flows == {Side.CLIENT: {}, Side.TARGET: {}}
    script.feeds(side, say.data(7 if side is Side.CLIENT else 0, b"psst")) >> Rule.UNEXPECTED_MESSAGE


def test_a_command_with_half_closed_input(script: Script) -> None:
    """The client's EOF does not end its output: eof, then exit-signal, then eof and close from the other side."""
    command = b"sort; echo \xff\x00"
    script.client(say.runs(7, command)) >> [started("exec", command), to_target(say.runs(7, command))]
    script.client(say.eof(7)) >> [to_target(say.eof(7))]
    assert 0 in script.relay.flows[Side.TARGET]
    script.target(say.asks(0, b"eow@openssh.com")) >> [to_client(say.asks(0, b"eow@openssh.com"))]
    script.target(say.exit_signal(0, "TERM")) >> [Exited(0, None, "TERM"), to_client(say.exit_signal(0, "TERM"))]
    script.target(say.eof(0)) >> [to_client(say.eof(0))]
    script.client(say.close(7)) >> [to_target(say.close(7))]
    assert 0 in script.relay.flows[Side.TARGET]  # what is on its way still arrives
    assert 7 not in script.relay.flows[Side.CLIENT]
    script.target(say.close(0)) >> [to_client(say.close(0)), Closed(0, 0, 0)]


@pytest.mark.parametrize("reply", [True, False])
def test_a_subsystem(script: Script, reply: bool) -> None:
    """Its name is known; want_reply is kept."""
    wanted = say.subsystem(7, "sftp", reply=reply)
    script.client(wanted) >> [started("subsystem", b"sftp", reply=reply), to_target(wanted)]
    if not reply:
        script.target(say.success(0)) >> Rule.UNSOLICITED_REPLY


def test_octets_are_counted_for_the_end(script: Script) -> None:
    """The data path counts; the end says so, from the client's view: sent, received."""
    script.relay.flow(0, Side.CLIENT).octets = 11
    script.relay.flow(0, Side.TARGET).octets = 22
    script.client(say.close(7)) >> ...
    script.target(say.close(0)) >> [to_client(say.close(0)), Closed(0, 11, 22)]


def test_the_command_waits_for_the_performer(script: Script) -> None:
    """Nothing is passed on before the session could be started."""
    script.on_started = lambda _: []
    script.client(say.runs(7, "id")) >> [started("exec", b"id")]
    script.does("begin", lambda: script.relay.begin(0, "exec", b"id", want_reply=True)) >> [
        to_target(say.runs(7, "id"))
    ]


def test_a_session_that_cannot_be_recorded_is_ended_instead_of_begun(script: Script) -> None:
    """The person reads why on standard error; the target never saw the command."""
    script.on_started = lambda effect: script.relay.terminate(effect.channel, "cannot record\r\n")
    script.client(say.runs(7, "id")) >> [
        started("exec", b"id"),
        to_client(stderr_data(0, "cannot record\r\n")),
        to_client(say.close(0)),
        to_target(say.close(7)),
        Closed(0, 0, 0),
    ]


# --- what comes too early, too late or too often (R19) ----------------------------------------------


@pytest.mark.parametrize("second", [say.shell(7), say.runs(7, "id"), say.subsystem(7, "sftp")])
def test_a_channel_runs_one_thing(script: Script, second: bytes) -> None:
    """The second start is refused and reported, whether the target took the first or not."""
    script.client(say.shell(7)) >> ...
    script.target(say.failure(0)) >> [to_client(say.failure(0))]
    report, answer = script.client(second).effects
    assert isinstance(report, Refused)
    assert report.public == "this channel already runs a command"
    assert answer == to_client(say.failure(0))


def test_a_second_start_is_refused_behind_the_first_ones_reply(script: Script) -> None:
    """Replies have no number: ours may not overtake the target's."""
    script.client(say.shell(7)) >> ...
    (report,) = script.client(say.runs(7, "id")).effects
    assert isinstance(report, Refused)
    script.target(say.success(0)) >> [to_client(say.success(0)), to_client(say.failure(0))]


def test_a_terminal_that_the_certificate_withholds() -> None:
    """Refused, and told; the session goes on without one, and a target that judges for itself is asked."""
    script = Script(support=Support.NO, grants=Grants(pty=False))
    script.opens(0, 7)
    text = "your certificate or key is restricted to sessions without a terminal"
    script.client(say.pty(7)) >> [Refused("pty-req", text, text, 0), to_client(say.failure(0))]
    script.client(say.shell(7)) >> [started("shell"), to_target(say.shell(7))]
    judged = Script(support=Support.NO, grants=Grants(pty=False, judges=False))
    judged.opens(0, 7)
    judged.client(say.pty(7)) >> [to_target(say.pty(7))]


@pytest.mark.parametrize("late", [say.pty(7), say.env(7, "A", "1", reply=True)])
def test_terminal_and_environment_come_before_the_start(script: Script, late: bytes) -> None:
    """What the session was started with is what the audit log says."""
    script.client(say.shell(7)) >> ...
    script.target(say.success(0)) >> ...
    script.client(late) >> [to_client(say.failure(0))]


def test_the_environment_has_a_bound_in_number(script: Script) -> None:
    """Requests count, also when they set one variable again and again."""
    for _ in range(MAX_ENV_VARS):
        script.client(say.env(7, "A", "1")) >> [to_target(say.env(7, "A", "1"))]
    script.client(say.env(7, "A", "1", reply=True)) >> [to_client(say.failure(0))]
    script.client(say.env(7, "B", "1")) >> []


def test_the_environment_has_a_bound_in_bytes(script: Script) -> None:
    """Names and values together; what does not fit is refused, and a smaller one may still come."""
    half = "x" * (MAX_ENV_BYTES // 2)
    script.client(say.env(7, "A", half)) >> [to_target(say.env(7, "A", half))]
    script.client(say.env(7, "B", half, reply=True)) >> [to_client(say.failure(0))]
    script.client(say.env(7, "C", "1")) >> [to_target(say.env(7, "C", "1"))]
    effects = script.client(say.shell(7)).effects
    assert effects[0] == started("shell")


def test_many_variables_in_one_request_count_as_many(script: Script) -> None:
    """The extension's request is held to the same bounds."""
    good = say.asks(7, extensions.ENVS, string(b'{"A":"1","B":"2"}'), reply=True)
    script.client(good) >> [to_target(good)]
    script.target(say.success(0)) >> [to_client(say.success(0))]
    flood = b"{" + b",".join(b'"V%d":""' % n for n in range(MAX_ENV_VARS)) + b"}"
    for bad in (flood, b'{"A":"%s"}' % (b"x" * MAX_ENV_BYTES)):
        script.client(say.asks(7, extensions.ENVS, string(bad), reply=True)) >> [to_client(say.failure(0))]
    effects = script.client(say.shell(7)).effects
    assert effects[0] == started("shell")
    script.target(say.success(0)) >> ...
    script.client(good) >> [to_client(say.failure(0))]


@pytest.mark.parametrize("value", [b"", b"[]", b'{"A":1}', b'{"A":null}', b"\xff", b"[" * 30_000, b"1" * 5000])
def test_a_senseless_environment_is_refused(script: Script, value: bytes) -> None:
    """It never reaches the target."""
    script.client(say.asks(7, extensions.ENVS, string(value), reply=True)) >> [to_client(say.failure(0))]


def test_a_size_without_a_terminal_is_dropped(script: Script) -> None:
    """There is nothing to resize; window-change has no reply."""
    script.client(say.resize(7, 80, 24)) >> []


MALFORMED = [
    say.asks(7, b"pty-req", string("xterm") + uint32(80)),
    say.asks(7, b"pty-req", string(b"\xff") + uint32(80) + uint32(24)),
    say.asks(7, b"env", string("A")),
    say.asks(7, b"env", string("A") + string("1") + b"\x00"),
    say.asks(7, b"pty-req", string("xterm") + uint32(80) * 4 + string("") + b"\x00"),
    say.asks(7, b"exec"),
    say.asks(7, b"exec", string("id") + b"\x00"),
    say.asks(7, b"shell", b"\x00"),
    say.asks(7, b"subsystem", uint32(5) + b"sftp"),
]


@pytest.mark.parametrize("request_", MALFORMED)
def test_a_malformed_request_is_an_offence(script: Script, request_: bytes) -> None:
    """What the recorder understood and what the target understands must be the same."""
    script.client(request_) >> Rule.MALFORMED_MESSAGE


@pytest.mark.parametrize(
    "request_",
    [
        say.asks(0, b"exit-status", b"\x00"),
        say.asks(0, b"exit-status", uint32(0) + b"\x00"),
        say.asks(0, b"exit-signal"),
    ],
)
def test_a_malformed_end_is_the_targets_offence(script: Script, request_: bytes) -> None:
    """No status is invented."""
    script.target(request_) >> Rule.MALFORMED_MESSAGE


def test_a_signals_name_is_bounded_text(script: Script) -> None:
    """It goes into the audit log."""
    effects = script.target(say.asks(0, b"exit-signal", string(b"\xff" + b"K" * 1000))).effects
    assert effects[0] == Exited(0, None, "\ufffd" + "K" * 31)


def test_nothing_starts_on_a_channel_that_the_target_closed(script: Script) -> None:
    """The command crossed the CLOSE; no session is recorded for what cannot run."""
    script.target(say.close(0)) >> [to_client(say.close(0))]
    script.client(say.runs(7, "id")) >> []
    script.client(say.close(7)) >> [to_target(say.close(7)), Closed(0, 0, 0)]


def test_an_end_that_is_reported_after_the_client_closed_is_still_heard(script: Script) -> None:
    """The audit log wants the status even when the client does not."""
    script.client(say.runs(7, "id", reply=False)) >> ...
    script.client(say.close(7)) >> ...
    script.target(say.exit_status(0, 0)) >> [Exited(0, 0, None), to_client(say.exit_status(0, 0))]


# --- replies and refusals ----------------------------------------------------------------------------


def test_puttys_probe_fails_in_its_order(script: Script) -> None:
    """PuTTY measures with a request that nobody knows, and needs its FAILURE behind the replies before it."""
    probe = say.asks(7, b"winadj@putty.projects.tartarus.org", reply=True)
    script.client(probe) >> [to_client(say.failure(0))]
    script.client(say.shell(7)) >> ...
    script.client(probe) >> []
    script.target(say.success(0)) >> [to_client(say.success(0)), to_client(say.failure(0))]


def test_replies_of_two_channels_do_not_wait_for_each_other(script: Script) -> None:
    """Each channel has its own order (RFC 4254 §5.4)."""
    script.opens(1, 8)
    script.client(say.shell(7)) >> ...
    script.client(say.asks(8, b"nonsense@example.com", reply=True)) >> [to_client(say.failure(1))]
    script.target(say.success(0)) >> [to_client(say.success(0))]


def test_the_targets_requests_are_answered_by_the_client(script: Script) -> None:
    """sshd's keepalive on a channel, and a request that the client never sees."""
    alive = say.asks(0, extensions.KEEPALIVE, reply=True)
    script.target(alive) >> [to_client(alive)]
    script.target(say.asks(0, b"nonsense@example.com", reply=True)) >> []
    script.client(say.failure(7)) >> [to_target(say.failure(7)), to_target(say.failure(7))]


def test_a_request_before_the_id_is_known_gets_its_reply() -> None:
    """The client cannot answer it, and a missing reply would shift all that follow."""
    script = Script()
    script.begins() >> ...
    script.client(say.session(0)) >> ...
    script.target(say.confirms(0, 7)) >> ...
    script.target(say.asks(0, extensions.KEEPALIVE, reply=True)) >> [to_target(say.failure(7))]


def test_an_answer_of_ours_does_not_follow_a_close(script: Script) -> None:
    """The client may have forgotten the channel by then, and would have to disconnect (RFC 4254 §5.3)."""
    script.target(say.close(0)) >> ...
    script.client(say.asks(7, b"nonsense@example.com", reply=True)) >> []


def test_unanswered_requests_on_a_channel_are_bounded(script: Script) -> None:
    """The asking side floods, so the asking side goes."""
    for _ in range(MAX_PENDING_REPLIES):
        script.client(say.asks(7, extensions.KEEPALIVE, reply=True)) >> ...
    script.client(say.asks(7, extensions.KEEPALIVE, reply=True)) >> Rule.TOO_MUCH_PENDING


# --- global requests -----------------------------------------------------------------------------------

ANSWERED = [
    (extensions.VERSION_QUERY, say.yes(extensions.SOFTWARE.encode())),
    (extensions.CLUSTER_DETAILS, say.yes(b"\x01\x00")),
    (extensions.SESSION_ID_QUERY_V1, say.yes()),
    (extensions.SESSION_ID_QUERY_V2, say.yes()),
    (extensions.NO_MORE_SESSIONS, say.yes()),
    (b"nonsense@example.com", say.no()),
    (extensions.HOSTKEYS_PROVE, say.no()),
]


@pytest.mark.parametrize(("name", "reply"), ANSWERED)
def test_global_requests_that_the_relay_answers(script: Script, name: bytes, reply: bytes) -> None:
    """The target never hears of them; without want_reply there is no reply."""
    script.client(say.requests(name)) >> [to_client(reply)]
    script.client(say.requests(name, reply=False)) >> []


@pytest.mark.parametrize("name", [extensions.SESSION_ID_QUERY_V1, extensions.SESSION_ID_QUERY_V2])
@pytest.mark.parametrize("answer", [say.yes(), say.no()])
def test_a_target_that_records_answers_for_its_session_ids(name: bytes, answer: bytes) -> None:
    """It names them, so it alone knows when; an old one does so later, or never."""
    script = Script(minted_counts=False)
    script.client(say.requests(name)) >> [to_target(say.requests(name))]
    script.target(answer) >> [to_client(answer)]


def test_a_gateway_that_does_not_record_says_so() -> None:
    """The other answer to cluster-details."""
    script = Script(recording_proxy=False)
    script.client(say.requests(extensions.CLUSTER_DETAILS)) >> [to_client(say.yes(b"\x00\x00"))]


@pytest.mark.parametrize("refusal", [None, Refusal.by_policy("no")])
@pytest.mark.parametrize(("answer", "reply"), [(b"{}", say.yes(b"{}")), (None, say.no())])
def test_only_a_roots_forwarder_is_told_who_records(
    refusal: Refusal | None, answer: bytes | None, reply: bytes
) -> None:
    """Also when nobody may pass; to others, the request is one that nobody knows."""
    options = RelayOptions(
        Support.NO, passes_params=False, recording_proxy=True, refusal=refusal, hand_over=answer
    )
    relay = Relay(options, lambda: say.sid(1))
    asked = say.requests(extensions.HAND_OVER)
    assert relay.receive(Side.CLIENT, asked) == [to_client(reply)]
    assert relay.receive(Side.TARGET, asked) == [to_target(say.no())]


def test_keepalives_pass_both_ways(script: Script) -> None:
    """Each side asks the other, and gets the other's own answer."""
    script.client(say.keepalive()) >> [to_target(say.keepalive())]
    script.target(say.keepalive()) >> [to_client(say.keepalive())]
    script.target(say.no()) >> [to_client(say.no())]
    script.client(say.yes()) >> [to_target(say.yes())]
    script.client(say.yes()) >> Rule.UNSOLICITED_REPLY


def test_global_replies_keep_their_order(script: Script) -> None:
    """Ours wait behind the target's, the target's reply to us goes to nobody."""
    script.client(say.keepalive()) >> ...
    script.does("keepalive", lambda: script.relay.keepalive(Side.TARGET) or []) >> [to_target(say.keepalive())]
    script.client(say.requests(extensions.VERSION_QUERY)) >> []
    script.client(say.keepalive()) >> ...
    ours = to_client(say.yes(extensions.SOFTWARE.encode()))
    script.target(say.no(b"1")) >> [to_client(say.no(b"1")), ours]
    script.target(say.no(b"2")) >> []
    script.target(say.no(b"3")) >> [to_client(say.no(b"3"))]


@pytest.mark.parametrize("reply", [True, False])
def test_the_targets_host_keys_never_reach_the_client(script: Script, reply: bool) -> None:
    """To the client we are the host; learning the target's keys would let it be led past us."""
    keys = say.requests(extensions.HOSTKEYS_UPDATE, string(b"ssh-ed25519 AAAA"), reply=reply)
    script.target(keys) >> ([to_target(say.no())] if reply else [])


# --- our own keepalives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(Side))
def test_a_side_that_answers_stays_alive(script: Script, side: Side) -> None:
    """Any answer will do, SUCCESS or FAILURE."""
    for reply in (say.yes(), say.no()) * KEEPALIVE_MAX_MISSED:
        assert script.relay.keepalive(side) is not None
        script.feeds(side, reply) >> []


@pytest.mark.parametrize("side", list(Side))
def test_a_side_that_does_not_answer_is_dead(script: Script, side: Side) -> None:
    """After so many questions; the other side is not to blame."""
    for _ in range(KEEPALIVE_MAX_MISSED):
        assert script.relay.keepalive(side) is not None
    assert script.relay.keepalive(side) is None
    assert script.relay.keepalive(side.other) is not None


def test_a_side_that_owes_too_many_replies_is_dead(script: Script) -> None:
    """Asking one more is no answer to that, and no offence of anybody's."""
    for _ in range(MAX_PENDING_REPLIES):
        script.client(say.keepalive()) >> ...
    assert script.relay.keepalive(Side.TARGET) is None


# --- the gateway ends a session ------------------------------------------------------------------------------


def test_a_session_is_ended_from_here_with_a_text(script: Script) -> None:
    """The person reads it; both ends are closed; what still comes is swallowed until both have closed."""
    script.client(say.shell(7)) >> ...
    script.does("terminate", lambda: script.relay.terminate(0, "the gateway is restarting")) >> [
        to_client(stderr_data(0, "the gateway is restarting")),
        to_client(say.close(0)),
        to_target(say.close(7)),
        Closed(0, 0, 0),
    ]
    assert script.relay.flows == {Side.CLIENT: {}, Side.TARGET: {}}
    for late in (say.data(0), say.stderr(0), say.exit_status(0, 0), say.success(0), say.eof(0), say.close(0)):
        script.target(late) >> []
    for late in (say.data(7), say.adjust(7), say.resize(7, 1, 1), say.env(7, "A", "1", reply=True), say.eof(7)):
        script.client(late) >> []
    script.client(say.close(7)) >> []
    script.opens(0, 7)


def test_termination_closes_only_what_is_open() -> None:
    """No second CLOSE, and no text for a client that the target has closed."""
    closers: list[tuple[Side, int, list[Effect]]] = [
        (
            Side.CLIENT,
            7,
            [to_client(stderr_data(0, "over")), to_client(say.close(0)), Closed(0, 0, 0)],
        ),
        (Side.TARGET, 0, [to_target(say.close(7)), Closed(0, 0, 0)]),
    ]
    for side, number, effects in closers:
        script = Script(support=Support.NO)
        script.opens(0, 7)
        script.feeds(side, say.close(number)) >> ...
        script.does("terminate", partial(script.relay.terminate, 0, "over")) >> effects
        script.feeds(side.other, say.close(0 if side is Side.CLIENT else 7)) >> []
        assert script.relay.open_channels() == []
        script.does("lost", script.relay.lost) >> []


def test_only_an_open_channel_can_be_terminated() -> None:
    """Before, there is nobody to tell; afterwards it is done."""
    script = Script()

    def terminate() -> list[Effect]:
        return script.relay.terminate(0, "over")

    script.does("none", terminate) >> []
    script.begins() >> ...
    script.client(say.session(0)) >> ...
    script.does("opening", terminate) >> []
    script.target(say.confirms(0, 7)) >> ...
    script.does("negotiating", terminate) >> []
    script.target(say.announces(0, say.sid(5))) >> ...
    script.does("open", terminate) >> ...
    script.does("abandoned", terminate) >> []


def test_other_sessions_go_on(script: Script) -> None:
    """Two channels are two sessions."""
    script.opens(1, 8)
    script.does("terminate", lambda: script.relay.terminate(0, "over")) >> ...
    script.client(say.runs(8, "id")) >> ...
    script.target(say.success(1)) >> [to_client(say.success(1))]
    assert script.relay.open_channels() == [1]


def test_an_offence_names_its_rule_and_says_little(script: Script) -> None:
    """Two texts: the person's and the audit log's."""
    with pytest.raises(RemoteProtocolError) as caught:
        script.relay.receive(Side.CLIENT, say.eof(99))
    assert caught.value.public == "protocol error: a message names a channel that is not open"
    assert caught.value.reason == "protocol error: a message names a channel that is not open (channel 99)"

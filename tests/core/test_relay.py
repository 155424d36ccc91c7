"""Every message type from each side in each phase of a channel: what becomes of it, as two tables.

The letters: ``>`` passes unchanged to the other side; ``.`` is swallowed; ``+`` and ``-`` are answered by the
relay with SUCCESS or FAILURE; ``o`` opens a channel at the target, ``=`` is refused with CHANNEL_OPEN_FAILURE;
``*`` makes the relay act (the flows are in test_relay_opening and test_relay_requests). An upper-case letter is an
offence.
"""

from collections.abc import Callable

import pytest

from interlock.core import extensions, wire
from interlock.core.effects import Effect, Refused, Send
from interlock.core.errors import Rule
from interlock.core.refusal import Refusal
from interlock.core.sides import Side
from interlock.testing import script as say
from interlock.testing.script import Script, describe, sid, to_target

CLIENT_NO, TARGET_NO = 0, 7
OFFENCES = {
    "U": Rule.UNKNOWN_CHANNEL,
    "C": Rule.DATA_AFTER_CLOSE,
    "R": Rule.UNSOLICITED_REPLY,
    "X": Rule.UNEXPECTED_MESSAGE,
    "N": Rule.CHANNEL_IN_USE,
}
NO_TARGET = Refusal(wire.OPEN_CONNECT_FAILED, "the target is down", "connection refused")


# --- ways into each phase ---------------------------------------------------------------------------


def no_channel() -> Script:
    """The legs are up; the target shares its IDs; no channel yet."""
    script = Script()
    script.begins() >> [to_target(say.query())]
    script.target(say.yes()) >> []
    return script


def opening() -> Script:
    """The target has not answered the open."""
    script = no_channel()
    script.client(say.session(CLIENT_NO)) >> [to_target(say.session(CLIENT_NO))]
    return script


def negotiating() -> Script:
    """The target accepted and has not named the session."""
    script = opening()
    script.target(say.confirms(CLIENT_NO, TARGET_NO)) >> ...
    return script


def opened() -> Script:
    """Both sides accepted."""
    script = no_channel()
    script.opens(CLIENT_NO, TARGET_NO)
    return script


def client_closed() -> Script:
    """The client has closed its end."""
    script = opened()
    script.client(say.close(TARGET_NO)) >> ...
    return script


def target_closed() -> Script:
    """The target has closed its end."""
    script = opened()
    script.target(say.close(CLIENT_NO)) >> ...
    return script


def terminated() -> Script:
    """We ended it; neither side has closed."""
    script = opened()
    script.does("terminate", lambda: script.relay.terminate(CLIENT_NO, "over")) >> ...
    return script


def refused_late() -> Script:
    """The client was refused after the target had accepted."""
    script = negotiating()
    script.does("timed out", lambda: script.relay.timed_out(CLIENT_NO)) >> ...
    return script


def refused_early() -> Script:
    """The client was refused before the target had answered the open."""
    script = Script()
    script.begins() >> ...
    script.client(say.session(CLIENT_NO)) >> ...
    script.target(say.no(b"node is locked")) >> ...
    return script


def closed() -> Script:
    """Both sides have closed."""
    script = client_closed()
    script.target(say.close(CLIENT_NO)) >> ...
    return script


def without_target() -> Script:
    """There is no target; every channel is refused."""
    return Script(refusal=NO_TARGET)


# --- messages: what is sent about the channel by either side -----------------------------------------

MESSAGES: dict[str, Callable[[int], bytes]] = {
    # name: the message, given the number by which its sender knows the channel's other end
    "open": lambda _: say.session(CLIENT_NO),
    "open'": lambda _: say.session(1),
    "conf": lambda no: say.confirms(no, TARGET_NO),
    "fail": lambda no: say.refuses(no, wire.OPEN_CONNECT_FAILED, "no"),
    "adj": say.adjust,
    "data": say.data,
    "err": say.stderr,
    "eof": say.eof,
    "clos": say.close,
    "req": lambda no: say.asks(no, extensions.KEEPALIVE, reply=True),
    "req?": lambda no: say.asks(no, b"nonsense@example.com", reply=True),
    "sid": lambda no: say.announces(no, sid(1000 + CLIENT_NO)),
    "ok": say.success,
    "nok": say.failure,
    "glob": lambda _: say.keepalive(),
    "glo?": lambda _: say.requests(b"nonsense@example.com"),
    "yes": lambda _: say.yes(),
    "no": lambda _: say.no(),
}
PHASES = [
    no_channel, opening, negotiating, opened, client_closed, target_closed,
    terminated, refused_late, refused_early, closed, without_target,
]  # fmt: skip

FROM_CLIENT = """
               open open' conf fail adj data err eof clos req req? sid ok nok glob glo? yes no
no_channel     o    o     U    U    U   U    U   U   U    U   U    U   U  U   >    -    R   R
opening        N    o     U    U    U   U    U   U   U    U   U    U   U  U   >    -    R   R
negotiating    N    o     U    U    U   U    U   U   U    U   U    U   U  U   >    -    R   R
opened         N    o     U    U    >   X    X   >   >    >   -    .   R  R   >    -    R   R
client_closed  N    o     U    U    C   C    C   C   C    C   C    C   C  C   >    -    R   R
target_closed  N    o     U    U    >   X    X   >   *    >   .    .   R  R   >    -    R   R
terminated     =    o     U    U    .   .    .   .   .    .   .    .   R  R   >    -    R   R
refused_late   =    o     U    U    C   C    C   C   C    C   C    C   C  C   >    -    R   R
refused_early  =    =     U    U    U   U    U   U   U    U   U    U   U  U   >    -    R   R
closed         o    o     U    U    U   U    U   U   U    U   U    U   U  U   >    -    R   R
without_target =    =     U    U    U   U    U   U   U    U   U    U   U  U   -    -    R   R
"""

FROM_TARGET = """
               open open' conf fail adj data err eof clos req req? sid ok nok glob glo? yes no
no_channel     =    =     U    U    U   U    U   U   U    U   U    U   U  U   >    -    R   R
opening        =    =     *    *    U   U    U   U   U    U   U    U   U  U   >    -    R   R
negotiating    =    =     U    U    .   X    X   X   *    -   -    *   R  R   >    -    R   R
opened         =    =     U    U    >   X    X   >   >    >   -    .   R  R   >    -    R   R
client_closed  =    =     U    U    >   X    X   >   *    >   .    .   R  R   >    -    R   R
target_closed  =    =     U    U    C   C    C   C   C    C   C    C   C  C   >    -    R   R
terminated     =    =     U    U    .   .    .   .   .    .   .    .   R  R   >    -    R   R
refused_late   =    =     U    U    .   .    .   .   .    .   .    .   R  R   >    -    R   R
refused_early  =    =     *    .    U   U    U   U   U    U   U    U   U  U   >    -    R   R
closed         =    =     U    U    U   U    U   U   U    U   U    U   U  U   >    -    R   R
without_target =    =     U    U    U   U    U   U   U    U   U    U   U  U   -    -    R   R
"""


def cells(side: Side, table: str) -> list[tuple[Side, str, str, str]]:
    """The table's cells: side, phase, message, letter."""
    head, *rows = (line.split() for line in table.strip().splitlines())
    assert head == list(MESSAGES), "a column is missing"
    assert [row[0] for row in rows] == [phase.__name__ for phase in PHASES], "a row is missing"
    return [(side, row[0], name, letter) for row in rows for name, letter in zip(head, row[1:], strict=True)]


def classify(side: Side, payload: bytes, effects: list[Effect]) -> str:
    """The letter for what came of a message."""
    sends = [effect for effect in effects if isinstance(effect, Send)]
    others = [effect for effect in effects if not isinstance(effect, Send)]
    if not effects:
        return "."
    if effects == [Send(side.other, payload)]:
        return "o" if payload[0] == wire.CHANNEL_OPEN else ">"
    if len(sends) == 1 and sends[0].side is side and all(isinstance(effect, Refused) for effect in others):
        answers = {
            wire.REQUEST_SUCCESS: "+",
            wire.CHANNEL_SUCCESS: "+",
            wire.REQUEST_FAILURE: "-",
            wire.CHANNEL_FAILURE: "-",
            wire.CHANNEL_OPEN_FAILURE: "=",
        }
        return answers.get(sends[0].payload[0], "*")
    return "*"


@pytest.mark.parametrize(
    ("side", "phase", "message", "letter"),
    cells(Side.CLIENT, FROM_CLIENT) + cells(Side.TARGET, FROM_TARGET),
)
def test_each_message_from_each_side_in_each_phase(side: Side, phase: str, message: str, letter: str) -> None:
    """The relay does what the table says, and an offence changes nothing that the client would see."""
    script = next(way for way in PHASES if way.__name__ == phase)()
    payload = MESSAGES[message](TARGET_NO if side is Side.CLIENT else CLIENT_NO)
    step = script.feeds(side, payload)
    if letter in OFFENCES:
        step >> OFFENCES[letter]
        return
    got = classify(side, payload, step.effects)
    assert got == letter, [describe(effect) for effect in step.effects]


def test_the_tables_have_every_message_type() -> None:
    """All that the relay handles is in the columns."""
    relay = Script().relay
    handled = {number for number in range(256) if relay.handles(number)}
    assert handled == {make(0)[0] for make in MESSAGES.values()}


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 20, 21, 30, 50, 52, 60, 79, 83, 89, 101, 127, 192, 255])
def test_other_message_numbers_are_not_the_relays(number: int) -> None:
    """The transport answers them with UNIMPLEMENTED or handles them itself."""
    assert not Script().relay.handles(number)


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("name", [n for n in MESSAGES if n not in ("yes", "no", "glob", "glo?")])
def test_a_message_that_is_cut_short_is_an_offence(side: Side, name: str) -> None:
    """Whatever the type: what does not parse is never passed on."""
    whole = MESSAGES[name](TARGET_NO if side is Side.CLIENT else CLIENT_NO)
    for size in range(1, min(len(whole), 5)):
        opened().feeds(side, whole[:size]) >> Rule.MALFORMED_MESSAGE


@pytest.mark.parametrize("name", ["eof", "clos", "adj", "ok", "nok"])
@pytest.mark.parametrize("side", list(Side))
def test_a_message_that_is_too_long_is_an_offence(side: Side, name: str) -> None:
    """Passed on, it would make us the offender: sshd ends the connection over trailing bytes."""
    whole = MESSAGES[name](TARGET_NO if side is Side.CLIENT else CLIENT_NO)
    opened().feeds(side, whole + b"\x00") >> Rule.MALFORMED_MESSAGE

"""Scripted peers for the relay core: a test reads as the transcript of who said what, and what came of it.

::

    script = Script()
    script.begins() >> [to_target(query())]
    script.target(yes()) >> []
    script.client(session(0)) >> [to_target(session(0))]

`Script` answers for the performer as the forwarder does: it accepts channels whose ID is agreed and begins what
clients start, unless `Script.on_agreed` or `Script.on_started` is replaced. Every step must be met by ``>>`` with
its exact effects, with the `Rule` that it breaks, or with ``...`` for anything; a step that nobody looked at fails
the one after it. No I/O, no clock.
"""

from collections.abc import Callable, Sequence
from types import EllipsisType

from interlock.core import extensions, wire
from interlock.core.effects import Agreed, Effect, Refused, Send, Started
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.forward import NOTHING_FORWARDED, Grants
from interlock.core.forwards import Reach
from interlock.core.ids import SessionId
from interlock.core.messages import Confirmation, Open, channel_message, channel_request, open_failure
from interlock.core.negotiation import Support
from interlock.core.refusal import Refusal
from interlock.core.relay import Relay, RelayOptions
from interlock.core.sides import Side
from interlock.core.wire import boolean, string, uint32

Expected = Sequence[Effect] | Rule | EllipsisType
WINDOW = 1 << 21
MAX_PACKET = 1 << 15
_LONG = 200
_NAMES = {number: name for name, number in vars(wire).items() if name.isupper() and 80 <= number <= 100}


def sid(number: int) -> SessionId:
    """A recognisable session ID."""
    return SessionId(f"00000000-0000-4000-8000-{number:012d}")


class Step:
    """What one input led to; compare it with ``>>``."""

    def __init__(self, what: str, outcome: list[Effect] | RemoteProtocolError) -> None:
        self.outcome = outcome
        self.checked = False
        self._what = what

    @property
    def effects(self) -> list[Effect]:
        """The effects, for a test that compares them itself; AssertionError if it was an offence."""
        self.checked = True
        match self.outcome:
            case RemoteProtocolError() as offence:
                raise AssertionError(f"{self._what}: {offence.reason}") from offence
            case effects:
                return effects

    def __rshift__(self, expected: Expected) -> None:
        """AssertionError, with both sides in words, unless the outcome is exactly this."""
        self.checked = True
        if expected is ...:
            return
        outcome = self.outcome.rule if isinstance(self.outcome, RemoteProtocolError) else self.outcome
        wanted = expected if isinstance(expected, Rule) else list(expected)
        if outcome != wanted:
            lines = [self._what, "expected:", *_lines(wanted), "got:", *_lines(outcome)]
            raise AssertionError("\n  ".join(lines))


class Script:
    """A relay between a scripted client and a scripted target."""

    def __init__(
        self,
        *,
        support: Support = Support.UNKNOWN,
        passes_params: bool = False,
        recording_proxy: bool = True,
        refusal: Refusal | None = None,
        minted_counts: bool = True,
        grants: Grants = NOTHING_FORWARDED,
        reach: Reach = lambda _host, _port: None,
    ) -> None:
        self.minted = 0
        options = RelayOptions(support, passes_params, recording_proxy, refusal, minted_counts, grants, reach)
        self.relay = Relay(options, self._mint)
        self.on_agreed: Callable[[Agreed], list[Effect]] = lambda agreed: self.relay.accept(agreed.channel)
        self.on_started: Callable[[Started], list[Effect]] = self._begin
        self._last: Step | None = None

    def begins(self) -> Step:
        """Both legs are up."""
        return self.does("the relay begins", self.relay.begin_relaying)

    def opens(self, client_no: int = 0, target_no: int = 7) -> None:
        """A session channel comes to be with an ID that the relay mints or the target announces."""
        self.client(session(client_no)) >> [to_target(session(client_no))]
        accepted = self.target(confirms(client_no, target_no)).effects
        if not any(isinstance(effect, Agreed) for effect in accepted):
            accepted = self.target(announces(client_no, sid(1000 + client_no))).effects
        assert to_client(confirms(client_no, target_no)) in accepted

    def client(self, payload: bytes) -> Step:
        """The client sends this message."""
        return self.feeds(Side.CLIENT, payload)

    def target(self, payload: bytes) -> Step:
        """The target sends this message."""
        return self.feeds(Side.TARGET, payload)

    def feeds(self, side: Side, payload: bytes) -> Step:
        """This side sends this message."""
        what = f"{side.value} sends {describe_message(payload)}"
        return self.does(what, lambda: self.relay.receive(side, payload))

    def does(self, what: str, call: Callable[[], list[Effect]]) -> Step:
        """The performer makes this call."""
        if self._last is not None and not self._last.checked:
            raise AssertionError("the step before was not compared with anything")
        try:
            step = Step(what, self._perform(call()))
        except RemoteProtocolError as error:
            step = Step(what, error)
        self._last = step
        return step

    def _perform(self, effects: list[Effect]) -> list[Effect]:
        """The effects in the order in which the forwarder performs them, with those of its own calls."""
        done: list[Effect] = []
        for effect in effects:
            done.append(effect)
            if isinstance(effect, Agreed):
                done += self._perform(self.on_agreed(effect))
            elif isinstance(effect, Started):
                done += self._perform(self.on_started(effect))
        return done

    def _begin(self, started: Started) -> list[Effect]:
        request = started.request
        return self.relay.begin(started.channel, request.kind, request.command, want_reply=started.want_reply)

    def _mint(self) -> SessionId:
        self.minted += 1
        return sid(self.minted)


def new_node() -> Script:
    """A target that shares its session IDs."""
    script = Script()
    script.begins() >> [to_target(query())]
    script.target(yes()) >> []
    return script


def sshd() -> Script:
    """A target that is never asked."""
    script = Script(support=Support.NO)
    script.begins() >> []
    return script


# --- effects in short ------------------------------------------------------------------------------


def accepted(client_no: int, target_no: int, agreed: str) -> list[Effect]:
    """What the client gets when its channel is accepted: the ID follows immediately."""
    return [to_client(confirms(client_no, target_no)), to_client(announces(client_no, agreed))]


def refused(client_no: int, code: int, text: str, reason: str = "") -> list[Effect]:
    """What a refusal before any answer of the target looks like."""
    return [to_client(open_failure(client_no, code, text)), Refused("session", text, reason or text)]


def to_client(payload: bytes) -> Send:
    """This message goes to the client."""
    return Send(Side.CLIENT, payload)


def to_target(payload: bytes) -> Send:
    """This message goes to the target."""
    return Send(Side.TARGET, payload)


def describe(effect: Effect) -> str:
    """An effect as failed comparisons show it."""
    if isinstance(effect, Send):
        return f"to {effect.side.value}: {describe_message(effect.payload)}"
    return repr(effect)


def describe_message(payload: bytes) -> str:
    """A message's name and contents, or their beginning."""
    if not payload:
        return "nothing"
    text = f"{_NAMES.get(payload[0], f'message {payload[0]}')} {_contents(payload)}"
    return text if len(text) <= _LONG else f"{text[:_LONG]}... ({len(payload)} bytes)"


def _contents(payload: bytes) -> str:
    if payload[0] < wire.CHANNEL_OPEN or len(payload) < 5:
        return repr(payload[1:])
    if payload[0] == wire.CHANNEL_OPEN:
        return repr(payload[5:])
    return f"{int.from_bytes(payload[1:5], 'big')} {payload[5:]!r}"


def _lines(outcome: Rule | list[Effect]) -> list[str]:
    if isinstance(outcome, Rule):
        return [f"  offence {outcome.name}"]
    return [f"  {describe(effect)}" for effect in outcome] or ["  nothing"]


# --- messages in short -----------------------------------------------------------------------------


def opening(kind: str, sender: int, extra: bytes = b"") -> bytes:
    """CHANNEL_OPEN."""
    return Open(kind, sender, WINDOW, MAX_PACKET, b"").encode(extra)


def session(sender: int, extra: bytes = b"") -> bytes:
    """CHANNEL_OPEN of a session."""
    return opening("session", sender, extra)


def tcp(host: str = "db", port: int = 5432, origin: str = "127.0.0.1", origin_port: int = 40000) -> bytes:
    """What a CHANNEL_OPEN of direct-tcpip or forwarded-tcpip says beside its fixed fields (RFC 4254 §7.2)."""
    return string(host) + uint32(port) + string(origin) + uint32(origin_port)


def direct(sender: int, host: str = "db", port: int = 5432) -> bytes:
    """CHANNEL_OPEN of a port forwarding."""
    return opening("direct-tcpip", sender, tcp(host, port))


def listen(host: str = "", port: int = 8080, *, name: bytes = b"tcpip-forward", reply: bool = True) -> bytes:
    """GLOBAL_REQUEST to listen on a port, or with another ``name`` to stop it (RFC 4254 §7.1)."""
    return requests(name, string(host) + uint32(port), reply=reply)


def confirms(recipient: int, sender: int, window: int = WINDOW) -> bytes:
    """CHANNEL_OPEN_CONFIRMATION."""
    return Confirmation(recipient, sender, window, MAX_PACKET, b"").encode()


def refuses(recipient: int, code: int, text: str) -> bytes:
    """CHANNEL_OPEN_FAILURE."""
    return open_failure(recipient, code, text)


def announces(recipient: int, payload: str | bytes) -> bytes:
    """The ``current-session-id`` request."""
    data = payload.encode() if isinstance(payload, str) else payload
    return asks(recipient, extensions.CURRENT_SESSION_ID, data)


def asks(recipient: int, name: bytes, data: bytes = b"", *, reply: bool = False) -> bytes:
    """CHANNEL_REQUEST."""
    return channel_request(recipient, name, want_reply=reply, data=data)


def pty(recipient: int, term: str = "xterm", cols: int = 80, rows: int = 24, *, reply: bool = True) -> bytes:
    """The ``pty-req`` request."""
    data = string(term) + uint32(cols) + uint32(rows) + uint32(0) + uint32(0) + string(b"\x00")
    return asks(recipient, b"pty-req", data, reply=reply)


def resize(recipient: int, cols: int, rows: int) -> bytes:
    """The ``window-change`` request."""
    return asks(recipient, b"window-change", uint32(cols) + uint32(rows) + uint32(0) + uint32(0))


def env(recipient: int, name: str, value: str, *, reply: bool = False) -> bytes:
    """The ``env`` request."""
    return asks(recipient, b"env", string(name) + string(value), reply=reply)


def shell(recipient: int, *, reply: bool = True) -> bytes:
    """The ``shell`` request."""
    return asks(recipient, b"shell", reply=reply)


def runs(recipient: int, command: bytes | str, *, reply: bool = True) -> bytes:
    """The ``exec`` request."""
    return asks(recipient, b"exec", string(command), reply=reply)


def subsystem(recipient: int, name: str, *, reply: bool = True) -> bytes:
    """The ``subsystem`` request."""
    return asks(recipient, b"subsystem", string(name), reply=reply)


def exit_status(recipient: int, status: int) -> bytes:
    """The ``exit-status`` request."""
    return asks(recipient, b"exit-status", uint32(status))


def exit_signal(recipient: int, name: str) -> bytes:
    """The ``exit-signal`` request."""
    return asks(recipient, b"exit-signal", string(name) + boolean(False) + string("") + string(""))


def adjust(recipient: int, amount: int = 1024) -> bytes:
    """CHANNEL_WINDOW_ADJUST."""
    return channel_message(wire.CHANNEL_WINDOW_ADJUST, recipient, uint32(amount))


def data(recipient: int, value: bytes = b"x") -> bytes:
    """CHANNEL_DATA."""
    return channel_message(wire.CHANNEL_DATA, recipient, string(value))


def stderr(recipient: int, value: bytes = b"x") -> bytes:
    """CHANNEL_EXTENDED_DATA."""
    head = uint32(wire.EXTENDED_DATA_STDERR)
    return channel_message(wire.CHANNEL_EXTENDED_DATA, recipient, head + string(value))


def eof(recipient: int) -> bytes:
    """CHANNEL_EOF."""
    return channel_message(wire.CHANNEL_EOF, recipient)


def close(recipient: int) -> bytes:
    """CHANNEL_CLOSE."""
    return channel_message(wire.CHANNEL_CLOSE, recipient)


def success(recipient: int) -> bytes:
    """CHANNEL_SUCCESS."""
    return channel_message(wire.CHANNEL_SUCCESS, recipient)


def failure(recipient: int) -> bytes:
    """CHANNEL_FAILURE."""
    return channel_message(wire.CHANNEL_FAILURE, recipient)


def requests(name: bytes, rest: bytes = b"", *, reply: bool = True) -> bytes:
    """GLOBAL_REQUEST."""
    return bytes([wire.GLOBAL_REQUEST]) + string(name) + boolean(reply) + rest


def query() -> bytes:
    """The relay's question whether the target shares its session IDs."""
    return requests(extensions.SESSION_ID_QUERY_V2)


def keepalive() -> bytes:
    """The ``keepalive@openssh.com`` global request."""
    return requests(extensions.KEEPALIVE)


def yes(rest: bytes = b"") -> bytes:
    """REQUEST_SUCCESS."""
    return bytes([wire.REQUEST_SUCCESS]) + rest


def no(rest: bytes = b"") -> bytes:
    """REQUEST_FAILURE."""
    return bytes([wire.REQUEST_FAILURE]) + rest

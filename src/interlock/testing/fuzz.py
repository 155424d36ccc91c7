"""Messages of every number, well formed and not, in an order that a seed decides: what a fuzzer sends.

A `Case` names itself, so that what failed can be sent again: it depends on state, number, form and seed alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from random import Random

from interlock.core.wire import boolean, string, uint32

NUMBERS = range(256)
FORMS = ("well formed", "cut short", "noise", "nothing", "too much")
"""How the message is: as its RFC says, or not."""

SAMPLE = 30
"""Cases of each state that are always run."""

_MOST = 2000
"""Bytes of noise."""

_NAMES = (
    b"ssh-userauth",
    b"ssh-connection",
    b"none",
    b"publickey",
    b"password",
    b"keyboard-interactive",
    b"hostbased",
    b"gssapi-with-mic",
    b"session",
    b"direct-tcpip",
    b"forwarded-tcpip",
    b"direct-streamlocal@openssh.com",
    b"auth-agent@openssh.com",
    b"x11",
    b"tunnel-auth@interlock.dev",
    b"env",
    b"pty-req",
    b"window-change",
    b"signal",
    b"exit-status",
    b"eow@openssh.com",
    b"tcpip-forward",
    b"keepalive@openssh.com",
    b"hostkeys-prove-00@openssh.com",
    b"no-more-sessions@openssh.com",
    b"session-id-query-v2@goteleport.com",
    b"current-session-id@goteleport.com",
    b"",
    b"\xff\xfe",
)
"""Of services, methods, channels and requests: each may come where another one belongs. None runs a command."""

_ALGORITHMS = (
    b"curve25519-sha256",
    b"kex-strict-c-v00@openssh.com",
    b"kex-strict-s-v00@openssh.com",
    b"ext-info-c",
    b"ssh-ed25519",
    b"aes128-gcm@openssh.com",
    b"hmac-sha2-256",
    b"none",
    b"diffie-hellman-group1-sha1",
    b"",
)

_INTERESTING = (0, 1, 2, 7, 8, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)

Field = Callable[[Random, Sequence[int]], bytes]


def _name(random: Random, _channels: Sequence[int]) -> bytes:
    return string(random.choice(_NAMES))


def _text(random: Random, _channels: Sequence[int]) -> bytes:
    return string(random.randbytes(random.choice((0, 1, 20, 32, 300))))


def _number(random: Random, _channels: Sequence[int]) -> bytes:
    return uint32(random.choice(_INTERESTING))


def _channel(random: Random, channels: Sequence[int]) -> bytes:
    """Of those that are open, most of the time."""
    return uint32(random.choice([*channels, *channels, *_INTERESTING[:3]]))


def _flag(random: Random, _channels: Sequence[int]) -> bytes:
    return boolean(random.random() < 0.7)


def _algorithms(random: Random, _channels: Sequence[int]) -> bytes:
    return string(b",".join(random.sample(_ALGORITHMS, random.randint(1, 6))))


def _rest(random: Random, _channels: Sequence[int]) -> bytes:
    return random.randbytes(random.choice((0, 0, 4, 40)))


def _cookie(random: Random, _channels: Sequence[int]) -> bytes:
    return random.randbytes(16)


_LAYOUTS: dict[int, tuple[Field, ...]] = {
    1: (_number, _text, _text),
    2: (_text,),
    3: (_number,),
    4: (_flag, _text, _text),
    5: (_name,),
    6: (_name,),
    7: (_number, _name, _text),
    20: (_cookie, *[_algorithms] * 10, _flag, _number),
    21: (),
    30: (_text,),
    31: (_text, _text, _text),
    32: (_text,),
    34: (_number, _number, _number),
    50: (_text, _name, _name, _flag, _name, _text, _text),
    51: (_algorithms, _flag),
    52: (),
    53: (_text, _text),
    60: (_text, _text, _text, _number, _text, _flag),
    61: (_number, _text),
    63: (_text,),
    80: (_name, _flag, _rest),
    81: (_rest,),
    82: (),
    90: (_name, _number, _number, _number, _rest),
    91: (_channel, _number, _number, _number, _rest),
    92: (_channel, _number, _text, _text),
    93: (_channel, _number),
    94: (_channel, _text),
    95: (_channel, _number, _text),
    96: (_channel,),
    97: (_channel,),
    98: (_channel, _name, _flag, _rest),
    99: (_channel,),
    100: (_channel,),
}
"""RFC 4252, 4253, 4254 and 8308, field by field; other numbers have no form of their own."""


@dataclass(frozen=True, slots=True)
class Case:
    """One message in one state."""

    state: str
    number: int
    form: str
    seed: int

    def message(self, channels: Sequence[int] = ()) -> bytes:
        """What to send. ``channels``: the numbers by which the other side knows those that are open."""
        random = Random(str(self))
        layout = _LAYOUTS.get(self.number, (_text, _number))
        body = b"".join(field(random, channels) for field in layout)
        match self.form:
            case "cut short":
                body = body[: random.randint(0, max(0, len(body) - 1))]
            case "noise":
                body = random.randbytes(random.randint(1, _MOST))
            case "nothing":
                body = b""
            case "too much":
                body += random.randbytes(random.randint(1, _MOST))
            case _:
                pass
        return bytes([self.number]) + body


def cases(states: Iterable[str], seed: int, *, every: bool) -> Iterator[Case]:
    """All numbers in all forms in all these states, or a sample of the known numbers in each."""
    for state in states:
        random = Random(f"{state} {seed}")
        everything = [Case(state, number, form, seed) for number, form in product(NUMBERS, FORMS)]
        random.shuffle(everything)
        known = [each for each in everything if each.number in _LAYOUTS]
        yield from everything if every else islice(known, SAMPLE)

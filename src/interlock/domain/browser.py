"""What people do in browsers: links that let them in once, sign-ins, and confirmations of a sign-in elsewhere.

A sign-in is a browser's; it is never called a session, which is what the gateway records.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

LINK_LIFE = timedelta(hours=1)
"""How long a link is good for unless the administrator says otherwise."""

MAX_LINK_LIFE = timedelta(days=7)
"""And at most."""

CONFIRM_LIFE = timedelta(minutes=5)
"""How long a sign-in elsewhere waits to be confirmed."""

IDLE = timedelta(hours=1)
"""A sign-in in a browser ends when nothing was asked in it for so long,"""

LIFE = timedelta(hours=12)
"""and in any case after a working day."""

FRESH = timedelta(minutes=10)
"""How recently somebody must have proved who they are to change what proves it."""

_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # 32 letters and digits that nobody takes for each other
_GROUPS, _GROUP = 3, 4


class LinkPurpose(Enum):
    """What a link is for; it does the same, but is told differently."""

    INVITE = "invite"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Link:
    """A link under which one person sets a password or registers a passkey, once."""

    digest: bytes  # SHA-256 of its secret, which is stored nowhere
    user: str
    purpose: LinkPurpose
    created: datetime
    expires: datetime


@dataclass(frozen=True, slots=True)
class BrowserSignIn:
    """Somebody is signed in in a browser."""

    digest: bytes  # SHA-256 of the cookie
    user: str
    method: str  # local, or oidc
    device: str  # name of the second factor that was shown; empty: none
    source: str  # host:port of the browser at the time
    created: datetime
    used: datetime  # when something was last asked in it
    proved: datetime  # when the person last proved who they are

    def lives(self, *, now: datetime) -> bool:
        """Whether it has not ended by itself."""
        return now < self.created + LIFE and now < self.used + IDLE

    def fresh(self, *, now: datetime) -> bool:
        """Whether the person proved who they are a moment ago."""
        return now < self.proved + FRESH


@dataclass(frozen=True, slots=True)
class Errand:
    """Something that a browser has begun and comes back for within minutes, once: a challenge, for example."""

    digest: bytes  # SHA-256 of what the browser brings back
    kind: str
    source: str  # whose it is, as `core.address.source_of` counts
    facts: Mapping[str, str]
    expires: datetime


class Verdict(Enum):
    """What became of a confirmation."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    SPENT = "spent"  # somebody has signed in by it


class Purpose(Enum):
    """What is confirmed."""

    SIGN_IN = "sign-in"  # that the person at a terminal is the one who is signed in here
    FACTOR = "factor"  # with a passkey, for somebody whose certificate or password was shown there already


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A sign-in elsewhere that waits for somebody to confirm it in a browser."""

    id: str  # known to whoever waits
    digest: bytes  # SHA-256 of the code
    purpose: Purpose
    user: str  # who is to sign in; empty: whoever confirms
    source: str  # host:port of the client that wants to
    created: datetime
    expires: datetime
    verdict: Verdict = Verdict.PENDING
    by: str = ""  # who confirmed it
    method: str = ""  # how that one had signed in
    device: str = ""  # and with what


def make_code(random: bytes) -> str:
    """A code of 60 bits that a person can compare and type; ``random``: 12 bytes or more."""
    letters = [_ALPHABET[byte % len(_ALPHABET)] for byte in random[: _GROUPS * _GROUP]]
    return "-".join("".join(letters[at : at + _GROUP]) for at in range(0, len(letters), _GROUP))


def parse_code(text: str) -> str:
    """The code as it was made, however it was typed; ValueError if it cannot be one."""
    letters = text.upper().replace("-", "").replace(" ", "")
    if len(letters) != _GROUPS * _GROUP or set(letters) - set(_ALPHABET):
        msg = "not a code"
        raise ValueError(msg)
    return "-".join(letters[at : at + _GROUP] for at in range(0, len(letters), _GROUP))

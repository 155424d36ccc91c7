"""The one tree of errors.

::

    InterlockError            public text for the person, reason for the audit log only
    ├── Denied                policy says no: role, login, expired certificate
    │   ├── Locked            an administrator's lock is in force
    │   └── LimitReached      no place is left; it carries the limit
    ├── SignInFailed          wrong password, unknown user, bad token (the public text never says which)
    ├── NotFound              a user, role, node, session or recording that an administrator named
    ├── TargetError           the host behind the gateway: unreachable, wrong host key, refused our key
    ├── RecordingError        a recording cannot be made, stored, read or verified
    ├── StoreError            the database or file storage failed
    │   ├── Differs           what it has is not what it was given
    │   └── Away              nobody has answered
    │       └── NoAnswer      somebody was there, and said nothing in time
    ├── ExportError           a receiver of the audit log did not take a batch
    ├── ConfigError           configuration or data directory is wrong; public text names the setting
    └── ProtocolError
        ├── LocalProtocolError    our own bug: we asked the core for something the protocol forbids
        └── RemoteProtocolError   the peer's offence, named by one member of `Rule` per check

Any other exception that leaves a service or an adapter is a bug.
"""

from enum import Enum


class InterlockError(Exception):
    """An error with two texts: ``public`` may reach the person at the client, ``reason`` only the audit log."""

    def __init__(self, public: str, *, reason: str = "") -> None:
        super().__init__(public)
        self.public = public
        self.reason = reason or public


class Denied(InterlockError):
    """Policy refuses. Raised by the domain, never for technical failures."""


class Locked(Denied):
    """A lock is in force; the public text has its message."""


class LimitReached(Denied):
    """All places are taken."""

    def __init__(self, public: str, *, maximum: int, reason: str = "") -> None:
        super().__init__(public, reason=reason)
        self.maximum = maximum


class SignInFailed(InterlockError):
    """Authentication failed; the public text is the same whatever the cause."""


class NotFound(InterlockError):
    """What an administrator or a route named does not exist."""


class TargetError(InterlockError):
    """The target could not be reached, verified or logged in to."""


class RecordingError(InterlockError):
    """A recording cannot be started, continued, stored or read."""


class StoreError(InterlockError):
    """Persistence failed."""


class Away(StoreError):
    """Nobody has answered; what is stored is not known."""


class Differs(StoreError):
    """What is stored is not what was sent; it is still where it came from."""


class NoAnswer(Away):
    """Somebody was there, as far as one can tell, and has said nothing in the time that there was."""


class ExportError(InterlockError):
    """A receiver of the audit log has not acknowledged a batch; ``pause``: seconds that it asks us to wait."""

    def __init__(self, public: str, *, pause: float = 0.0, reason: str = "") -> None:
        super().__init__(public, reason=reason)
        self.pause = pause


class ConfigError(InterlockError):
    """Configuration or data directory is wrong."""


class Rule(Enum):
    """One member per thing that a peer may not do; the value is the text of the audit log."""

    SESSION_ID_CHANGED = "the target changed the session ID of a channel"
    SESSION_ID_REUSED = "the target reported the ID of another session"
    MALFORMED_MESSAGE = "a message could not be decoded"
    OVERSIZED_PACKET = "a packet is longer than allowed"
    BAD_MAC = "a packet failed its integrity check"
    UNKNOWN_CHANNEL = "a message names a channel that is not open"
    CHANNEL_IN_USE = "a channel number is used twice"
    TOO_MANY_CHANNELS = "too many channels on one connection"
    UNSOLICITED_REPLY = "a reply to a request that was never made"
    UNEXPECTED_MESSAGE = "a message that is not allowed in this state"
    DATA_IN_KEY_EXCHANGE = "connection data during a key exchange"
    KEY_EXCHANGE_UNFINISHED = "a key exchange was not finished in time"
    DATA_AFTER_CLOSE = "data on a channel after its close"
    PROXY_HEADER = "a load balancer sent no proper PROXY header"
    TOO_MUCH_PENDING = "more requests outstanding than allowed"


class ProtocolError(InterlockError):
    """The SSH protocol or our extensions were violated."""


class LocalProtocolError(ProtocolError):
    """Our own bug."""


class RemoteProtocolError(ProtocolError):
    """The peer violated the protocol; ``rule`` says which check failed."""

    def __init__(self, rule: Rule, detail: str = "") -> None:
        text = f"protocol error: {rule.value}"
        super().__init__(text, reason=f"{text} ({detail})" if detail else text)
        self.rule = rule

"""What the relay core asks its performer to do. Only the performer touches sockets, clocks and services."""

from dataclasses import dataclass

from interlock.core.ids import SessionId
from interlock.core.sides import Side


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message (type byte first) on this leg."""

    side: Side
    payload: bytes


@dataclass(frozen=True, slots=True)
class Agreed:
    """Both servers have one ID for this channel. Answer with `Relay.accept` or `Relay.reject`."""

    channel: int
    sid: SessionId


@dataclass(frozen=True, slots=True)
class TwinNamed:
    """The target, of before the protocol, calls the session on this channel otherwise than we do."""

    channel: int
    sid: SessionId


@dataclass(frozen=True, slots=True)
class StartRequest:
    """What the client wants to run."""

    kind: str  # shell, exec or subsystem
    command: bytes  # the command or the subsystem's name; empty for a shell
    term: str  # empty without a PTY
    window: tuple[int, int] | None  # columns and rows; None without a PTY
    reason: str = ""  # the session's, in the person's words
    invited: tuple[str, ...] = ()  # users whom the person would like to join


@dataclass(frozen=True, slots=True)
class Started:
    """The client asked for its command. Answer with `Relay.begin` or `Relay.terminate`."""

    channel: int
    request: StartRequest
    want_reply: bool


@dataclass(frozen=True, slots=True)
class Resized:
    """The client's terminal has a new size."""

    channel: int
    cols: int
    rows: int


@dataclass(frozen=True, slots=True)
class Exited:
    """The target reported how the command ended; exactly one of status and signal is set."""

    channel: int
    status: int | None
    signal: str | None


@dataclass(frozen=True, slots=True)
class Closed:
    """The channel is closed on both legs, or was never accepted; byte counts are the client's view."""

    channel: int
    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Something was refused; for the audit log. ``what`` is a channel type or a request's name."""

    what: str
    public: str
    reason: str
    channel: int | None = None  # of a live session, if it was refused within one
    maximum: int | None = None  # the limit that was reached


@dataclass(frozen=True, slots=True)
class Typed:
    """The client typed while its session was held or paused; it goes nowhere."""

    channel: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Hungry:
    """The target takes input of others again, after `Sharing.insert` took less than it was given."""

    channel: int


@dataclass(frozen=True, slots=True)
class Overfull:
    """A paused session wrote more than we hold."""

    channel: int


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Call `Relay.timed_out` for this channel after so many seconds."""

    channel: int
    seconds: float


@dataclass(frozen=True, slots=True)
class StopTimer:
    """The timer is not needed any more."""

    channel: int


@dataclass(frozen=True, slots=True)
class ForwardOpened:
    """Something is forwarded from now on. ``forward`` names it until `ForwardClosed`."""

    forward: int
    kind: str  # the channel type
    address: str  # where it leads
    origin: str  # from where, as its opener claims
    session: int | None  # the channel of the session that it belongs to, where its kind tells


@dataclass(frozen=True, slots=True)
class ForwardClosed:
    """It has ended; byte counts are the client's view."""

    forward: int
    sent: int
    received: int


@dataclass(frozen=True, slots=True)
class ForwardFailed:
    """It was refused, here or by the other side. ``what`` is a channel type or a request's name."""

    what: str
    address: str
    public: str
    reason: str


@dataclass(frozen=True, slots=True)
class ListenBegan:
    """The target listens for the client. ``what`` is the request's name."""

    what: str
    address: str


@dataclass(frozen=True, slots=True)
class Granted:
    """X11 or the agent is forwarded in a session. ``what`` is the request's name."""

    what: str
    channel: int


SessionEffect = Agreed | TwinNamed | Started | Resized | Exited | Closed | StartTimer | StopTimer | Granted
ForwardEffect = ForwardOpened | ForwardClosed | ForwardFailed | ListenBegan
SharingEffect = Typed | Hungry | Overfull
Effect = Send | Refused | SessionEffect | ForwardEffect | SharingEffect

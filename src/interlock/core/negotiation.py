"""Agreeing on one session ID before the client's channel is accepted: one machine per session channel.

The forwarding node feeds it what the target says of a channel and does what it returns. Whether the
target knows the protocol at all is asked once per connection, so that answer is an input like any
other and may come before or after the target accepts the channel; an announced ID may even outrun
the answer (PROTOCOL.md §3).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.ids import SessionId, parse_session_id
from interlock.core.limits import MAX_REASON, SESSION_ID_WAIT_S
from interlock.core.wire import OPEN_ADMINISTRATIVELY_PROHIBITED, OPEN_CONNECT_FAILED

NO_SESSION_ID = "the target failed to report a session ID"


class Support(Enum):
    """What is known of the target's answer to the query."""

    UNKNOWN = auto()
    YES = auto()
    NO = auto()


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The target accepted the channel."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The target answered the query. ``rejection`` is the text of a refusal of the whole connection."""

    supported: bool
    rejection: str = ""


@dataclass(frozen=True, slots=True)
class Announced:
    """The target sent ``current-session-id`` on the channel."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The time that `Await` asked for has passed."""


@dataclass(frozen=True, slots=True)
class TargetClosed:
    """The target closed the channel that it had accepted."""


Input = Confirmed | Answered | Announced | TimedOut | TargetClosed


@dataclass(frozen=True, slots=True)
class Await:
    """Feed `TimedOut` after this many seconds, unless the machine is done by then."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Agree:
    """Both servers use this ID from now on; ``minted`` if it is ours."""

    sid: SessionId
    minted: bool


@dataclass(frozen=True, slots=True)
class Reject:
    """Refuse the client's channel, and close the target's if it is open."""

    code: int
    public: str
    reason: str


@dataclass(frozen=True, slots=True)
class Named:
    """A target of before this protocol told, after shell or exec, how it calls the session itself."""

    sid: SessionId


Outcome = Await | Agree | Reject | Named


class State(Enum):
    """Where a channel stands."""

    OPENING = auto()  # the target has not answered the open
    UNSURE = auto()  # accepted; the answer to the query is still due
    AWAITING = auto()  # accepted; the target will announce the ID
    ADOPTED = auto()
    MINTED = auto()
    REJECTED = auto()


class Negotiation:
    """One channel's way to its session ID. Pure: ``mint`` supplies the randomness."""

    def __init__(self, support: Support, mint: Callable[[], SessionId]) -> None:
        self.state = State.OPENING
        self.sid: SessionId | None = None  # set once, on entering ADOPTED or MINTED
        self.named: SessionId | None = (
            None  # how the target calls a session whose ID we minted; the first word counts
        )
        self._support = support
        self._mint = mint

    def receive(self, item: Input) -> list[Outcome]:
        """What to do next. RemoteProtocolError if the target contradicts what it said before."""
        match self.state, item:
            case State.OPENING, Answered(rejection=""):
                self._support = Support.YES if item.supported else Support.NO
                return []
            case State.OPENING, Confirmed():
                return self._accepted()
            case State.UNSURE, Answered(supported=True):
                self.state = State.AWAITING
                return []
            case State.UNSURE, Answered(supported=False, rejection=""):
                return self._minted()
            case ((State.UNSURE | State.AWAITING), Announced(payload=payload)):
                return self._adopted(payload)
            case ((State.UNSURE | State.AWAITING), TimedOut()):
                return self._rejected(NO_SESSION_ID, reason=f"no session ID after {SESSION_ID_WAIT_S:g} s")
            case ((State.UNSURE | State.AWAITING), TargetClosed()):
                return self._rejected(
                    NO_SESSION_ID, reason="the target closed the channel before its ID was known"
                )
            case ((State.OPENING | State.UNSURE | State.AWAITING), Answered(rejection=text)) if text:
                public = f"remote session open failed: {text[:MAX_REASON]}"
                return self._rejected(public, code=OPEN_ADMINISTRATIVELY_PROHIBITED)
            case State.ADOPTED, Announced(payload=payload) if payload.lower() != (self.sid or "").encode():
                raise RemoteProtocolError(Rule.SESSION_ID_CHANGED, f"{self.sid} to {payload[:64]!r}")
            case State.MINTED, Announced(payload=payload) if self.named is None:
                return self._named(payload)
            case ((State.ADOPTED | State.MINTED | State.REJECTED), _):
                return []  # a late timer or answer
            case _:
                raise RemoteProtocolError(
                    Rule.UNEXPECTED_MESSAGE, f"{type(item).__name__} while {self.state.name}"
                )

    def abandon(self) -> None:
        """The channel is refused for a reason of our own: nothing that still comes matters."""
        self.state = State.REJECTED

    def _accepted(self) -> list[Outcome]:
        match self._support:
            case Support.NO:
                return self._minted()
            case Support.YES:
                self.state = State.AWAITING
            case Support.UNKNOWN:
                self.state = State.UNSURE
        return [Await(SESSION_ID_WAIT_S)]

    def _minted(self) -> list[Outcome]:
        self.state = State.MINTED
        self.sid = self._mint()
        return [Agree(self.sid, minted=True)]

    def _adopted(self, payload: bytes) -> list[Outcome]:
        try:
            sid = parse_session_id(payload)
        except ValueError as error:
            return self._rejected(NO_SESSION_ID, reason=str(error))
        self.state = State.ADOPTED
        self.sid = sid
        return [Agree(sid, minted=False)]

    def _named(self, payload: bytes) -> list[Outcome]:
        """Old targets name their sessions after shell or exec. What is no name, or ours, says nothing."""
        try:
            sid = parse_session_id(payload)
        except ValueError:
            return []
        if sid == self.sid:
            return []
        self.named = sid
        return [Named(sid)]

    def _rejected(self, public: str, *, reason: str = "", code: int = OPEN_CONNECT_FAILED) -> list[Outcome]:
        self.state = State.REJECTED
        return [Reject(code, public, reason or public)]

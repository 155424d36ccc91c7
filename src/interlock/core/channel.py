"""One relayed channel: its numbers and where it stands; for sessions, what their requests may still do."""

from dataclasses import dataclass, field
from enum import Enum, auto

import msgspec

from interlock.core import extensions
from interlock.core.effects import StartRequest
from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.extensions import Words
from interlock.core.flows import Flow
from interlock.core.limits import MAX_ENV_BYTES, MAX_ENV_VARS
from interlock.core.messages import Confirmation
from interlock.core.negotiation import Negotiation
from interlock.core.replies import ReplyLedger
from interlock.core.share import Share
from interlock.core.sides import Side
from interlock.core.wire import Reader


class Phase(Enum):
    """Where the channel stands on the wire."""

    OPENING = auto()  # passed on to the other side, not answered
    NEGOTIATING = auto()  # the target accepted a session; the client still waits for its answer
    OPEN = auto()  # accepted on both legs
    ABANDONED = auto()  # refused to the client after the target had accepted; waits for the target's CLOSE


NOT_ANSWERED = -1
"""The number of the side that has not answered the open yet."""


@dataclass(slots=True, eq=False)
class Channel:
    """The numbers are kept end to end: each side's own number is the other's recipient number."""

    client_no: int
    target_no: int = NOT_ANSWERED
    opener: Side = Side.CLIENT
    phase: Phase = Phase.OPENING
    running: bool = False  # data may flow
    share: Share | None = None  # since others take part, or since it was held
    closed: set[Side] = field(default_factory=set)  # sides that sent CLOSE
    answered_by: dict[Side, ReplyLedger] = field(
        default_factory=lambda: {Side.CLIENT: ReplyLedger(), Side.TARGET: ReplyLedger()}
    )
    flow_from: dict[Side, Flow] = field(default_factory=lambda: {Side.CLIENT: Flow(), Side.TARGET: Flow()})

    @property
    def live(self) -> bool:
        """Whether both sides still have it open."""
        return self.phase is Phase.OPEN and not self.closed

    def number(self, side: Side) -> int:
        """The number that messages to this side carry."""
        return self.client_no if side is Side.CLIENT else self.target_no

    def answered(self, number: int) -> None:
        """The side that was asked has accepted, under this number."""
        if self.opener is Side.CLIENT:
            self.target_no = number
        else:
            self.client_no = number

    def close_from(self, side: Side) -> bool:
        """Note a CLOSE (§5.3); True when both sides have closed. RemoteProtocolError if it is the second."""
        if side in self.closed:
            raise RemoteProtocolError(Rule.DATA_AFTER_CLOSE, f"second CLOSE of channel {self.client_no}")
        self.closed.add(side)
        return len(self.closed) == len(Side)

    @property
    def octets(self) -> tuple[int, int]:
        """Bytes of data from the client and from the target so far."""
        return self.flow_from[Side.CLIENT].octets, self.flow_from[Side.TARGET].octets

    @property
    def activity(self) -> int:
        """Bytes that show that somebody is there."""
        return sum(self.octets)


@dataclass(slots=True, eq=False, kw_only=True)
class SessionChannel(Channel):
    """A channel of type ``session``: its way to an ID, and what it runs."""

    negotiation: Negotiation
    confirmation: Confirmation | None = None  # held while NEGOTIATING
    more_window: int = 0  # what the target granted while NEGOTIATING
    agreed: bool = False  # the performer was told the ID
    started: bool = False  # a shell, exec or subsystem request was taken; there is only one (R19)
    client_window: int = 0  # what the client granted when it opened the channel
    client_packet: int = 0  # the longest data that it takes in one message
    start_refused: bool = False  # by the target, after the client had our answer
    words: Words = field(default_factory=Words)
    granted: set[str] = field(default_factory=set)  # X11 and agent requests that the target has not refused
    term: str = ""
    window: tuple[int, int] | None = None
    env_taken: int = 0  # environment variables, those that were set again included
    env_bytes: int = 0

    @property
    def activity(self) -> int:
        """On a terminal only what is typed: a screen that moves by itself shows nothing of the person."""
        sent, received = self.octets
        return sent if self.window is not None else sent + received

    def take_pty(self, data: bytes) -> bool:
        """Note a pty-req (RFC 4254 §6.2); False if it comes too late."""
        if self.started:
            return False
        reader = Reader(data)
        term, cols, rows = reader.text(), reader.uint32(), reader.uint32()
        reader.take(8)  # the size in pixels
        reader.string()  # terminal modes
        reader.end()
        self.term, self.window = term[:128], (cols, rows)
        return True

    def take_resize(self, data: bytes) -> tuple[int, int] | None:
        """Note a window-change (§6.7); None if there is no terminal."""
        if self.window is None:
            return None
        reader = Reader(data)
        self.window = (reader.uint32(), reader.uint32())
        reader.take(8)  # the size in pixels
        reader.end()
        return self.window

    def take_env(self, data: bytes) -> bool:
        """Note an env request (§6.4); False if it comes too late or there are too many."""
        reader = Reader(data)
        name, value = reader.string(), reader.string()
        reader.end()
        if not self._count_env(1, len(name) + len(value)):
            return False
        self.words = self.words.heard(name, value)
        return True

    def take_envs(self, data: bytes) -> bool:
        """Note an envs request (`extensions.ENVS`): a JSON object of strings, held to the same bounds."""
        reader = Reader(data)
        text = reader.string()
        reader.end()
        try:
            variables = msgspec.json.decode(text, type=dict[str, str])
            if not self._count_env(len(variables), len(text)):
                return False
            for name in (extensions.SESSION_REASON, extensions.SESSION_INVITED):
                if (value := variables.get(name.decode())) is not None:
                    self.words = self.words.heard(name, value.encode("utf-8", "replace"))
            return True  # noqa: TRY300 - msgspec may have raised in any line before
        except (msgspec.DecodeError, UnicodeDecodeError):
            return False

    def _count_env(self, variables: int, size: int) -> bool:
        taken, total = self.env_taken + variables, self.env_bytes + size
        if self.started or taken > MAX_ENV_VARS or total > MAX_ENV_BYTES:
            return False
        self.env_taken, self.env_bytes = taken, total
        return True

    def take_start(self, name: bytes, data: bytes) -> StartRequest | None:
        """Note shell, exec or subsystem (§6.5); None if the channel already runs something."""
        if self.started:
            return None
        reader = Reader(data)
        command = b"" if name == b"shell" else reader.string()
        reader.end()
        self.started = True
        words = self.words
        return StartRequest(name.decode(), command, self.term, self.window, words.reason, words.invited)

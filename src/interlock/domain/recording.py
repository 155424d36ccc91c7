"""What a recording is made of: a header, frames of output, resizes and markers, what it covers, how it ended.

Output is kept as the bytes that came, in the packets in which they came; joining characters that were
split across packets is a matter of export (`casting`). How frames are laid out in a file is in `container`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, TypeVar

import msgspec

from interlock.core.errors import RecordingError
from interlock.domain.coverage import Covered
from interlock.domain.session import Exit, Window

T = TypeVar("T")

MICROSECONDS = 1_000_000

DIED = "the recorder stopped before the session's end"
"""How a recording ends whose daemon was killed."""


class RecordingState(Enum):
    """How much of a recording there is, and where."""

    COMPLETE = "complete"
    CUT_OFF = "cut off"  # stored, up to the moment at which its recorder died
    RUNNING = "running"  # being made, here or on a node
    UNFINISHED = "unfinished"  # its recorder has died; the next start of its daemon completes it
    ON_NODE = "on node"  # its node has not delivered it yet
    QUARANTINED = "quarantined"  # for a person to look at: unreadable, or not accepted
    DELETED = "deleted"  # by the retention policy
    MISSING = "missing"  # should be here, and is not


class FrameKind(IntEnum):
    """The first byte of a stored frame."""

    HEADER = 1
    STDOUT = 2
    STDERR = 3
    RESIZE = 4
    MARKER = 5
    EXIT = 6
    STDIN = 7
    COVERAGE = 8


KNOWN = frozenset(FrameKind)
"""Frames of other kinds come from a newer writer; a reader skips them."""


CLEAR = frozenset({FrameKind.HEADER, FrameKind.MARKER, FrameKind.EXIT, FrameKind.COVERAGE})
"""Frames that are never encrypted: what they say, the audit log says, too. They are not put into one block with
others where contents are encrypted."""


class Stream(IntEnum):
    """Which way bytes went; the value is their frame kind. A terminal's output is all STDOUT."""

    STDOUT = FrameKind.STDOUT
    STDERR = FrameKind.STDERR
    STDIN = FrameKind.STDIN  # of commands without a terminal, if a role says so; never of terminals (passwords)


@dataclass(frozen=True, slots=True)
class Header:
    """The first frame: whose session this is. ``event`` holds the fields that all its audit events share.

    With them the end of a session whose daemon died can be written from the recording alone.
    """

    sid: str
    user: str
    login: str
    hostname: str
    target_id: str
    sub_kind: str
    recorded_by: str
    mode: str
    kind: str
    command: str
    start: str  # RFC 3339
    cluster: str
    interactive: bool = False  # a terminal was attached; its size is the client's word, so it proves nothing
    cols: int = 0
    rows: int = 0
    term: str = ""
    origin_cluster: str = ""  # the user's, if it is another: people of the same name are not the same person
    event: Mapping[str, Any] = field(default_factory=dict)  # JsonValue, which is too wide a union to decode


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that the command wrote, or read if the stream is STDIN."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class Marker:
    """A note of the recorder, for example that output was not kept."""

    what: str  # "truncated" or "gap"
    why: str
    stdout: int = 0  # bytes of each stream that are not in the recording
    stderr: int = 0
    lost: int = 0  # bytes of the file that could not be read
    stdin: int = 0


@dataclass(frozen=True, slots=True)
class Coverage:
    """Rows of the manifest: one as it arises, all of them at the end, which then counts alone."""

    rows: tuple[Covered, ...]
    final: bool = False


Body = Header | Output | Window | Marker | Coverage | Exit


@dataclass(frozen=True, slots=True)
class Frame:
    """One thing that happened, ``at`` microseconds after the start."""

    at: int
    body: Body


def to_payload(body: Header | Marker | Coverage | Exit) -> bytes:
    """The JSON payload of a frame that has one."""
    return msgspec.json.encode(body)


def from_payload(kind: int, payload: bytes) -> Body:
    """Read a frame's payload; RecordingError if it is not what its kind promises."""
    match kind:
        case FrameKind.STDOUT | FrameKind.STDERR | FrameKind.STDIN:
            return Output(Stream(kind), payload)
        case FrameKind.RESIZE if len(payload) == 8:
            return Window(int.from_bytes(payload[:4], "big"), int.from_bytes(payload[4:], "big"))
        case FrameKind.HEADER:
            return _parsed(payload, Header)
        case FrameKind.MARKER:
            return _parsed(payload, Marker)
        case FrameKind.EXIT:
            return _parsed(payload, Exit)
        case FrameKind.COVERAGE:
            return _parsed(payload, Coverage)
        case _:
            raise RecordingError("the recording is damaged", reason=f"frame of kind {kind}, {len(payload)} bytes")


def resize_payload(window: Window) -> bytes:
    """The payload of a RESIZE frame: columns and rows, 32 bits each."""
    return min(window.cols, 0xFFFFFFFF).to_bytes(4, "big") + min(window.rows, 0xFFFFFFFF).to_bytes(4, "big")


def _parsed(payload: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RecordingError("the recording is damaged", reason=f"{kind.__name__} frame: {error}") from None

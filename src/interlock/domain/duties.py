"""Who records, emits and tracks a session: the one table, walked by one test.

The forwarder and the node each look up their own row, so both sides of the contract are here and
nothing else in the code asks for the recording mode. ADR-0001 gives the reason for the tracker cells.
"""

from dataclasses import dataclass
from enum import Enum

from interlock.domain.target import SubKind


class RecordingMode(Enum):
    """Where sessions with our own nodes are recorded."""

    NODE = "node"
    PROXY = "proxy"


@dataclass(frozen=True, slots=True)
class Duties:
    """What one of the two SSH servers of a session does."""

    mints: bool  # decides the session ID when the other side does not
    records: bool  # makes the recording and emits the session's audit events
    tracks: bool  # keeps the session tracker in auth
    names_forwarder: bool  # events carry forwarded_by and session_recording: proxy


NONE = Duties(mints=False, records=False, tracks=False, names_forwarder=False)

FORWARDER_DUTIES: dict[tuple[RecordingMode, SubKind], Duties] = {
    (RecordingMode.NODE, SubKind.NODE): NONE,
    (RecordingMode.PROXY, SubKind.NODE): Duties(mints=False, records=True, tracks=True, names_forwarder=True),
    (RecordingMode.NODE, SubKind.AGENTLESS): Duties(mints=True, records=True, tracks=True, names_forwarder=False),
    (RecordingMode.PROXY, SubKind.AGENTLESS): Duties(mints=True, records=True, tracks=True, names_forwarder=True),
}

NODE_DUTIES: dict[bool, Duties] = {
    # key: does the connection's certificate say that a forwarder records?
    False: Duties(mints=True, records=True, tracks=True, names_forwarder=False),
    True: Duties(mints=True, records=False, tracks=False, names_forwarder=False),
}

"""Twins: one session in two records, the forwarder's, and that of a node of before the contract under its own ID.

Which of a node's sessions is whose twin is decided here, from what both daemons told. The rules only ever let a
node's own session count as a twin of one that the forwarder had with that very node: whatever a node says, it can
hide nothing but what it recorded itself, and could have kept to itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from interlock.core.ids import DaemonId, SessionId
from interlock.domain.audit import JsonValue, Kind

CLOCKS_APART = timedelta(seconds=60)
"""By how much the clocks of gateway and node may differ; where they differ more, both records are shown."""

_NAMES_TOLD_BY_BOTH = frozenset(
    kind.event
    for kind in (
        Kind.SESSION_START,
        Kind.SESSION_RESIZE,
        Kind.SESSION_LEAVE,
        Kind.SESSION_END,
        Kind.SESSION_UPLOAD,
        Kind.SESSION_DATA,
        Kind.EXEC,
        Kind.SUBSYSTEM,
        Kind.SFTP_OPEN,
        Kind.SFTP_SUMMARY,
        Kind.SCP_UPLOAD,
        Kind.PORT,
        Kind.CLIENT_DISCONNECT,
    )
)

TOLD_BY_BOTH = frozenset(
    kind.code for kind in Kind if kind.event in _NAMES_TOLD_BY_BOTH or kind in {Kind.X11, Kind.AGENT}
)
"""Codes of what the forwarder tells of every session that it records. Anything else of the node is news, and
stays: also why it refused X11 or the agent, which it alone knows."""

DEDUPLICATED = "deduplicated"
"""Field of a node's event that says again what the forwarder's record of the session says."""

NODE_SID = "node_sid"
"""Field of every event of a twin: the ID under which the node told it."""

Told = Mapping[str, JsonValue]
"""An event as it is stored."""


@dataclass(frozen=True, slots=True)
class Twin:
    """A session that the forwarder records although the node will not leave it to it."""

    sid: SessionId  # the forwarder's, and the client's
    node: DaemonId
    seen_from: str  # the forwarder's end of the connection, as host:port, which the node takes for the client
    named: SessionId | None = None  # what the node called the session, on its channel


def same_session(twin: Twin, ours: Told, ended: datetime | None, theirs: Told) -> bool:
    """Whether a node's ``session.start`` is about the session of ours, which ended then or lives.

    Where the node named no session, the address tells the connection, which nobody else can have at that time, and
    the command tells the session.
    """
    if theirs.get("recorded_by") != twin.node or theirs.get("server_id") != twin.node:
        return False
    if ours.get("server_id") != twin.node or ours.get("recorded_by") == twin.node:
        return False
    if any(ours.get(name) != theirs.get(name) for name in ("user", "login")):
        return False
    began, their_start = _time(ours), _time(theirs)
    if their_start < began - CLOCKS_APART or (ended is not None and their_start > ended + CLOCKS_APART):
        return False
    if twin.named is not None:
        return theirs.get("sid") == twin.named
    here = theirs.get("addr.remote") == twin.seen_from
    return here and theirs.get("initial_command") == ours.get("initial_command")


def folded(event: Told, sid: SessionId) -> dict[str, JsonValue]:
    """A node's event as one of the session ``sid``."""
    marks: dict[str, JsonValue] = {"sid": sid, NODE_SID: str(event.get("sid", ""))}
    if event["code"] in TOLD_BY_BOTH:
        marks[DEDUPLICATED] = True
    return {**event, **marks}


def _time(event: Told) -> datetime:
    return datetime.fromisoformat(str(event["time"]))

"""The tracker: a short-lived shared record that a session is live."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from interlock.core.errors import NotFound
from interlock.core.ids import DaemonId, SessionId

NO_CURSOR = "there is no such place in the list: take the cursor of a row of it"
"""For whoever wants a page behind a row that no list has."""

TRACKER_TTL = timedelta(seconds=30)
"""A tracker whose daemon is silent for this long belongs to a session that died with its daemon."""


def parse_cursor(text: str) -> tuple[datetime, str]:
    """The time and the ID in a `Tracker.cursor`; NotFound for anything else."""
    created, _, sid = text.partition("/")
    try:
        at = datetime.fromisoformat(created)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise NotFound(NO_CURSOR, reason=f"{text[:100]!r} is no cursor of a session")
    return at, sid


class TrackerState(Enum):
    """A session's state as others see it; it only ever moves forward."""

    PENDING = "pending"
    RUNNING = "running"
    TERMINATED = "terminated"


@dataclass(frozen=True, slots=True)
class Tracker:
    """One live session."""

    sid: SessionId
    state: TrackerState
    created: datetime
    expires: datetime
    user: str
    login: str
    hostname: str
    target_id: DaemonId
    daemon_id: DaemonId  # the daemon that keeps this tracker alive
    cluster: str
    sub_kind: str
    recording_mode: str
    kind: str = "ssh"
    command: tuple[str, ...] = ()
    participants: tuple[str, ...] = ()  # users who take part now, the owner first
    reason: str = ""  # in the owner's words
    invited: tuple[str, ...] = ()
    terminal: bool = False  # there is something to see: others may join
    origin_cluster: str = ""  # the user's, if it is another
    swept: bool = False  # its daemon was silent and counts as dead, until it is heard again

    @property
    def owner(self) -> str:
        """Whose session it is, as no namesake of another cluster is called: no user's name has a slash."""
        return f"{self.origin_cluster}/{self.user}" if self.origin_cluster else self.user

    @property
    def cursor(self) -> str:
        """Its place in lists, which are sorted by it."""
        return f"{self.created.astimezone(UTC).isoformat(timespec='microseconds')}/{self.sid}"

    def moved(self, state: TrackerState, *, now: datetime) -> "Tracker":
        """The tracker in a later state; an earlier one is ignored."""
        order = list(TrackerState)
        later = state if order.index(state) >= order.index(self.state) else self.state
        return replace(self, state=later, expires=now + TRACKER_TTL)

    def expired(self, *, now: datetime) -> bool:
        """Whether the daemon that kept it has gone."""
        return self.state is not TrackerState.TERMINATED and now >= self.expires

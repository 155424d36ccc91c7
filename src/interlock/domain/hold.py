"""Legal holds, and how long things are kept that are not held."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

MAX_REASON = 500
"""Characters of a hold's reason."""


class HoldKind(Enum):
    """What may be held. Of a user: every session that this user had or took part in, and all else told of them."""

    SESSION = "session"
    USER = "user"


@dataclass(frozen=True, slots=True)
class Hold:
    """What is named here is not dropped, whatever the policy says, until the hold is removed."""

    id: str
    kind: HoldKind
    name: str  # a session's ID or a user's name
    reason: str
    created: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Retention:
    """How long, and how much at most; None: no limit."""

    events_for: timedelta | None = None
    events_bytes: int | None = None  # of their JSON
    recordings_for: timedelta | None = None
    recordings_bytes: int | None = None

    @property
    def of_events(self) -> bool:
        """Whether events have a limit."""
        return self.events_for is not None or self.events_bytes is not None

    @property
    def of_recordings(self) -> bool:
        """Whether recordings have one."""
        return self.recordings_for is not None or self.recordings_bytes is not None


def check_reason(text: str) -> str:
    """One printable line; ValueError otherwise."""
    if len(text) > MAX_REASON or not text.isprintable():
        msg = f"a reason is one line of at most {MAX_REASON} printable characters"
        raise ValueError(msg)
    return text

"""Whose session an ID is, within one process: claimed before the client hears of it; no two daemons have one.

A node that mints the ID of a session which the proxy records knows it first. Were it to say something about that
session to auth before it announces the ID, its record would count as the first one and the proxy's be dropped. So
the proxy's `Sessions` and auth's RPC guard share these claims: whoever comes second is refused, on either side.

What is in use is held; what was in use is remembered for a while, in bounded memory, since the audit log knows it
by then. Nothing here waits, apart from one lookup of an ID that a session is about to begin under.
"""

from collections import OrderedDict

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.ids import DaemonId, SessionId
from interlock.ports import SessionLookup

MAX_REMEMBERED = 10_000
"""Session IDs, beside those in use, whose daemon is remembered; others are looked up again."""


class SessionClaims:
    """The claims of one process. ``lookup``: what was stored before; None in a daemon that cannot know."""

    def __init__(self, lookup: SessionLookup | None = None) -> None:
        self._lookup = lookup
        self._held: dict[SessionId, tuple[DaemonId, int]] = {}  # the owner, and how many hold it
        self._remembered: OrderedDict[SessionId, DaemonId] = OrderedDict()

    def owner(self, sid: SessionId) -> DaemonId | None:
        """Whose the session is; None if that is not known here."""
        held = self._held.get(sid)
        return self._remembered.get(sid) if held is None else held[0]

    def held(self, sid: SessionId) -> bool:
        """Whether a session of this process, or a call about it, is in progress."""
        return sid in self._held

    def begin(self, sid: SessionId, daemon: DaemonId) -> None:
        """Claim the ID of a new session until `release`.

        RemoteProtocolError if there is or was a session with this ID, StoreError if that cannot be known now.
        """
        if self.owner(sid) is not None or (self._lookup is not None and self._lookup.knows(sid)):
            raise RemoteProtocolError(Rule.SESSION_ID_REUSED, sid)
        self._held[sid] = (daemon, 1)

    def hold(self, sid: SessionId, daemon: DaemonId) -> bool:
        """Claim the ID, or one's own once more, until `release`; False if it is another daemon's."""
        owner = self.owner(sid)
        if owner is not None and owner != daemon:
            return False
        self._held[sid] = (daemon, self._held.get(sid, (daemon, 0))[1] + 1)
        return True

    def release(self, sid: SessionId) -> None:
        """Undo one `begin` or `hold`; the owner stays known for a while."""
        daemon, count = self._held.pop(sid)
        if count > 1:
            self._held[sid] = (daemon, count - 1)
        else:
            self.learn(sid, daemon)

    def learn(self, sid: SessionId, daemon: DaemonId) -> None:
        """Remember what a store says of an ID, unless somebody has claimed it meanwhile."""
        if self.owner(sid) is None:
            self._remembered[sid] = daemon
        if sid in self._remembered:
            self._remembered.move_to_end(sid)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

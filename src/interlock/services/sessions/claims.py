"""Whose session an ID is, within one gateway: claimed before the client hears of it; no two daemons have one.

A node that mints the ID of a session which the proxy records knows it first. Were it to say something about that
session to auth before it announces the ID, its record would count as the first one and the proxy's be dropped. So
the proxy's `Sessions` and auth's RPC guard share these claims: whoever comes second is refused, on either side.

A gateway of several processes has one `SessionClaims` in each of them, and a board where all can see what each has
claimed: what is not on the board cannot begin, and what a dead process left there is still claimed.

What is in use is held; what was in use is remembered for a while, in bounded memory, since the audit log knows it
by then. Nothing here waits, apart from one lookup of an ID that a session is about to begin under.
"""

from collections import OrderedDict
from collections.abc import Callable

from interlock.core.errors import RemoteProtocolError, Rule
from interlock.core.ids import DaemonId, SessionId
from interlock.ports import ClaimBoard, SessionLookup

MAX_REMEMBERED = 10_000
"""Session IDs, beside those in use, whose daemon is remembered; others are looked up again."""


class SessionClaims:
    """The claims of one process.

    ``lookup``: what was stored before; None in a daemon that cannot know.
    ``board``: what all processes of the gateway have claimed; None if this is the only one.
    ``tell``: is told of each session that begins, to claim it at an auth that is elsewhere.
    """

    def __init__(
        self,
        lookup: SessionLookup | None = None,
        board: ClaimBoard | None = None,
        tell: Callable[[SessionId], None] = lambda _sid: None,
    ) -> None:
        self._lookup = lookup
        self.tell = tell  # perhaps set by the composition
        self._board = board
        self._held: dict[SessionId, tuple[DaemonId, int]] = {}  # the owner, and how many hold it
        self._remembered: OrderedDict[SessionId, DaemonId] = OrderedDict()
        self._posted: set[SessionId] = set()  # those of both that are on the board in this process's name

    def owner(self, sid: SessionId) -> DaemonId | None:
        """Whose the session is; None if that is not known here."""
        if (held := self._held.get(sid)) is not None:
            return held[0]
        known = self._remembered.get(sid)
        if known is None and self._board is not None and (posted := self._board.posted(sid)) is not None:
            return posted.daemon
        return known

    def held(self, sid: SessionId) -> bool:
        """Whether a session of this gateway, or a call about it, is in progress; or was, in another process."""
        return sid in self._held or self.holder(sid) is not None

    def holder(self, sid: SessionId) -> str | None:
        """The other process of this gateway that has claimed the ID; None if there is none."""
        posted = self._board.posted(sid) if self._board is not None and sid not in self._posted else None
        return posted.process if posted is not None else None

    def begin(self, sid: SessionId, daemon: DaemonId) -> None:
        """Claim the ID of a new session until `release`.

        RemoteProtocolError if there is or was a session with this ID, StoreError if that cannot be known now.
        """
        known = sid in self._held or sid in self._remembered
        if known or (self._lookup is not None and self._lookup.knows(sid)) or not self._post(sid, daemon):
            raise RemoteProtocolError(Rule.SESSION_ID_REUSED, sid)
        self._held[sid] = (daemon, 1)
        self.tell(sid)

    def hold(self, sid: SessionId, daemon: DaemonId) -> bool:
        """Claim the ID, or one's own once more, until `release`; False if it is another's."""
        owner = self.owner(sid)
        if (owner is not None and owner != daemon) or not self._post(sid, daemon):
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
        if sid not in self._held and sid not in self._remembered:
            self._remembered[sid] = daemon
        if sid in self._remembered:
            self._remembered.move_to_end(sid)
        if len(self._remembered) > MAX_REMEMBERED:
            forgotten, _ = self._remembered.popitem(last=False)
            self._take_down(forgotten)

    def inherit(self, process: str) -> list[SessionId]:
        """Take over what a process that is gone had claimed: it is remembered here, and can be held."""
        if self._board is None:
            return []
        found = self._board.inherit(process)
        for sid, daemon in found.items():
            self._posted.add(sid)
            self.learn(sid, daemon)
        return list(found)

    def _post(self, sid: SessionId, daemon: DaemonId) -> bool:
        if self._board is None or sid in self._posted:
            return True
        if not self._board.post(sid, daemon):
            return False
        self._posted.add(sid)
        return True

    def _take_down(self, sid: SessionId) -> None:
        if self._board is not None and sid in self._posted:
            self._posted.discard(sid)
            self._board.take_down(sid)

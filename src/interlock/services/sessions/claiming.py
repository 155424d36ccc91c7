"""Who is apart from auth claims its sessions there, behind the session path, which never waits.

That is a proxy on another machine, at auth; and a gateway, where several auths have one database, in that. What
is or was another daemon's session is refused. That ends the session here, within a round trip of its beginning: a
node that has told auth of an ID before it told us of it gains a few milliseconds, which are recorded on our disk.
While auth or the database is away sessions go on, and are claimed when it is back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import structlog

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId, SessionId
from interlock.services.audit.outbox import Outbox, Sleep
from interlock.services.sessions.claims import SessionClaims
from interlock.services.sessions.sessions import Sessions

_log = structlog.get_logger()


Claim = Callable[[SessionId, DaemonId], Coroutine[Any, Any, DaemonId]]
"""Claims an ID for a daemon, and says whose it is: that one's, unless another one was first. StoreError."""


def claim_own(claim: Claim, claims: SessionClaims) -> Callable[[SessionId], Awaitable[None]]:
    """For `Claiming`: what this process has claimed for itself is claimed for all auths as well."""

    async def run(sid: SessionId) -> None:
        daemon = claims.owner(sid)
        if daemon is not None and (owner := await claim(sid, daemon)) != daemon:
            raise Denied("this session is another daemon's", reason=f"session {sid} of daemon {owner}")

    return run


class Claiming:
    """`run` belongs into a TaskGroup. ``claim`` asks auth; Denied if the session is another's."""

    def __init__(self, claim: Callable[[SessionId], Awaitable[None]], *, sleep: Sleep = asyncio.sleep) -> None:
        self._claim = claim
        self._outbox: Outbox[SessionId] = Outbox("claims", self._deliver, sleep=sleep)
        self.on_refused: Callable[[SessionId, Denied], None] = lambda _sid, _error: None  # set by the composition

    def end_refused(self, sessions: Sessions) -> None:
        """What is refused ends: whatever we would tell of it, auth would not take."""

        def end(sid: SessionId, error: Denied) -> None:
            _log.error("session.claim_refused", sid=sid, reason=error.reason)
            if (live := sessions.find(sid)) is not None:
                public = "this session cannot be recorded here: its ID was used before"
                live.locked(Denied(public, reason=error.reason))

        self.on_refused = end

    def tell(self, sid: SessionId) -> None:
        """A session has begun here."""
        self._outbox.put(sid)

    async def run(self) -> None:
        """Until cancelled."""
        await self._outbox.run()

    async def _deliver(self, sids: Sequence[SessionId]) -> None:
        for sid in sids:
            try:
                await self._claim(sid)
            except Denied as error:
                self.on_refused(sid, error)

"""A proxy apart from auth claims its sessions there, behind the session path, which never waits.

Auth refuses what is or was another daemon's session. That ends the session here, within a round trip of its
beginning: a node that has told auth of an ID before it told us of it gains a few milliseconds, which are recorded
on our disk. While auth is away sessions go on, and are claimed when it is back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from interlock.core.errors import Denied
from interlock.core.ids import SessionId
from interlock.services.outbox import Outbox, Sleep


class Claiming:
    """`run` belongs into a TaskGroup. ``claim`` asks auth; Denied if the session is another's."""

    def __init__(self, claim: Callable[[SessionId], Awaitable[None]], *, sleep: Sleep = asyncio.sleep) -> None:
        self._claim = claim
        self._outbox: Outbox[SessionId] = Outbox("claims", self._deliver, sleep=sleep)
        self.on_refused: Callable[[SessionId, Denied], None] = lambda _sid, _error: None  # set by the composition

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

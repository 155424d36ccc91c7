"""The end of a live session, asked for at the portal: one's own, or where a role lets one end others'.

It is a lock on the session, as ``ilctl sessions terminate`` makes it, so it ends wherever it is recorded.
"""

from collections.abc import Sequence
from datetime import timedelta

from interlock.core import portal as wire
from interlock.core.errors import Denied, InterlockError, NotFound
from interlock.core.ids import parse_session_id
from interlock.domain.access import Verb
from interlock.domain.audit import AuditEvent, Kind, rfc3339
from interlock.domain.lock import Lock, LockKind, check_message, in_force
from interlock.domain.rbac import Role, may
from interlock.domain.target import Target
from interlock.domain.tracker import Tracker
from interlock.ports import Clock, Entropy, LockStore, TargetLookup, TrackerLookup
from interlock.services.audit.emitter import EventFactory

FOR = timedelta(minutes=10)
"""How long the lock stays: so long may the daemon that has the session be cut off from auth."""

MAX_ENDED = 20
"""Sessions that one person may end within that time: all locks together are bounded."""


class Ending:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        trackers: TrackerLookup,
        targets: TargetLookup,
        locks: LockStore,
        factory: EventFactory,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._trackers = trackers
        self._targets = targets
        self._locks = locks
        self._factory = factory
        self._clock = clock
        self._entropy = entropy

    async def end(self, user: str, roles: Sequence[Role], request: wire.EndSession) -> AuditEvent:
        """End it, and what is to be told of that. NotFound if there is none that the person may end."""
        tracker = await self._find(request.sid)
        if tracker.owner != user:
            target = await self._target(tracker)
            if target is None or not may(roles, Verb.END_SESSIONS, target):
                raise _none(request.sid)
        now = self._clock.now()
        mine = [each for each in in_force(await self._locks.locks(), now) if each.created_by == _by(user)]
        if len(mine) >= MAX_ENDED:
            raise Denied(f"you have ended {MAX_ENDED} sessions just now: wait a few minutes")
        try:
            message = check_message(request.message) or f"{user} has ended this session"
        except ValueError as error:
            raise Denied(str(error)) from None
        lock = Lock(self._entropy.uuid(), LockKind.SESSION, tracker.sid, now, message, now + FOR, _by(user))
        await self._locks.add_lock(lock)
        return self._factory.make(
            Kind.LOCK_CREATE,
            {
                "user": user,
                "name": lock.id,
                "target": {lock.kind.value: lock.name},
                "message": message,
                "expires": rfc3339(now + FOR),
            },
        )

    async def _find(self, text: str) -> Tracker:
        try:
            tracker = await self._trackers.find(parse_session_id(text))
        except ValueError:
            raise _none(text) from None
        if tracker is None or tracker.expired(now=self._clock.now()):
            raise _none(text)
        return tracker

    async def _target(self, tracker: Tracker) -> Target | None:
        try:
            return await self._targets.target(tracker.target_id)
        except InterlockError:
            return None


def _by(user: str) -> str:
    return f"portal:{user}"


def _none(text: str) -> NotFound:
    return NotFound(f"there is no live session {text[:64]} of yours, or that you may end")

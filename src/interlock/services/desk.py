"""Where people ask to take part in a session of somebody else: is there such a session, where, and may they?

Asked when a connection arrives and again when its channel opens, because roles and sessions change meanwhile.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from interlock.core.errors import Denied, InterlockError, NotFound
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId
from interlock.domain.identity import Claims, Joining
from interlock.domain.party import Participant, Wish, choose_mode, joinable_modes
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import Tracker
from interlock.ports import Clock, SessionLookup, TargetSource, TrackerLookup
from interlock.services.live import LiveSession
from interlock.services.sessions import Sessions


@dataclass(frozen=True, slots=True)
class Here:
    """The session is recorded by this daemon."""

    session: LiveSession
    participant: Participant
    modes: tuple[JoinMode, ...]  # in which they may take part


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """It is recorded by our node, to which this permit leads."""

    permit: Permit
    mode: JoinMode


class Desk:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        trackers: TrackerLookup,
        targets: TargetSource,
        lookup: SessionLookup,
        current_roles: Callable[[Claims], Awaitable[list[Role]]],
        cluster: str,
        daemon_id: DaemonId,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        self._trackers = trackers
        self._targets = targets
        self._lookup = lookup
        self._current_roles = current_roles
        self._cluster = cluster
        self._daemon_id = daemon_id
        self._clock = clock

    async def ask(self, claims: Claims, wish: Wish, client_addr: str) -> Here | Elsewhere:
        """Where to go; Denied, or NotFound if there is no such session now."""
        if claims.identity.cluster != self._cluster:
            public = f"sessions of the cluster {self._cluster} cannot be joined from another cluster"
            raise Denied(public, reason=f"{claims.identity.user} of {claims.identity.cluster} wanted {wish.sid}")
        roles = await self._current_roles(claims)
        live = self._sessions.find(wish.sid)
        if live is not None:
            return self._here(claims, roles, live, wish, client_addr)
        tracker = await self._tracker(wish)
        target = await self._target(tracker)
        user, owner = claims.identity.user, tracker.owner
        modes = joinable_modes(user, roles, owner=owner, target=target)
        mode = choose_mode(user, modes, wish.mode, owner=owner)
        if target is None or tracker.daemon_id != target.id or target.sub_kind is not SubKind.NODE:
            public = "this session is held by another gateway: join it there"
            raise Denied(public, reason=f"{public}; its daemon is {tracker.daemon_id}")
        joining = Joining(wish.sid, modes)
        return Elsewhere(Permit.to_join(claims, target, joining, now=self._clock.now()), mode)

    def _here(self, claims: Claims, roles: list[Role], live: LiveSession, wish: Wish, client_addr: str) -> Here:
        user, owner = claims.identity.user, live.ctx.identity.named(self._cluster)
        if live.ctx.target_cluster:  # its roles say who may see what happens there, and we do not know them
            public = f"this session is in the cluster {live.ctx.target_cluster}: it cannot be joined from here"
            raise Denied(public, reason=f"{user} wanted to join {wish.sid} of {owner}")
        modes = joinable_modes(user, roles, owner=owner, target=live.ctx.target)
        mode = choose_mode(user, modes, wish.mode, owner=owner)
        live.parties.check_open()
        return Here(live, Participant(claims.identity, mode, client_addr), modes)

    async def _tracker(self, wish: Wish) -> Tracker:
        found = await self._trackers.find(wish.sid)
        if found is None or found.expired(now=self._clock.now()):
            ended = self._lookup.knows(wish.sid)
            raise NotFound("this session has ended" if ended else f"there is no session {wish.sid}")
        if found.cluster != self._cluster:
            raise Denied(f"this session belongs to the cluster {found.cluster}: join it through its gateway")
        return found

    async def _target(self, tracker: Tracker) -> Target | None:
        try:
            return await self._targets.target(tracker.target_id)
        except InterlockError:
            return None

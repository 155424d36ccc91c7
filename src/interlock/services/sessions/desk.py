"""Where people ask to take part in a session of somebody else: is there such a session, where, and may they?

Asked when a connection arrives and again when its channel opens, because roles and sessions change meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from interlock.core.errors import Denied, InterlockError, NotFound
from interlock.core.extensions import JoinMode
from interlock.core.ids import DaemonId, SessionId
from interlock.domain.factor import check_factor, check_hardware, hardware_required_by, required_by
from interlock.domain.identity import Claims, Joining
from interlock.domain.party import Participant, Wish, choose_mode, joinable_modes
from interlock.domain.permit import Permit, check_may_join
from interlock.domain.rbac import Role
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import Tracker
from interlock.ports import Clock, SessionLookup, TargetLookup, TrackerLookup
from interlock.services.audit.outbox import Sleep
from interlock.services.sessions.live import LiveSession
from interlock.services.sessions.sessions import Sessions

TRIES, PAUSE_S = 20, 0.1
"""How often, every so many seconds, the tracker of a session that another process has claimed is looked for."""


@dataclass(frozen=True, slots=True)
class Here:
    """The session is recorded by this daemon."""

    session: LiveSession
    participant: Participant
    modes: tuple[JoinMode, ...]  # in which they may take part


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """It is recorded by our node, by another process of this gateway, or by another proxy: this leads there."""

    permit: Permit
    mode: JoinMode
    target: Target  # where the session is to people
    tracker: Tracker


class Desk:
    """See the module's docstring."""

    def __init__(
        self,
        *,
        sessions: Sessions,
        trackers: TrackerLookup,
        targets: TargetLookup,
        lookup: SessionLookup,
        current_roles: Callable[[Claims], Awaitable[list[Role]]],
        cluster: str,
        daemon_id: DaemonId,
        clock: Clock,
        holder: Callable[[SessionId], str | None] = lambda _sid: None,
        is_peer: Callable[[DaemonId], bool] = lambda _daemon: False,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """``holder``: the name of the other process of this gateway that has a session (`claims.holder`).

        ``is_peer``: whether a daemon is another proxy that can be reached.
        """
        self._holder = holder
        self._is_peer = is_peer
        self._sleep = sleep
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
        check_factor(required_by(roles), claims.identity)
        check_hardware(hardware_required_by(roles), claims.identity)
        check_may_join(claims)
        live = self._sessions.find(wish.sid)
        if live is not None:
            return self._here(claims, roles, live, wish, client_addr)
        tracker = await self._tracker(wish)
        target = await self._target(tracker)
        user, owner = claims.identity.user, tracker.owner
        modes = joinable_modes(user, roles, owner=owner, target=target, login=tracker.login, source=client_addr)
        mode = choose_mode(user, modes, wish.mode, owner=owner)
        there = self._server(tracker, target)
        permit = Permit.to_join(claims, roles, there, Joining(wish.sid, modes), now=self._clock.now())
        return Elsewhere(permit, mode, target or there, tracker)

    def _server(self, tracker: Tracker, target: Target | None) -> Target:
        """Where the session can be joined: a node, or the process or the proxy that stands for it."""
        if target is not None and tracker.daemon_id == target.id and target.sub_kind is SubKind.NODE:
            return target
        process = self._holder(tracker.sid) if tracker.daemon_id == self._daemon_id else None
        if self._is_peer(tracker.daemon_id):
            process = tracker.daemon_id
        if process is None:
            public = "this session is held by another gateway: join it there"
            raise Denied(public, reason=f"{public}; its daemon is {tracker.daemon_id}")
        return Target(DaemonId(process), tracker.hostname, "", 0, SubKind.NODE, tunnel=True)

    def join_here(self, sid: SessionId) -> LiveSession:
        """The live session of this process, for somebody whom another one has let in; Denied as `ask` would."""
        live = self._sessions.find(sid)
        if live is None:
            raise Denied("this session has ended", reason=f"{sid} is not live in this process")
        self._check_ours(live)
        return live

    def owner_of(self, live: LiveSession) -> str:
        """Whose it is, as this cluster calls them."""
        return live.ctx.identity.named(self._cluster)

    def _check_ours(self, live: LiveSession) -> None:
        """Denied for a session in a leaf: its roles say who may see it, and we do not know them."""
        if live.ctx.target_cluster:
            public = f"this session is in the cluster {live.ctx.target_cluster}: it cannot be joined from here"
            raise Denied(public, reason=f"somebody wanted to join {live.sid} of {live.ctx.identity.user}")

    def _here(self, claims: Claims, roles: list[Role], live: LiveSession, wish: Wish, client_addr: str) -> Here:
        user, owner = claims.identity.user, self.owner_of(live)
        self._check_ours(live)
        modes = joinable_modes(
            user, roles, owner=owner, target=live.ctx.target, login=live.ctx.login, source=client_addr
        )
        mode = choose_mode(user, modes, wish.mode, owner=owner)
        live.parties.check_open()
        return Here(live, Participant(claims.identity, mode, client_addr), modes)

    async def _tracker(self, wish: Wish) -> Tracker:
        found = await self._trackers.find(wish.sid)
        tries = 0
        while found is None and self._holder(wish.sid) is not None and tries < TRIES:
            await self._sleep(PAUSE_S)  # it has just begun there: its tracker is on the way to the store
            found = await self._trackers.find(wish.sid)
            tries += 1
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

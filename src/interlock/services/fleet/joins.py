"""Whether somebody at a proxy apart may join a session, and where that session is: decided by auth, as of now."""

from interlock.core.errors import InterlockError, NotFound
from interlock.core.ids import DaemonId
from interlock.domain.identity import Claims, Joining
from interlock.domain.party import joinable_modes
from interlock.domain.permit import Permit
from interlock.domain.target import SubKind, Target
from interlock.domain.tracker import Tracker
from interlock.ports import Clock, TargetSource, TrackerLookup
from interlock.services.clusters.federation import FederatedAdmission
from interlock.services.fleet.members import refused
from interlock.services.keys.daemonca import HostIdentity


class Joins:
    """Decides."""

    def __init__(
        self,
        *,
        cluster: str,
        admission: FederatedAdmission,
        trackers: TrackerLookup,
        targets: TargetSource,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._admission = admission
        self._trackers = trackers
        self._targets = targets
        self._clock = clock

    async def permit(
        self, proxy: HostIdentity, claims: Claims, wanted: Joining, *, at: DaemonId, source: str
    ) -> Permit:
        """Proof that the person may join in these modes, at the daemon that has the session; Denied, NotFound."""
        if claims.identity.cluster != self._cluster:
            raise refused(proxy, f"{claims.identity.user} of {claims.identity.cluster} to join {wanted.sid}")
        roles = await self._admission.current_roles(claims)
        tracker = await self._trackers.find(wanted.sid)
        if tracker is None or tracker.expired(now=self._clock.now()):
            raise NotFound("this session has ended")
        target = await self._target_of(tracker)
        modes = joinable_modes(
            claims.identity.user, roles, owner=tracker.owner, target=target, login=tracker.login, source=source
        )
        if not wanted.modes or not set(wanted.modes) <= set(modes) or at != tracker.daemon_id:
            raise refused(proxy, f"{claims.identity.user} to join {wanted.sid} at {at} as {wanted.modes}")
        held_by_node = target is not None and target.id == at and target.sub_kind is SubKind.NODE
        there = target if target is not None and held_by_node else _proxy(at, tracker)
        return Permit.to_join(claims, roles, there, wanted, now=self._clock.now())

    async def _target_of(self, tracker: Tracker) -> Target | None:
        try:
            return await self._targets.target(tracker.target_id)
        except InterlockError:
            return None


def _proxy(where: DaemonId, tracker: Tracker) -> Target:
    """A proxy that holds a session, as the target of who joins it."""
    return Target(where, tracker.hostname, "", 0, SubKind.NODE, tunnel=True)

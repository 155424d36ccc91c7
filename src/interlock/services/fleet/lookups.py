"""What auth tells proxies apart from it: who somebody is now, and what there is."""

from collections.abc import Iterable
from dataclasses import replace

from interlock.core.errors import Denied
from interlock.core.ids import SessionId
from interlock.domain.access import for_proxies
from interlock.domain.cluster import TrustedCluster
from interlock.domain.granted import Granted
from interlock.domain.rbac import Role
from interlock.domain.target import Target
from interlock.domain.tracker import Tracker
from interlock.ports import KnownClusters, ModeSource, SessionLookup, TargetSource, TrackerLookup
from interlock.services.access.standing import Standing
from interlock.services.clusters.federation import FederatedAdmission
from interlock.services.fleet.members import Members
from interlock.services.fleet.shown import People
from interlock.services.keys.daemonca import HostIdentity


class Standings:
    """Of people."""

    def __init__(self, *, people: People, admission: FederatedAdmission, modes: ModeSource) -> None:
        self._people = people
        self._admission = admission
        self._modes = modes

    async def standing(self, proxy: HostIdentity, certificate: bytes) -> Standing:
        """What counts of whoever shows this certificate."""
        claims = await self._people.claims(proxy, certificate)
        root = None if self._people.is_ours(claims) else await self._admission.root_of(claims)
        roles = await self._admission.current_roles(claims)
        modes, askable = await self._modes.mode_policy(), await self._admission.askable(roles)
        return Standing(_told(roles), modes, root, _told(askable))

    async def taken_away(self, proxy: HostIdentity, granted: Granted) -> Denied | None:
        """`ports.Remaining`, of whose certificate or key the proxy shows with the claims."""
        claims = await self._people.still(proxy, granted.claims)
        return await self._admission.taken_away(replace(granted, claims=claims))

    async def find(self, proxy: HostIdentity, certificate: bytes, name: str) -> Target:
        """The target that the person names."""
        return await self._admission.find(await self._people.claims(proxy, certificate), name)


class Lookups:
    """Of what there is, whoever asks for it."""

    def __init__(
        self,
        *,
        members: Members,
        trusts: KnownClusters,
        targets: TargetSource,
        trackers: TrackerLookup,
        sessions: SessionLookup,
    ) -> None:
        self._members = members
        self._trusts = trusts
        self._targets = targets
        self._trackers = trackers
        self._sessions = sessions

    async def trusted(self) -> tuple[TrustedCluster, ...]:
        """The clusters that this one has to do with: public keys and names."""
        return tuple(await self._trusts.trusted_clusters())

    async def target(self, proxy: HostIdentity, target_id: str) -> Target:
        """One target; NotFound."""
        await self._members.check(proxy)
        return await self._targets.target(target_id)

    async def tracker(self, proxy: HostIdentity, sid: SessionId) -> tuple[Tracker | None, bool]:
        """A session's tracker if it lives, and whether there was such a session at all."""
        await self._members.check(proxy)
        return await self._trackers.find(sid), self._sessions.knows(sid)


def _told(roles: Iterable[Role]) -> tuple[Role, ...]:
    """As a proxy is told of them."""
    return tuple(replace(role, options=for_proxies(role.options)) for role in roles)

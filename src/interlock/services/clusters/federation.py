"""People who come from a root cluster, and people who go to a leaf: whom to believe, and what they may do.

A root's user authority is believed about one thing: that its forwarder stands at our proxy for one of its users.
Everything else is decided here, by the mapping of roles and our own roles, anew for every session.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol

import structlog

from interlock.core.certificate import PublicKey, SignedCertificate
from interlock.core.errors import Denied, InterlockError, NotFound
from interlock.domain.cluster import (
    LeafPass,
    Relation,
    TrustedCluster,
    closed,
    door_of,
    mapped_roles,
    split_cluster,
)
from interlock.domain.duties import RecordingMode
from interlock.domain.factor import hardware_required_by, required_by
from interlock.domain.granted import Granted
from interlock.domain.identity import Claims
from interlock.domain.lock import Subject
from interlock.domain.party import parse_wish
from interlock.domain.permit import Permit
from interlock.domain.rbac import Role
from interlock.domain.target import Route, Target
from interlock.domain.traits import filled
from interlock.ports import (
    ClaimsReader,
    Clock,
    Cluster,
    KeySource,
    KnownClusters,
    LockSource,
    ModeSource,
    RequestSource,
    RoleSource,
    TargetSource,
    UserSource,
)
from interlock.services.access.admission import NO_REQUESTS, RoleAdmission, refused
from interlock.services.access.locks import check_stored
from interlock.services.audit.outbox import Sleep
from interlock.services.keys.certificates import CertificateReader

REFRESH_S = 2.0
"""Seconds after which a root that was trusted meanwhile is believed at the door. One that is not trusted any more
is found out by every decision, at once."""

_log = structlog.get_logger()


class FederatedClaims:
    """`ports.ClaimsReader` of a proxy's door: our own authority's certificates, and those of roots' forwarders."""

    def __init__(
        self, own: ClaimsReader, trusts: KnownClusters, cluster: Cluster, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._own = own
        self._trusts = trusts
        self._door = door_of(cluster.id)
        self._sleep = sleep
        self._roots: Mapping[PublicKey, tuple[str, CertificateReader]] = {}

    async def run(self) -> None:
        """Keep up with what administrators change."""
        while True:
            try:
                await self.refresh()
            except InterlockError as error:  # of an auth elsewhere it may be a reply that we cannot read
                _log.warning("clusters.not_read", reason=error.reason)
            await self._sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Read whom to believe; StoreError."""
        found: dict[PublicKey, tuple[str, CertificateReader]] = {}
        for root in await self._trusts.trusted_clusters(Relation.ROOT):
            try:
                reader = CertificateReader(root.user_cas)
            except ValueError as error:
                _log.error("cluster.unreadable", cluster=root.name, error=str(error))
                continue
            found |= {PublicKey.parse(line): (root.name, reader) for line in root.user_cas}
        self._roots = found

    def read(self, certificate: bytes, *, now: datetime) -> Claims:
        """The claims; Denied if anything is wrong, or a root's certificate is not for this door."""
        root = self._root_of(certificate)
        if root is None:
            return self._own.read(certificate, now=now)
        name, reader = root
        claims = reader.read(certificate, now=now)
        if claims.identity.cluster.lower() != name:
            reason = f"the authority of {name} vouched for somebody of {claims.identity.cluster[:128]}"
            raise Denied("your certificate was not accepted", reason=reason)
        if claims.forwarded is None or claims.forwarded.target != self._door:
            public = f"your certificate is of the cluster {name}: connect through its gateway"
            raise Denied(public, reason=f"certificate {claims.serial} was not made for a session here")
        return replace(claims, identity=replace(claims.identity, cluster=name))

    def _root_of(self, certificate: bytes) -> tuple[str, CertificateReader] | None:
        if not self._roots:
            return None
        try:
            return self._roots.get(SignedCertificate.parse(certificate).certificate.authority)
        except ValueError:
            return None  # the other reader says why


class FederatedAdmission(RoleAdmission):
    """The proxy's questions to policy, for our own people and for those of root clusters."""

    def __init__(
        self,
        *,
        users: UserSource,
        roles: RoleSource,
        targets: TargetSource,
        modes: ModeSource,
        locks: LockSource,
        clock: Clock,
        cluster: Cluster,
        trusts: KnownClusters,
        requests: RequestSource = NO_REQUESTS,
        keys: KeySource | None = None,
    ) -> None:
        super().__init__(
            users=users,
            roles=roles,
            targets=targets,
            modes=modes,
            locks=locks,
            clock=clock,
            requests=requests,
            keys=keys,
        )
        self._cluster = cluster
        self._trusts = trusts

    async def permit_for(
        self, claims: Claims, login: str, target: Target, *, source: str | None = "", named: str = ""
    ) -> Permit:
        """Proof that the login is allowed; Denied otherwise. See `RoleAdmission.permit_for`."""
        if not self._foreign(claims):
            return await super().permit_for(claims, login, target, source=source, named=named)
        roles = await self.current_roles(claims)
        if login not in claims.logins:
            public = f"access denied: the login {login} was not asked for"
            raise Denied(public, reason=f"the forwarder's certificate is for {', '.join(claims.logins)}")
        modes = await self._modes.mode_policy()
        here = replace(claims, identity=replace(claims.identity, roles=tuple(role.name for role in roles)))
        now = self._clock.now()
        await check_stored(self._locks, Subject.of(here.identity, login, target), now=now)
        try:
            return Permit.decide(here, roles, login, target, now=now, modes=modes, source=source)
        except Denied as error:
            raise refused(error, roles, (), login, target, named) from None

    async def asks(self, claims: Claims, login: str, name: str) -> bool:
        """Nobody from elsewhere is asked: their own gateway was the one to do so."""
        return not self._foreign(claims) and await super().asks(claims, login, name)

    async def current_roles(self, claims: Claims) -> list[Role]:
        """The roles that count now: of somebody from a root, those that the mapping gives."""
        if not self._foreign(claims):
            return await super().current_roles(claims)
        return await self._roles_of(claims)

    async def taken_away(self, granted: Granted) -> Denied | None:
        """`ports.Remaining`: also of whoever went on to a leaf that is not trusted any more."""
        if granted.leaf:
            try:
                leaf = await self._trusts.trusted_cluster(Relation.LEAF, granted.leaf)
            except NotFound:
                return Denied(f"the cluster {granted.leaf} is no leaf cluster of this gateway any more")
            if not leaf.enabled:
                return closed(leaf)
        return await super().taken_away(granted)

    async def _roles_of(self, claims: Claims) -> list[Role]:
        if not self._foreign(claims):
            return await super()._roles_of(claims)
        root = await self.root_of(claims)
        names = mapped_roles(root.roles, claims.identity.roles)
        roles = filled(await self._roles.roles(names), {})  # what another cluster says of its people is not asked
        if not roles:
            public = f"access denied: none of your roles counts in the cluster {self._cluster.name}"
            theirs = ", ".join(claims.identity.roles) or "no role"
            reason = (
                f"{claims.identity.user} of {root.name} has {theirs}, mapped to {', '.join(names) or 'nothing'}"
            )
            raise Denied(public, reason=reason)
        return roles

    async def root_of(self, claims: Claims) -> TrustedCluster:
        """The cluster that somebody comes from; Denied if it is not trusted (any more)."""
        name = claims.identity.cluster
        try:
            root = await self._trusts.trusted_cluster(Relation.ROOT, name)
        except NotFound:
            root = None
        if root is None or not root.enabled:
            public = f"the cluster {self._cluster.name} does not trust the cluster {name} any more"
            raise Denied(public, reason=f"{public}: {'disabled' if root else 'removed'}")
        return root

    def _foreign(self, claims: Claims) -> bool:
        return claims.identity.cluster != self._cluster.name


class CurrentRoles(Protocol):
    """Who knows which roles of a person count now; `RoleAdmission`."""

    async def current_roles(self, claims: Claims) -> list[Role]:
        """Denied if the user is gone, Locked if a lock concerns the user or one of the roles."""
        ...


class Leaves:
    """The leaf clusters that our own people may go to."""

    def __init__(
        self, admission: CurrentRoles, *, cluster: Cluster, trusts: KnownClusters, modes: ModeSource, clock: Clock
    ) -> None:
        self._admission = admission
        self._modes = modes
        self._cluster = cluster
        self._trusts = trusts
        self._clock = clock

    async def find(self, name: str) -> tuple[str, TrustedCluster] | None:
        """Node and leaf, if this is the name of a node in a leaf; None if it is of this cluster or nowhere."""
        if "." not in name:
            return None
        return split_cluster(name, await self._trusts.trusted_clusters(Relation.LEAF))

    async def mode(self) -> RecordingMode:
        """What this cluster does with a session in a leaf: its default; rules and roles are about nodes here."""
        return (await self._modes.mode_policy()).default

    @staticmethod
    def explained(error: NotFound, name: str) -> NotFound:
        """The same in other words if the name might have been meant for a leaf that there is not."""
        if "." not in name:
            return error
        return NotFound(
            f"unknown node {name[:128]}: there is none here, and no leaf cluster whose name follows a dot in it: "
            "run `ilsh ls` to see the nodes you can reach"
        )

    async def leaf(self, name: str) -> TrustedCluster:
        """The leaf with this name; NotFound otherwise."""
        try:
            return await self._trusts.trusted_cluster(Relation.LEAF, name)
        except NotFound:
            raise NotFound(f"unknown cluster {name[:128]}: this gateway has no such leaf cluster") from None

    async def pass_for(self, claims: Claims, leaf: TrustedCluster, *, login: str = "", node: str = "") -> LeafPass:
        """Proof that the user may go there; Denied otherwise. The leaf as it is known now counts."""
        if claims.identity.cluster != self._cluster.name:
            public = f"from the cluster {claims.identity.cluster} there is no way on to other clusters"
            raise Denied(public, reason=f"{claims.identity.user} asked for {node}.{leaf.name}")
        if parse_wish(Route(login, node)) is not None:
            public = f"a session in the cluster {leaf.name} cannot be joined from here"
            raise Denied(public, reason=f"{claims.identity.user} wanted to join {node}")
        roles = await self._admission.current_roles(claims)
        try:
            leaf = await self._trusts.trusted_cluster(Relation.LEAF, leaf.name)
        except NotFound:
            public = f"the cluster {leaf.name} is no leaf cluster of this gateway any more"
            raise Denied(public) from None
        names = tuple(role.name for role in roles)
        now, required, hardware = self._clock.now(), required_by(roles), hardware_required_by(roles)
        return LeafPass.decide(
            claims, names, leaf, login=login, node=node, now=now, required=required, hardware=hardware
        )

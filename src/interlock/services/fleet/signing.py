"""What auth signs for proxies apart from it: dials to targets and leaves, and the end of a jump.

People are judged anew each time, by what is stored now, and by their own proof that they are connected and have
asked for this (`shown`). So a proxy that is not what it seems can act for people who are there, and as they asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from interlock.core.errors import Denied
from interlock.core.ids import DaemonId
from interlock.domain.cluster import LeafPass, Relation
from interlock.domain.duties import FORWARDER_DUTIES
from interlock.domain.identity import Claims, Joining
from interlock.domain.permit import Permit
from interlock.domain.target import Target
from interlock.ports import HostIssuer, KnownClusters, TargetCredential, TargetSource
from interlock.services.clusters.federation import FederatedAdmission, Leaves
from interlock.services.fleet.joins import Joins
from interlock.services.fleet.members import Members, refused
from interlock.services.fleet.shown import People, Shown
from interlock.services.keys.daemonca import HostIdentity
from interlock.services.keys.presence import Seen

JUMP_NAMES = 2
"""Names in a certificate for a jump's end: the one that the person used, and the target's own."""


@dataclass(frozen=True, slots=True)
class ForTarget:
    """What is to be signed for a dial."""

    login: str
    target: DaemonId
    public_key: str
    records: bool  # the proxy says that it does
    client_addr: str
    joining: Joining | None = None


@dataclass(frozen=True, slots=True)
class ForLeaf:
    """What is to be signed for a leaf's door; without a login it is for the leaf's portal."""

    login: str
    node: str
    leaf: str
    public_key: str
    offers: bool  # the proxy can record
    client_addr: str


class TargetSigner(Protocol):
    """services.keys.authority.Authority."""

    def sign_for_target(
        self, permit: Permit, public_key: str, *, by: DaemonId, records: bool, client_addr: str = ""
    ) -> TargetCredential:
        """See `ports.TargetIssuer`."""
        ...


class LeafSigner(Protocol):
    """The same, as far as leaves matter."""

    def sign_for_leaf(
        self, granted: LeafPass, public_key: str, *, by: DaemonId, offers: bool, client_addr: str = ""
    ) -> TargetCredential:
        """See `ports.LeafIssuer`."""
        ...


class TargetSigning:
    """Signs for dials to targets, and to whoever has a session that somebody joins."""

    def __init__(
        self,
        *,
        people: People,
        admission: FederatedAdmission,
        targets: TargetSource,
        joins: Joins,
        signer: TargetSigner,
    ) -> None:
        self._people = people
        self._admission = admission
        self._targets = targets
        self._joins = joins
        self._signer = signer

    async def sign(self, proxy: HostIdentity, shown: Shown, wanted: ForTarget) -> TargetCredential:
        """A certificate for one dial; Denied unless the person is there and policy says so now."""
        claims, seen = await self._people.here(proxy, shown)
        if wanted.joining is None:
            target = await self._asked_for(claims, wanted, seen)
            permit = await self._admission.permit_for(claims, wanted.login, target, source=wanted.client_addr)
            _check_records(proxy, claims, permit, records=wanted.records)
        else:
            if seen is not None:
                seen.to_session(wanted.joining)
            permit = await self._joins.permit(
                proxy, claims, wanted.joining, at=wanted.target, source=wanted.client_addr
            )
            if wanted.records:
                raise refused(proxy, f"who joins {wanted.joining.sid} is not recorded once more")
        await self._people.use(seen, wanted.public_key)
        return self._signer.sign_for_target(
            permit, wanted.public_key, by=proxy.id, records=wanted.records, client_addr=wanted.client_addr
        )

    async def _asked_for(self, claims: Claims, wanted: ForTarget, seen: Seen | None) -> Target:
        """The target that is to be dialled; Denied if the person has asked for something else."""
        name = seen.name_for(wanted.login) if seen is not None else None
        if name is None:
            target = await self._targets.target(wanted.target)
        else:
            target = await self._admission.find(claims, name)
        if seen is not None:
            seen.to_target(target, wanted.target, named=name is not None)
        return target


class LeafSigning:
    """Signs for the doors of leaf clusters."""

    def __init__(self, *, people: People, leaves: Leaves, signer: LeafSigner) -> None:
        self._people = people
        self._leaves = leaves
        self._signer = signer

    async def sign(self, proxy: HostIdentity, shown: Shown, wanted: ForLeaf) -> TargetCredential:
        """A certificate for a leaf's door; Denied unless the person is there and may go there.

        For the leaf's portal it is given as often as the person's own portal answers.
        """
        login, node = wanted.login, wanted.node
        claims, seen = await self._people.here(proxy, shown)
        if seen is not None and login:
            seen.to_leaf(login, node, wanted.leaf)
        elif seen is not None:
            seen.to_portal(claims.identity.user, proxy.id)
        leaf = await self._leaves.leaf(wanted.leaf)
        granted = await self._leaves.pass_for(claims, leaf, login=login, node=node)
        if login:
            await self._people.use(seen, wanted.public_key)
        return self._signer.sign_for_leaf(
            granted, wanted.public_key, by=proxy.id, offers=wanted.offers, client_addr=wanted.client_addr
        )


class JumpSigning:
    """Signs for proxies that answer in a target's place."""

    def __init__(
        self, *, members: Members, trusts: KnownClusters, targets: TargetSource, signer: HostIssuer
    ) -> None:
        self._members = members
        self._trusts = trusts
        self._targets = targets
        self._signer = signer

    async def sign(self, proxy: HostIdentity, public_key: str, names: Sequence[str]) -> str:
        """A host certificate, OpenSSH one-line form; Denied for any name but a target's, or a leaf's node's."""
        await self._members.check(proxy)
        if not 1 <= len(names) <= JUMP_NAMES:
            raise refused(proxy, f"a certificate for {len(names)} names")
        leaves = [each.name.lower() for each in await self._trusts.trusted_clusters(Relation.LEAF)]
        if len(names) > 1 or not any(names[0].lower().endswith(f".{leaf}") for leaf in leaves):
            named = [{target.id for target in await self._targets.named(name)} for name in names]
            if not set[DaemonId].intersection(*named):
                what = ", ".join(name[:128] for name in names)
                raise refused(proxy, f"a certificate for {what}, which is no target, or not one")
        return await self._signer.issue_host(public_key, names)


def _check_records(proxy: HostIdentity, claims: Claims, permit: Permit, *, records: bool) -> None:
    """A node is relieved of recording only where the mode says so, or a root's forwarder records before us."""
    duties = FORWARDER_DUTIES[permit.mode, permit.target.sub_kind]
    ahead = claims.forwarded is not None and claims.forwarded.records
    if records and not (duties.emits or ahead):
        reason = f"proxy {proxy.id} asked to record instead of {permit.target.id} in mode {permit.mode.value}"
        raise Denied("where this session is recorded has just been changed: try again", reason=reason)

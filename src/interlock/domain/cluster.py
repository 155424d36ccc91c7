"""Clusters that trust each other: a root, where people sign in, and leaves, which judge them by their own roles.

Trust is one-way and ends there: a leaf takes the word of a root's forwarders about who somebody is and which roles
he has at home, maps these roles to roles of its own, and decides by those alone (ADR-0012).
"""

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import Self

from interlock.core.address import format_address, parse_address
from interlock.core.errors import Denied
from interlock.core.ids import DaemonId, parse_login, parse_name
from interlock.core.presence import NO_PRESENCE, Presence
from interlock.domain.access import HardwareKey, SecondFactor
from interlock.domain.bounds import NO_BOUNDS, Bounds
from interlock.domain.factor import check_factor, check_hardware
from interlock.domain.identity import Claims, Identity

ANY_ROLE = "*"
"""In a role mapping: whatever role."""

_DECIDER = object()


class Relation(Enum):
    """What another cluster is to this one."""

    ROOT = "root"  # its people come here
    LEAF = "leaf"  # our people go there


RoleMap = Mapping[str, tuple[str, ...]]
"""The leaf's roles for each role of the root, or for `ANY_ROLE`. What is not listed counts for nothing."""


@dataclass(frozen=True, slots=True)
class TrustedCluster:
    """Another cluster, as this one trusts it."""

    name: str
    id: str  # the other cluster's UUID, which its proxy's host certificate names
    relation: Relation
    created: datetime
    user_cas: tuple[str, ...] = ()  # of a root: they vouch for its forwarders, and for nobody else here
    host_cas: tuple[str, ...] = ()  # of a leaf: they vouch for its proxy
    proxy: str = ""  # of a leaf: host:port of its proxy
    roles: RoleMap = field(default_factory=dict)  # of a root
    insists: bool = False  # on a root's sessions here being recorded here, also if the root would record them
    enabled: bool = True

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the leaf's proxy."""
        return parse_address(self.proxy)


def door_of(cluster_id: str) -> DaemonId:
    """The name of a cluster's proxy as the target of a forwarder's certificate; no node's ID looks like it."""
    return DaemonId(f"cluster/{cluster_id}")


def split_cluster(name: str, clusters: Iterable[TrustedCluster]) -> tuple[str, TrustedCluster] | None:
    """Node and cluster of ``NODE.CLUSTER``, by the longest name of a cluster that fits; None if none does.

    A cluster's name wins against a node that is called like this: else whoever names a node could catch sessions
    that are meant for the other cluster.
    """
    lowered = name.lower()
    fitting = [each for each in clusters if lowered.endswith(f".{each.name.lower()}")]
    if not fitting:
        return None
    cluster = max(fitting, key=lambda each: len(each.name))
    node = name[: -len(cluster.name) - 1]
    return (node, cluster) if node else None


def parse_role_map(text: str) -> RoleMap:
    """Read ``admin:dev,admin:ops,*:guest``; ValueError naming what is wrong."""
    found: dict[str, tuple[str, ...]] = {}
    for each in (part.strip() for part in text.split(",")):
        if not each:
            continue
        theirs, colon, ours = each.partition(":")
        if not colon:
            msg = f"{each[:64]!r} is not a mapping: write ROOT-ROLE:LEAF-ROLE"
            raise ValueError(msg)
        key = theirs if theirs == ANY_ROLE else parse_name(theirs)
        found[key] = tuple(dict.fromkeys((*found.get(key, ()), parse_name(ours))))
    return found


def format_role_map(roles: RoleMap) -> str:
    """As `parse_role_map` reads it."""
    return ",".join(f"{theirs}:{ours}" for theirs, many in roles.items() for ours in many)


def mapped_roles(roles: RoleMap, theirs: Iterable[str]) -> tuple[str, ...]:
    """The leaf's roles for somebody who has these roles in the root; each once, in the mapping's order."""
    held = list(theirs)
    known = {*held, ANY_ROLE} if held else set()
    return tuple(dict.fromkeys(ours for key, many in roles.items() if key in known for ours in many))


@dataclass(frozen=True, slots=True)
class LeafPass:
    """Proof that the root lets one of its users go to a leaf; what he may do there is the leaf's decision."""

    identity: Identity
    login: str  # empty: to ask the leaf's portal only
    node: str  # the name as the person wrote it, without the leaf's
    leaf: TrustedCluster
    expires: datetime
    decided_by: InitVar[object]
    certificate: bytes = field(default=b"", repr=False, compare=False)  # as the claims have it
    presence: Presence = field(default=NO_PRESENCE, repr=False, compare=False)  # likewise
    bounds: Bounds = NO_BOUNDS  # likewise; the leaf is told of them

    def __post_init__(self, decided_by: object) -> None:
        """Refuse a pass that nobody decided."""
        if decided_by is not _DECIDER:
            msg = "a LeafPass comes from LeafPass.decide"
            raise TypeError(msg)

    @classmethod
    def decide(
        cls,
        claims: Claims,
        roles: Iterable[str],
        leaf: TrustedCluster,
        *,
        login: str,
        node: str,
        now: datetime,
        required: SecondFactor | None = None,
        hardware: HardwareKey | None = None,
    ) -> Self:
        """Let a user with these current roles go there; Denied if the certificate is old or the names are none.

        ``required``, ``hardware``: the second factor, and the key on hardware, that these roles ask for.
        """
        user = claims.identity.user
        if not claims.valid_after <= now < claims.valid_before:
            public = "your certificate has expired: run ilsh login"
            raise Denied(public, reason=f"certificate {claims.serial} of {user} is not valid now")
        if not leaf.enabled or leaf.relation is not Relation.LEAF:
            raise closed(leaf)
        try:
            if login or node:
                parse_login(login)
                parse_name(node)
        except ValueError as error:
            raise Denied("access denied: not a valid login or node", reason=str(error)) from None
        if login:  # else nothing but a list is asked for
            check_factor(required, claims.identity)
            check_hardware(hardware, claims.identity)
        identity = replace(claims.identity, roles=tuple(roles))
        shown, proof = claims.certificate, claims.presence
        return cls(identity, login, node, leaf, claims.valid_before, _DECIDER, shown, proof, claims.bounds)

    @property
    def name(self) -> str:
        """Where it goes, as people write it."""
        return f"{self.node}.{self.leaf.name}" if self.node else self.leaf.name

    @property
    def addr(self) -> str:
        """Address of the leaf's proxy."""
        return format_address(*self.leaf.address)


def closed(leaf: TrustedCluster) -> Denied:
    """The refusal while the trust is disabled."""
    public = f"the cluster {leaf.name} is closed to this gateway's users for now"
    return Denied(public, reason=f"the trust with {leaf.name} is disabled")

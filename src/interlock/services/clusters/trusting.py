"""How two clusters come to trust each other: a token of the root, used once by the leaf's administrator.

The leaf recognises the root by the token's pin before it says the secret, as a joining node does. Both then tell
what the other has to know: the root its user authority, by which its forwarders are recognised, the leaf its host
authority and where its proxy is. Each stores that and can undo it alone. Transport is adapters/rpc.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import structlog

from interlock.core.address import format_address, parse_address
from interlock.core.certificate import PublicKey
from interlock.core.errors import Denied, NotFound, SignInFailed
from interlock.core.ids import parse_name
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.cluster import Relation, RoleMap, TrustedCluster, format_role_map
from interlock.ports import AuditLog, Clock, Cluster, TokenKind, TokenStore, TrustBundle, TrustSource, TrustStore
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.joining import REFUSED, FailureCounter, check_token

PROXY_PORT = 3023
"""The port of a leaf's proxy unless something else is said."""

MAX_AUTHORITIES = 8
"""Authorities of another cluster: two while one is being replaced, and room."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LeafRequest:
    """What a leaf tells the root that it is about to trust."""

    token_id: str
    secret: str
    name: str
    id: str
    proxy: str  # host:port at which the root reaches the leaf's proxy
    host_cas: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RootReply:
    """What the root tells in return."""

    name: str
    id: str
    user_cas: tuple[str, ...]


class Trusting:
    """The root's side."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        tokens: TokenStore,
        trusts: TrustStore,
        authorities: TrustSource,
        audit: AuditLog,
        factory: EventFactory,
        clock: Clock,
    ) -> None:
        self._cluster = cluster
        self._tokens = tokens
        self._trusts = trusts
        self._authorities = authorities
        self._audit = audit
        self._factory = factory
        self._clock = clock
        self._failures = FailureCounter(clock)

    async def accept(self, request: LeafRequest, *, source: str) -> RootReply:
        """Take a leaf in, for one use of its token.

        SignInFailed if the token does not count or the source failed too often, Denied if what the leaf says of
        itself cannot be.
        """
        if self._failures.exhausted(source):
            public = "too many refused attempts to join: wait a minute"
            raise SignInFailed(public, reason=f"{source} failed too often")
        try:
            now = self._clock.now()
            token = await check_token(self._tokens, request.token_id, request.secret, TokenKind.CLUSTER, now=now)
        except SignInFailed as error:
            self._failures.add(source)
            _log.warning("cluster.refused", source=source, reason=error.reason)
            raise
        leaf = checked_leaf(request, self._cluster, now)
        await self._check_name(leaf)
        if not await self._tokens.spend_token(token.id):
            raise SignInFailed(REFUSED, reason=f"join token {token.id} was used up meanwhile")
        await self._trusts.put_trust(leaf)
        fields = trust_fields(leaf) | {"token": token.id, "addr.remote": source}
        await self._audit.append([self._factory.make(Kind.CLUSTER_CREATE, fields)])
        trust = await self._authorities.trust()
        return RootReply(self._cluster.name, self._cluster.id, trust.user_cas)

    async def _check_name(self, leaf: TrustedCluster) -> None:
        """Before the token is spent; the store asks once more."""
        try:
            known = await self._trusts.trusted_cluster(Relation.LEAF, leaf.name)
        except NotFound:
            return
        if known.id != leaf.id:
            raise Denied(f"another leaf cluster is called {leaf.name} already")


def checked_leaf(request: LeafRequest, here: Cluster, now: datetime) -> TrustedCluster:
    """What the root stores of a leaf; Denied if a name, key or address is none."""
    try:
        name, cluster_id = _other(request.name, request.id, here)
        proxy = format_address(*parse_address(request.proxy, default_port=PROXY_PORT))
        host_cas = _authorities(request.host_cas)
    except ValueError as error:
        raise Denied(f"the leaf cluster cannot be taken in: {error}") from None
    return TrustedCluster(name, cluster_id, Relation.LEAF, now, host_cas=host_cas, proxy=proxy)


def checked_root(
    reply: RootReply, here: Cluster, own: TrustBundle, now: datetime, *, roles: RoleMap, insists: bool
) -> TrustedCluster:
    """What the leaf stores of a root; Denied if a name or key is none, or is not the root's (``own``: ours)."""
    try:
        name, cluster_id = _other(reply.name, reply.id, here)
        user_cas = _authorities(reply.user_cas)
    except ValueError as error:
        raise Denied(f"the root cluster cannot be trusted: {error}") from None
    if set(user_cas) & set(_authorities(own.user_cas)):  # our own people would be taken for the root's
        raise Denied("the root cluster cannot be trusted: it calls our own authority its own")
    return TrustedCluster(name, cluster_id, Relation.ROOT, now, user_cas=user_cas, roles=roles, insists=insists)


def with_authorities(cluster: TrustedCluster, lines: Sequence[str], own: TrustBundle) -> TrustedCluster:
    """The cluster with other authorities, as its administrator has exported them; Denied if they cannot be."""
    try:
        found = _authorities(tuple(lines))
    except ValueError as error:
        raise Denied(f"these are no authorities of a cluster: {error}") from None
    if set(found) & {*_authorities(own.user_cas), *_authorities(own.host_cas)}:
        raise Denied("these are authorities of this cluster: export them at the other one")
    if cluster.relation is Relation.ROOT:
        return replace(cluster, user_cas=found)
    return replace(cluster, host_cas=found)


def trust_fields(cluster: TrustedCluster) -> dict[str, JsonValue]:
    """Event fields that say what the trust consists of."""
    fields: dict[str, JsonValue] = {
        "name": cluster.name,
        "cluster_id": cluster.id,
        "relation": cluster.relation.value,
        "enabled": cluster.enabled,
    }
    if cluster.relation is Relation.LEAF:
        return fields | {"addr": cluster.proxy}
    return fields | {"role_map": format_role_map(cluster.roles), "insists_on_recording": cluster.insists}


def _other(name: str, cluster_id: str, here: Cluster) -> tuple[str, str]:
    name, cluster_id = parse_name(name), str(UUID(cluster_id))
    if name.lower() == here.name.lower() or cluster_id == here.id:
        msg = f"both clusters are called {here.name}; a cluster's name is chosen at its first start"
        raise ValueError(msg)
    return name, cluster_id


def _authorities(lines: Sequence[str]) -> tuple[str, ...]:
    keys = tuple(dict.fromkeys(PublicKey.parse(line).line() for line in lines))
    if not 1 <= len(keys) <= MAX_AUTHORITIES or any(not key.startswith("ssh-ed25519 ") for key in keys):
        msg = "its authorities must be 1 to 8 Ed25519 keys"
        raise ValueError(msg)
    return keys

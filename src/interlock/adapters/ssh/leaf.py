"""Dialling a leaf cluster's proxy, which then is the target: it judges by its own roles and dials the node itself.

The certificate says who comes, from where, and whether this cluster's forwarder would record. Before any channel
the leaf answers who does and what is there (`domain.handover`), so that both know before a session can begin.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import asyncssh

from interlock.adapters.ssh import algorithms
from interlock.adapters.ssh.minted import MintedLogin
from interlock.adapters.ssh.portal_client import Gateway, HostIdentity, connect, new_key_pair
from interlock.adapters.ssh.seams.dialling import dial_options
from interlock.adapters.ssh.seams.leaf import LeafLegConnection
from interlock.adapters.ssh.words import words
from interlock.core import portal as wire
from interlock.core.errors import ConfigError, Denied, InterlockError, TargetError
from interlock.core.extensions import HAND_OVER
from interlock.core.limits import LEAF_TIMEOUT_S
from interlock.domain.cluster import LeafPass
from interlock.domain.handover import HandOver, parse_hand_over, told_target
from interlock.domain.identity import Claims
from interlock.domain.target import Target
from interlock.ports import LeafIssuer, TargetCredential
from interlock.services.clusters.federation import Leaves


class _Owner(MintedLogin):
    """The verdict on the proxy's host key, and the key to log in with."""

    def __init__(self, issuer: LeafIssuer, granted: LeafPass, *, offers: bool, client_addr: str) -> None:
        self._issuer = issuer
        self._granted = granted
        self._offers = offers
        self._client_addr = client_addr
        self._trusted = {_key(line).public_data for line in granted.leaf.host_cas}
        self._connection: LeafLegConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Keep the connection."""
        if isinstance(conn, LeafLegConnection):
            self._connection = conn

    def connection_lost(self, exc: Exception | None) -> None:
        """The leaf hung up, perhaps on our question."""
        if self._connection is not None:
            self._connection.unanswered(exc)

    def is_authority(self, public_data: bytes) -> bool:
        """The leaf's host authority; the name in the certificate is the cluster's ID."""
        return public_data in self._trusted

    async def certify(self, public_key: str) -> TargetCredential:
        """For the leaf's door."""
        return await self._issuer.issue_for_leaf(
            self._granted, public_key, offers=self._offers, client_addr=self._client_addr
        )

    def mismatch(self, detail: str) -> TargetError:
        """A proxy that is not the leaf's."""
        name = self._granted.leaf.name
        public = f"host key verification failed for the cluster {name}: its proxy is not the one that is trusted"
        return TargetError(public, reason=f"{public}; {detail}")


@dataclass(frozen=True, slots=True)
class LeafDialler:
    """Reaches leaf clusters over TCP."""

    issuer: LeafIssuer
    ciphers: Sequence[str] = algorithms.FAST_CIPHERS
    timeout: float = LEAF_TIMEOUT_S

    async def dial(
        self, granted: LeafPass, *, offers: bool, client_addr: str
    ) -> tuple[LeafLegConnection, Target, HandOver]:
        """A connection through the leaf to the target, frozen until a leg takes it over, and what the leaf says.

        Denied as the leaf decides, TargetError if it or the target cannot be reached.
        """
        owner = _Owner(self.issuer, granted, offers=offers, client_addr=client_addr)
        try:
            async with asyncio.timeout(self.timeout):
                connection, answer = await self._connect(granted, owner)
        except TimeoutError as error:
            raise _unreachable(granted, "it does not answer", error) from error
        except asyncssh.DisconnectError as error:
            raise owner.problem or _refused(granted, error) from error
        except OSError as error:
            raise _unreachable(granted, words(error), error) from error
        except ValueError as error:  # what asyncssh's decoders raise in its asynchronous handlers
            public = f"the cluster {granted.leaf.name} violated the SSH protocol: {str(error)[:200]}"
            raise TargetError(public) from error
        try:
            return connection, *_judged(granted, answer)
        except InterlockError:
            connection.abort()
            raise

    async def _connect(self, granted: LeafPass, owner: _Owner) -> tuple[LeafLegConnection, bytes | None]:
        host, port = granted.leaf.address
        loop = asyncio.get_running_loop()
        options, waiter = dial_options(
            loop,
            owner,
            address=(host, port),
            alias=granted.leaf.id,
            username=f"{granted.login}%{granted.node}",
            ciphers=self.ciphers,
            host_keys=algorithms.host_key_algorithms(()),
            timeout=self.timeout,
        )
        _, connection = await loop.create_connection(
            lambda: LeafLegConnection(loop, options, wait="auth"), host, port
        )
        try:
            await waiter
            return connection, await connection.ask(HAND_OVER)
        except BaseException:
            connection.abort()
            await connection.wait_closed()
            raise


class LeafPortals:
    """`services.portal.portal.LeafDirectory`: what a leaf's portal tells one of our people."""

    def __init__(self, issuer: LeafIssuer, leaves: Leaves) -> None:
        self._issuer = issuer
        self._leaves = leaves

    async def nodes(self, claims: Claims, cluster: str, client_addr: str) -> list[wire.NodeItem]:
        """The nodes that the user reaches there; NotFound for a cluster that is none of our leaves."""
        granted = await self._leaves.pass_for(claims, await self._leaves.leaf(cluster))
        key = new_key_pair("portal")
        credential = await self._issuer.issue_for_leaf(granted, key.public, offers=False, client_addr=client_addr)
        host, port = granted.leaf.address
        gateway = Gateway(host, port, granted.identity.user, alias=granted.leaf.id)
        identity = (key.private, credential.certificate)
        try:
            async with (
                asyncio.timeout(LEAF_TIMEOUT_S),
                connect(gateway, _LeafTrust(granted), identity=identity) as portal,
            ):
                return (await portal.ask(wire.Nodes(), wire.NodeList)).nodes
        except TimeoutError as error:
            raise _unreachable(granted, "it does not answer", error) from error


class _LeafTrust:
    """`portal_client.Trust`: the leaf's host authorities, and nothing on first use."""

    def __init__(self, granted: LeafPass) -> None:
        self.host_ca: Sequence[str] = granted.leaf.host_cas
        self._name = granted.leaf.name

    def judge(self, shown: HostIdentity) -> bool:
        """No."""
        raise Denied(f"host key verification failed for the cluster {self._name}", reason=shown.fingerprint)


def _judged(granted: LeafPass, answer: bytes | None) -> tuple[Target, HandOver]:
    name = granted.leaf.name
    if answer is None:
        public = f"the cluster {name} cannot be reached through this gateway: it runs an older Interlock"
        raise TargetError(public, reason=f"{public}: it does not know the hand-over")
    said = parse_hand_over(answer)
    if said.refused is not None:
        kind = Denied if said.refused.by_policy else TargetError
        raise kind(f"cluster {name}: {said.refused.message}")
    if said.target is None:
        raise TargetError(f"the cluster {name} named no target")
    return told_target(said.target), said


def _key(line: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(line)
    except asyncssh.KeyImportError as error:
        raise ConfigError("a leaf cluster's host authority cannot be read", reason=str(error)) from None


def _unreachable(granted: LeafPass, why: str, error: Exception) -> TargetError:
    name = granted.leaf.name
    return TargetError(f"the cluster {name} is unreachable: {why}", reason=f"{name} at {granted.addr}: {error!r}")


def _refused(granted: LeafPass, error: asyncssh.DisconnectError) -> TargetError:
    name = granted.leaf.name
    match error:
        case asyncssh.HostKeyNotVerifiable():
            public = f"host key verification failed for the cluster {name}"
        case asyncssh.PermissionDenied():
            public = (
                f"the cluster {name} does not accept this gateway's users: it may not trust this cluster any more"
            )
        case _:
            public = f"the cluster {name} ended the connection: {error.reason[:200]}"
    return TargetError(public, reason=f"{name} at {granted.addr}: {error.code} {error.reason}")

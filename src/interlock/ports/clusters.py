"""Narrow protocols: this cluster, its settings, and others that it trusts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from interlock.domain.cluster import Relation, TrustedCluster
from interlock.domain.duties import RecordingMode
from interlock.domain.modes import ModePolicy, ModeRule


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is true of the whole installation."""

    id: str
    name: str
    recording_mode: RecordingMode
    created: datetime


class ClusterStore(Protocol):
    """The installation's own record."""

    async def ensure_cluster(self, cluster: Cluster) -> Cluster:
        """Store the record unless there is one; the stored one."""
        ...

    async def cluster(self) -> Cluster:
        """The record; NotFound before the first start."""
        ...

    async def set_recording_mode(self, mode: RecordingMode) -> None:
        """Change where sessions with our own nodes are recorded."""
        ...

    async def offline_s(self) -> int:
        """For how many seconds what auth said of somebody counts while no auth answers; 0: not at all."""
        ...

    async def set_offline_s(self, seconds: int) -> None:
        """Change it; at most `lock.MAX_OFFLINE_S`."""
        ...


class ModeSource(Protocol):
    """What the cluster says of recording."""

    async def mode_policy(self) -> ModePolicy:
        """The default and the rules; StoreError if they cannot be read, and then nobody is let in (R6)."""
        ...


class ModeStore(ModeSource, Protocol):
    """The rules as administrators change them."""

    async def put_mode_rule(self, rule: ModeRule) -> None:
        """Add a rule, or replace the one for the same labels."""
        ...

    async def remove_mode_rule(self, labels: Mapping[str, str]) -> None:
        """Forget the rule for exactly these labels; NotFound if there is none."""
        ...


class KnownClusters(Protocol):
    """The other clusters that this one has to do with."""

    async def trusted_clusters(self, relation: Relation | None = None) -> list[TrustedCluster]:
        """All of them, or those that are this to us, by name, without those that cannot be read."""
        ...

    async def trusted_cluster(self, relation: Relation, name: str) -> TrustedCluster:
        """The one with this name; NotFound otherwise."""
        ...


class TrustStore(KnownClusters, Protocol):
    """The same as administrators change it."""

    async def put_trust(self, cluster: TrustedCluster) -> None:
        """Store the record, in the place of an older one of the same cluster; Denied if another has the name."""
        ...

    async def remove_trust(self, relation: Relation, name: str) -> None:
        """Forget the cluster; NotFound if there is none."""
        ...


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The authorities that SSH servers and clients of the cluster rely on: public keys, OpenSSH one-line form.

    And those of the daemons, X.509. There are two of a kind while one takes the other's place; first the one that
    signs now.
    """

    user_cas: tuple[str, ...]
    host_cas: tuple[str, ...]
    service: str = ""  # where auth, or each of several, listens for daemons; empty: as it was
    roots: tuple[str, ...] = ()  # X.509, PEM; none: as they were

    @property
    def digest(self) -> str:
        """Short, the same for the same SSH authorities in whatever order."""
        return _digest("\n".join(sorted(self.user_cas)) + "\n\n" + "\n".join(sorted(self.host_cas)))

    @property
    def signers(self) -> str:
        """The same of those that sign now, which come first."""
        return _digest("\n".join((*self.user_cas[:1], *self.host_cas[:1])))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class TrustSource(Protocol):
    """Auth, as the daemons apart from it learn whom to trust."""

    async def trust(self) -> TrustBundle:
        """The authorities that count now."""
        ...

"""Leases: places among a limited number, in the whole cluster, that nobody keeps beyond his death."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from interlock.core.ids import DaemonId
from interlock.domain.identity import Identity

LEASE_TTL = timedelta(seconds=30)
"""A place whose daemon is silent for so long is free again."""

MAX_SEMAPHORE = 512
"""Characters of a semaphore's name: a kind, a cluster and a user."""


@dataclass(frozen=True, slots=True)
class Lease:
    """One place, of one daemon, until it expires."""

    id: str
    semaphore: str  # what the places are counted under
    daemon_id: DaemonId
    expires: datetime


def connections_of(identity: Identity) -> str:
    """The semaphore of a user's connections (role option ``max_connections``)."""
    return f"connections/{identity.cluster}/{identity.user}"


def holder_of(daemon: DaemonId, process: str) -> DaemonId:
    """What the leases of one of a daemon's several processes are held under, so that they can be told apart."""
    return DaemonId(f"{daemon}.{process}")

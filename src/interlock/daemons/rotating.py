"""Composition of what changes the authorities' keys: for ``ilctl``, and for rotations that go on by themselves."""

import asyncio
from datetime import datetime

import structlog

from interlock.core.errors import InterlockError
from interlock.daemons.local import Local
from interlock.daemons.proxy import Services
from interlock.domain.rotation import RotatedKind
from interlock.ports import AuthorityKey
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.daemonroots import new_daemon_authority
from interlock.services.keys.rotation import Rotations
from interlock.services.keys.signers import new_authority
from interlock.services.keys.succession import Successions

LOOK_S = 10.0
"""Seconds between two looks whether a phase is over. Of several auths whoever comes first goes on for all."""

_log = structlog.get_logger(__name__)


def rotations_of(local: Local) -> Rotations:
    """Of the cluster in this data directory."""
    factory = EventFactory(cluster=local.cluster.name, clock=local.clock, entropy=local.entropy)

    def make(kind: RotatedKind, now: datetime) -> AuthorityKey:
        if kind is RotatedKind.DAEMON:
            return new_daemon_authority(local.cluster.name, entropy=local.entropy, now=now)
        return new_authority(kind.stored, now, local.authority.token)

    return Rotations(
        local.rotations,
        local.authority,
        local.inventory,
        local.proxies,
        locks=local.locks,
        audit=local.audit,
        factory=factory,
        clock=local.clock,
        entropy=local.entropy,
        make=make,
    )


def successions_of(local: Local) -> Successions:
    """Of the cluster in this data directory."""
    factory = EventFactory(cluster=local.cluster.name, clock=local.clock, entropy=local.entropy)
    ring, name = local.rotations, local.cluster.name
    return Successions(ring, local.successions, local.audit, factory, cluster=name, clock=local.clock)


async def keep_rotating(services: Services) -> None:
    """Until cancelled."""
    rotations = rotations_of(services.local)
    while True:
        try:
            await rotations.tick()
        except InterlockError as error:
            _log.warning("rotation.not_looked_after", reason=error.reason)
        await asyncio.sleep(LOOK_S)

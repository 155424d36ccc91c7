"""Composition of what changes the authorities' keys: for ``ilctl``, and for rotations that go on by themselves."""

import asyncio

import structlog

from interlock.core.errors import InterlockError
from interlock.daemons.local import Local
from interlock.daemons.proxy import Services
from interlock.services.audit.emitter import EventFactory
from interlock.services.keys.rotation import Rotations

LOOK_S = 10.0
"""Seconds between two looks whether a phase is over. Of several auths whoever comes first goes on for all."""

_log = structlog.get_logger(__name__)


def rotations_of(local: Local) -> Rotations:
    """Of the cluster in this data directory."""
    factory = EventFactory(cluster=local.cluster.name, clock=local.clock, entropy=local.entropy)
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
        token=local.authority.token,
    )


async def keep_rotating(services: Services) -> None:
    """Until cancelled."""
    rotations = rotations_of(services.local)
    while True:
        try:
            await rotations.tick()
        except InterlockError as error:
            _log.warning("rotation.not_looked_after", reason=error.reason)
        await asyncio.sleep(LOOK_S)

"""Composition of what looks after the audit log in the process that leads: signatures and retention."""

import asyncio
from functools import partial

import structlog

from interlock.core.errors import InterlockError
from interlock.daemons.exporting import duty_of
from interlock.daemons.local import Local
from interlock.daemons.proxy import Services
from interlock.services.audit.checkpoints import Checkpoints
from interlock.services.audit.retention import EventRetainer, RecordingRetainer, keep_tending
from interlock.services.fleet.leading import Leading

EVENTS, RECORDINGS = "retention of events", "retention of recordings"
"""Duties."""

_log = structlog.get_logger()


def signer_of_checkpoints(local: Local) -> Checkpoints:
    """By the cluster's own key."""
    return Checkpoints(
        local.evidence, lambda: local.authority.audit_key, cluster=local.cluster.name, clock=local.clock
    )


def duties(services: Services) -> list[str]:
    """What this gateway can do for all auths on its database; its file says so."""
    config = services.config
    policy, alone = config.retention.policy, [*map(duty_of, config.exports)]
    if policy.of_events:
        alone.append(EVENTS)
    if policy.of_recordings and config.recordings.store:
        alone.append(RECORDINGS)
    return alone


async def run_retention(services: Services, leading: Leading) -> None:
    """Drop by policy, until cancelled. Recordings in files are this machine's own, whoever leads."""
    policy, local, config = services.config.retention.policy, services.local, services.config
    events = EventRetainer(
        policy,
        local.retention,
        services.factory,
        key=lambda: local.authority.audit_key,
        cluster=local.cluster.name,
        clock=local.clock,
        taken=lambda: local.exports.taken(config.exports),
    )
    recordings = RecordingRetainer(
        policy, local.recordings, local.holds, local.audit, services.factory, clock=local.clock
    )
    async with asyncio.TaskGroup() as tasks:
        if policy.of_events:
            tasks.create_task(leading.lead(EVENTS, lambda: keep_tending(events)), name="gateway.retention")
        if policy.of_recordings:
            tend = partial(keep_tending, recordings)
            run = leading.lead(RECORDINGS, tend) if config.recordings.store else tend()
            tasks.create_task(run, name="gateway.retention")


async def sign_last(checkpoints: Checkpoints) -> None:
    """The last events too; what is left is signed by the next start."""
    try:
        await checkpoints.sign()
    except InterlockError as error:
        _log.warning("audit.not_signed", reason=error.reason)

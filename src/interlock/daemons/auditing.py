"""Composition of what looks after the audit log in the process that leads: signatures and retention."""

from collections.abc import Mapping

import structlog

from interlock.core.errors import InterlockError
from interlock.daemons.local import Local
from interlock.daemons.proxy import Services
from interlock.services.checkpoints import Checkpoints
from interlock.services.retention import Retainer

_log = structlog.get_logger()


def signer_of_checkpoints(local: Local) -> Checkpoints:
    """By the cluster's own key."""
    key = local.authority.audit_key
    return Checkpoints(local.evidence, key, cluster=local.cluster.name, clock=local.clock)


def retainer(services: Services) -> Retainer:
    """What drops by policy, for the sweeper's timer."""
    local, exports = services.local, services.config.exports

    async def taken() -> Mapping[str, int] | None:
        return await local.exports.taken(exports) if exports else None

    return Retainer(
        services.config.retention.policy,
        local.retention,
        local.recordings,
        local.holds,
        local.audit,
        services.factory,
        key=local.authority.audit_key,
        cluster=local.cluster.name,
        clock=local.clock,
        taken=taken,
    )


async def sign_last(checkpoints: Checkpoints) -> None:
    """The last events too; what is left is signed by the next start."""
    try:
        await checkpoints.sign()
    except InterlockError as error:
        _log.warning("audit.not_signed", reason=error.reason)

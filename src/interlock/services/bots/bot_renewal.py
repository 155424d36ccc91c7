"""A bot keeps its certificate fresh: at half of its life, and again and again until it has expired."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog

from interlock.core.errors import InterlockError, SignInFailed
from interlock.ports import Clock
from interlock.services.audit.outbox import Sleep

FIRST_PAUSE_S = 5.0
"""Seconds after the first failure; twice as many after each further one."""

LONGEST_PAUSE_S = 300.0
LOOK_S = 60.0
"""Longest time between two looks at the clock, which may be set."""

Validity = tuple[datetime, datetime]
"""From when until when a certificate counts."""

_log = structlog.get_logger(__name__)


async def keep_renewed(
    renew: Callable[[], Awaitable[Validity]], valid: Validity, *, clock: Clock, sleep: Sleep = asyncio.sleep
) -> None:
    """Until cancelled, or SignInFailed once the certificate has expired: only another token helps then."""
    pause = FIRST_PAUSE_S
    while True:
        await _until(half_way(valid), clock, sleep)
        try:
            valid = await renew()
        except InterlockError as error:
            _log.warning("bot.not_renewed", error=error.public, again_in=pause, until=valid[1].isoformat())
            if clock.now() >= valid[1]:
                public = "the certificate has expired and could not be renewed: ask for another token"
                raise SignInFailed(public, reason=error.reason) from error
            await sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
        else:
            pause = FIRST_PAUSE_S
            _log.info("bot.renewed", until=valid[1].isoformat())


def half_way(valid: Validity) -> datetime:
    """When it is due."""
    return valid[0] + (valid[1] - valid[0]) / 2


async def _until(due: datetime, clock: Clock, sleep: Sleep) -> None:
    while (left := (due - clock.now()).total_seconds()) > 0:
        await sleep(min(left, LOOK_S))

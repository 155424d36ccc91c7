"""One process of a gateway goes by the cluster's authorities as they change, while people are here."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from interlock.adapters.ssh.hostkey import HostAuthorities
from interlock.core.errors import InterlockError
from interlock.daemons.local import Local
from interlock.services.access.locks import Locks

RETRY_S = 1.0
"""Seconds until the authorities are read again when that has failed."""

_log = structlog.get_logger(__name__)


class Following:
    """What was made of the authorities is made anew. `run` belongs into a TaskGroup of the process."""

    def __init__(self, local: Local, locks: Locks) -> None:
        self._local = local
        self._changed = asyncio.Event()
        self._hooks: list[Callable[[], Awaitable[None]]] = []
        self.host_authorities = HostAuthorities(local.authority.trusted("host"))
        locks.on_trust = self._changed.set

    def then(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Call it after each change: there are certificates to be renewed."""
        self._hooks.append(hook)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._follow()
            except InterlockError as error:
                _log.warning("authorities.not_read", reason=error.reason)
                self._changed.set()
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        authority = self._local.authority
        await authority.refresh()
        self._local.claims.trust(authority.trusted("user"))
        self.host_authorities.trust(authority.trusted("host"))
        for hook in self._hooks:
            await hook()

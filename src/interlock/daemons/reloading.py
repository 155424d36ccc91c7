"""A daemon that goes by its configuration anew while it runs, and one that lets another take its place."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from interlock.core.errors import InterlockError
from interlock.daemons.config import Config
from interlock.daemons.notify import READY, notify, reloading
from interlock.ports import Clock

LOOK_S = 1.0
"""Seconds between two looks of a draining process whether its last session is over."""

DRAINED = "The Interlock gateway was reloaded: please connect again."

_log = structlog.get_logger()


class Reloads:
    """Requests to reload; asked for by a signal handler, taken by the daemon."""

    def __init__(self, load: Callable[[], Config]) -> None:
        self.load = load
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Reload soon. Several requests at once are one."""
        self._asked.set()

    async def obey(self, reload: Callable[[Callable[[], Config]], Awaitable[None]], clock: Clock) -> None:
        """Until cancelled. What fails is logged, and leaves everything as it was."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            notify(reloading(clock.monotonic()))
            try:
                await reload(self.load)
            except InterlockError as error:
                _log.error("reload.refused", reason=error.reason)  # nobody needs the trace
            notify(READY)


class Drainable(Protocol):
    """adapters.ssh.proxy.ProxyServer."""

    @property
    def busy(self) -> bool:
        """Whether anybody is here who came for more than to ask the portal something, or may yet."""
        ...

    def close_door(self) -> None:
        """Accept nobody any more; everybody who is here stays."""
        ...


class Ways(Protocol):
    """adapters.ssh.tunnel.entrance.TunnelEntrance."""

    @property
    def visited(self) -> bool:
        """Whether anybody is connected through a tunnel."""
        ...

    def close_idle(self, text: str) -> None:
        """Close the tunnels through which nobody is connected."""
        ...


async def drain(proxy: Drainable, tunnels: Ways) -> None:
    """Accept nobody any more, and return when nobody is left. Whoever asks the portal something may ask again."""
    proxy.close_door()
    while True:
        await asyncio.sleep(LOOK_S)  # first: whoever was accepted just now is counted some turns of the loop later
        tunnels.close_idle(DRAINED)
        if not proxy.busy and not tunnels.visited:
            return

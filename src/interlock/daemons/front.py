"""The proxy as the gateway starts and stops it: here, or nowhere; the third kind is `supervisor.Workers`."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from interlock.adapters.ssh.proxy import ProxyServer
from interlock.core.address import format_address
from interlock.core.errors import StoreError
from interlock.daemons.config import Address, Config
from interlock.daemons.proxy import Services, cannot_listen
from interlock.domain.metrics import Reading
from interlock.services.clusters.federation import FederatedClaims

_log = structlog.get_logger()


class Front(Protocol):
    """The proxy, wherever it runs."""

    async def open(self) -> str:
        """Listen; the address. ConfigError if that fails."""
        ...

    async def run(self) -> None:
        """Serve until `stop`; returns when every connection has ended."""
        ...

    async def wait_ready(self) -> None:
        """Return when connections are accepted. Needs a running `run`."""
        ...

    async def stop(self, text: str) -> None:
        """Accept nobody any more, tell everybody, and let `run` return."""
        ...

    async def readings(self) -> Reading:
        """What other processes have counted."""
        ...

    async def check(self) -> None:
        """StoreError if nobody is accepted."""
        ...

    async def reload(self, load: Callable[[], Config]) -> None:
        """Serve by a new configuration, and new code, from the next connection on."""
        ...


class NoProxy:
    """A `Front` of auth alone."""

    def __init__(self) -> None:
        self._stopping = asyncio.Event()

    async def open(self) -> str:
        """It listens nowhere."""
        return ""

    async def run(self) -> None:
        """See `Front.run`."""
        await self._stopping.wait()

    async def wait_ready(self) -> None:
        """There is nothing to wait for."""

    async def stop(self, text: str) -> None:
        """See `Front.stop`."""
        del text
        self._stopping.set()

    async def readings(self) -> Reading:
        """There are no others."""
        return Reading()

    async def check(self) -> None:
        """Nobody is to be accepted."""

    async def reload(self, load: Callable[[], Config]) -> None:
        """Not without a supervisor."""
        del load
        _log.warning("reload.refused", reason="auth alone has to be restarted")


class OneProcess:
    """A `Front` in this process."""

    def __init__(self, services: Services, proxy: ProxyServer, believes: FederatedClaims) -> None:
        self._config = services.config
        self._proxy = proxy
        self._believes = believes
        self._stopping = False

    async def open(self) -> str:
        """See `Front.open`."""
        where = Address.parse("proxy.listen", self._config.proxy.listen)
        try:
            return format_address(*await self._proxy.listen(where.host, where.port))
        except OSError as error:
            raise cannot_listen(error, where) from error

    async def run(self) -> None:
        """See `Front.run`."""
        async with asyncio.TaskGroup() as tasks:
            clusters = tasks.create_task(self._believes.run(), name="gateway.clusters")
            await self._proxy.run()
            clusters.cancel()

    async def wait_ready(self) -> None:
        """It is since `open`."""

    async def stop(self, text: str) -> None:
        """See `Front.stop`."""
        self._stopping = True
        await self._proxy.stop(text)

    async def readings(self) -> Reading:
        """There are no others."""
        return Reading()

    async def check(self) -> None:
        """It accepts until `stop`."""
        if self._stopping:
            raise StoreError("it is stopping")

    async def reload(self, load: Callable[[], Config]) -> None:
        """Not without a supervisor."""
        del load
        _log.warning("reload.refused", reason="a gateway of one process has to be restarted: see workers")

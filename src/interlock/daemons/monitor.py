"""What watches a daemon is told here: `/healthz`, `/readyz`, `/metrics`. Composition only."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import structlog

from interlock.adapters.monitor.exposition import CONTENT_TYPE, exposition
from interlock.adapters.monitor.http import MonitorServer, Page
from interlock.core.address import format_address
from interlock.core.errors import ConfigError, StoreError
from interlock.daemons.config import Address
from interlock.domain.metrics import Reading
from interlock.services.audit.emitter import Emitter
from interlock.services.operation.health import Check, Health
from interlock.services.operation.meters import Meters

_log = structlog.get_logger()

Readings = Callable[[], Awaitable[Reading]]


@asynccontextmanager
async def monitor(where: str, *, health: Health, readings: Readings) -> AsyncIterator[str]:
    """Listen at ``where`` (host:port; empty: nowhere) meanwhile; the bound address. ConfigError if it is taken."""
    if not where:
        yield ""
        return

    async def alive() -> Page:
        return Page(b"ok\n")

    async def ready() -> Page:
        problems = await health.problems()
        status = 503 if any(problems.values()) else 200
        body = {"ready": status == 200, "checks": {name: text or "ok" for name, text in problems.items()}}
        return Page(json.dumps(body).encode() + b"\n", "application/json", status)

    async def metrics() -> Page:
        return Page(exposition(await readings()), CONTENT_TYPE)

    server = MonitorServer({"/healthz": alive, "/readyz": ready, "/metrics": metrics})
    address = Address.parse("monitor.listen", where)
    try:
        bound = format_address(*await server.open(address.host, address.port))
    except OSError as error:
        public = f"the monitor cannot listen on {where}: {error.strerror or error}"
        raise ConfigError(public, reason=str(error)) from error
    _log.info("monitor.ready", listen=bound)
    try:
        yield bound
    finally:
        await server.close()


def watch_apart(
    what: str,
    where: str,
    emitter: Emitter,
    meters: Meters,
    leaves: Callable[[], bool],
    recordings: Path,
    has_room: Callable[[], None],
) -> AbstractAsyncContextManager[str]:
    """Of a daemon apart from auth; ``what``: node or proxy. ``has_room``: see `room_for_recordings`.

    ``leaves``: whether it accepts nobody any more.
    """

    async def serves() -> None:
        if leaves():
            raise StoreError("it is stopping")

    async def audit() -> None:
        if not emitter.healthy:
            raise StoreError("audit events wait that auth does not take")

    async def readings() -> Reading:
        return meters.reading()

    checks = {what: serves, "audit": audit, "recordings": room_for_recordings(recordings, has_room)}
    return monitor(where, health=Health(checks), readings=readings)


def room_for_recordings(directory: Path, has_room: Callable[[], None]) -> Check:
    """Whether the disk takes recordings. ``has_room``: RecordingError if none may begin."""

    async def check() -> None:
        has_room()
        if not os.access(directory, os.W_OK | os.X_OK):
            raise StoreError(f"{directory} cannot be written to")

    return check

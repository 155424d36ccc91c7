"""Composition of the exports of the audit log that the gateway's file names."""

import asyncio
import contextlib
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from interlock.adapters.export.http import Url, check_headers, tls_context
from interlock.adapters.export.lines import FileLines
from interlock.adapters.export.otlp import OtlpLogs
from interlock.adapters.export.syslog import SyslogDatagrams, SyslogStream
from interlock.adapters.export.webhook import Webhook
from interlock.core.errors import ConfigError, InterlockError
from interlock.daemons.config import ExportConfig
from interlock.daemons.local import Local
from interlock.ports import Clock, ExportCursors, Receiver
from interlock.services.audit.exporter import Exporter
from interlock.services.fleet.leading import Leading

_PORTS = {"syslog+tcp": 601, "syslog+tls": 6514, "syslog+udp": 514}
FINISH_S = 3.0
"""Seconds that a stopping gateway gives its receivers to take the last events; the next start goes on."""

MIN_SECRET = 16
"""Bytes of a webhook's secret at least."""

_log = structlog.get_logger()


def exporters(configs: Mapping[str, ExportConfig], local: Local) -> list[Exporter]:
    """One for each; ConfigError names what is wrong."""
    return [
        Exporter(
            name,
            local.exports,
            local.exports,
            receiver(name, config, local.clock),
            clock=local.clock,
            entropy=local.entropy,
        )
        for name, config in configs.items()
    ]


def duty_of(name: str) -> str:
    """What one auth at a time does, of all whose file has this export."""
    return f"export {name}"


async def run_exporters(exporting: list[Exporter], leading: Leading, states: ExportCursors) -> None:
    """All of them that are ours to run, until cancelled."""
    for each in exporting:
        await each.prepare()
    await _tell_of_others({each.name for each in exporting}, states)
    async with asyncio.TaskGroup() as tasks:
        for each in exporting:
            tasks.create_task(leading.lead(duty_of(each.name), each.run), name="gateway.export")


async def finish_exports(exporting: list[Exporter], leading: Leading) -> None:
    """What a stopping gateway has stored last, as far as it can be delivered within `FINISH_S`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FINISH_S), asyncio.TaskGroup() as tasks:
            await leading.ask()  # the last answer may be too old by now
            for each in exporting:
                if leading.leads(duty_of(each.name)):
                    tasks.create_task(each.finish(), name="gateway.export")


async def _tell_of_others(ours: set[str], states: ExportCursors) -> None:
    try:
        known = {state.name for state in await states.states()}
    except InterlockError as error:
        _log.warning("export.unknown", reason=error.reason)
        return
    for name in sorted(known - ours):
        _log.warning(
            "export.not_here", export=name, consequence="what it has not delivered is not dropped by policy"
        )


def receiver(name: str, config: ExportConfig, clock: Clock) -> Receiver:
    """Where this export goes; ConfigError if that cannot be used."""
    try:
        return _receiver(config, clock)
    except ConfigError as error:
        raise ConfigError(f"exports.{name}: {error.public}", reason=error.reason) from error


def _receiver(config: ExportConfig, clock: Clock) -> Receiver:
    scheme, _, rest = config.to.partition("://")
    check_headers(config.headers)
    match scheme:
        case "file" if rest.startswith("/"):
            return FileLines(Path(rest))
        case "syslog+udp" | "syslog+tcp" | "syslog+tls":
            host, port = _host_port(config.to, _PORTS[scheme])
            here = socket.gethostname()
            if scheme == "syslog+udp":
                return SyslogDatagrams(host, port, hostname=here)
            context = tls_context(config.ca, config.cert, config.key) if scheme == "syslog+tls" else None
            return SyslogStream(host, port, hostname=here, context=context)
        case "https" | "http":
            url = Url.parse(config.to)
            context = tls_context(config.ca, config.cert, config.key) if url.secure else None
            return Webhook(url, _secret(config.secret_file), headers=config.headers, context=context, clock=clock)
        case "otlp+https" | "otlp+http":
            url = Url.parse(config.to.removeprefix("otlp+"))
            context = tls_context(config.ca, config.cert, config.key) if url.secure else None
            return OtlpLogs(url, headers=config.headers, context=context, clock=clock)
        case _:
            known = "file:///PATH, syslog+tcp://, syslog+tls://, syslog+udp://, https:// and otlp+https://"
            raise ConfigError(f"to: {config.to[:100]!r} is nowhere to export to; known are {known}")


def _host_port(text: str, default: int) -> tuple[str, int]:
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ConfigError(f"to: {text[:100]!r} must name HOST[:PORT]")
    return host, port or default


def _secret(path: str) -> bytes:
    if not path:
        raise ConfigError("secret_file is missing: the receiver could not tell our events from anybody's")
    try:
        found = Path(path)
        if found.stat().st_mode & 0o077:
            raise ConfigError(f"{path} is open to other users: run chmod 600 {path}")
        secret = found.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", reason=str(error)) from error
    if len(secret) < MIN_SECRET:
        raise ConfigError(f"{path} must have at least {MIN_SECRET} bytes")
    return secret

"""One process of Interlock: which daemons it runs, its log, its announcement that it is ready."""

import asyncio
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path

import structlog

from interlock.adapters.system import SystemClock, SystemEntropy
from interlock.core.address import format_address
from interlock.core.errors import ConfigError, InterlockError
from interlock.daemons.config import Config
from interlock.daemons.gateway import NODE_DIRECTORY, Listening, node_settings, run_gateway
from interlock.daemons.local import default_data_dir
from interlock.daemons.node_remote import JoinBy, run_node
from interlock.daemons.supervise import sole_user, stop_on_signals
from interlock.services.joining import TokenText

ROLES = frozenset({"auth", "proxy", "node"})
_GATEWAY = frozenset({"auth", "proxy"})

_log = structlog.get_logger()


async def run_process(
    config: Config, *, roles: str, data_dir: Path | None, token: str, auth: str, proxy: str = ""
) -> None:
    """Run the named roles until a signal. InterlockError, one and plain, if they cannot run."""
    wanted = parse_roles(roles)
    set_up_log(config.log_level)
    stopping = asyncio.Event()
    with stop_on_signals(stopping):
        try:
            if wanted == {"node"}:
                await _node(
                    config, _directory(config, data_dir, NODE_DIRECTORY), _join_by(token, auth, proxy), stopping
                )
            else:
                await run_gateway(
                    config,
                    _directory(config, data_dir, ""),
                    with_node="node" in wanted,
                    stopping=stopping,
                    on_ready=_announce,
                )
        except* InterlockError as group:
            raise first(group) from None
    _log.info("interlock.stopped")


def parse_roles(text: str) -> frozenset[str]:
    """The roles of one process; ConfigError for unknown ones and for halves of the gateway."""
    wanted = frozenset(part.strip() for part in text.split(","))
    unknown = wanted - ROLES
    if unknown:
        raise ConfigError(f"unknown role {min(unknown)!r}: use auth,proxy, node, or auth,proxy,node")
    if wanted != {"node"} and not wanted >= _GATEWAY:
        raise ConfigError("auth and proxy run together: use --roles auth,proxy")
    return wanted


def set_up_log(level: str) -> None:
    """Structured lines on stderr. ConfigError for an unknown level."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ConfigError(f"log_level must be debug, info, warning or error, not {level!r}")
    terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.getLogger("asyncssh").setLevel(logging.ERROR)


def first(group: BaseExceptionGroup[InterlockError]) -> InterlockError:
    """The first plain error of a group: one sentence is what a person can use."""
    for error in group.exceptions:
        return first(error) if isinstance(error, BaseExceptionGroup) else error
    raise group


def _directory(config: Config, chosen: Path | None, below: str) -> Path:
    """Option, file, environment, default, in this order; in the last two a lone node has one of its own."""
    if chosen is not None:
        return chosen
    if config.data_dir:
        return Path(config.data_dir)
    shared = os.environ.get("INTERLOCK_DATA_DIR")
    return (Path(shared) if shared else default_data_dir()) / below


def _join_by(token: str, auth: str, proxy: str) -> JoinBy | None:
    """Where to join, by the options; ConfigError if they do not fit together."""
    if proxy and not token:
        raise ConfigError(
            "--proxy needs --join TOKEN: a node that has joined remembers it, and node.proxy changes it"
        )
    if not token:
        return None
    if bool(auth) == bool(proxy):
        raise ConfigError("--join needs --auth HOST:PORT, or --proxy HOST:PORT for a node that dials out")
    return JoinBy(auth or proxy, TokenText.parse(token), tunnel=bool(proxy))


async def _node(config: Config, data_dir: Path, join_by: JoinBy | None, stopping: asyncio.Event) -> None:
    with sole_user(data_dir):
        await run_node(
            node_settings(config, data_dir),
            join_by=join_by,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            stopping=stopping,
            on_ready=_node_ready,
        )


def _announce(listening: Listening) -> None:
    _log.info("interlock.ready", **asdict(listening))


def _node_ready(host: str, port: int) -> None:
    _log.info("interlock.ready", node=format_address(host, port) if port else "dials out")

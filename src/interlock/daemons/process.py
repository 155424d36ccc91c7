"""One process of Interlock: which daemons it runs, its log, its announcement that it is ready."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import msgspec
import structlog

from interlock.adapters.system import SystemClock, SystemEntropy
from interlock.core.address import format_address
from interlock.core.errors import ConfigError, InterlockError
from interlock.daemons.config import Config
from interlock.daemons.garbage import settle
from interlock.daemons.gateway import NODE_DIRECTORY, Listening, node_settings, run_gateway
from interlock.daemons.local import default_data_dir
from interlock.daemons.log import set_up_log
from interlock.daemons.membership import JoinBy
from interlock.daemons.node_remote import run_node
from interlock.daemons.notify import READY, STOPPING, keep_watchdog, notify
from interlock.daemons.proxy_remote import PROXY_DIRECTORY, run_proxy
from interlock.daemons.reloading import Reloads
from interlock.daemons.supervise import drain_on_signal, reload_on_hangup, sole_user, stop_on_signals
from interlock.ports import TokenKind
from interlock.services.keys.joining import TokenText

ROLES = frozenset({"auth", "proxy", "node"})

_log = structlog.get_logger()


async def run_process(
    load: Callable[[], Config],
    *,
    roles: str,
    data_dir: Path | None,
    token: str = "",
    auth: str = "",
    proxy: str = "",
) -> None:
    """Run the named roles until a signal. InterlockError, one and plain, if they cannot run.

    ``load``: reads the configuration, now and at every SIGHUP.
    """
    settle()
    config = load()
    wanted = parse_roles(roles)
    set_up_log(config.log_level)
    stopping = asyncio.Event()
    with stop_on_signals(stopping, on_stop=_stops):
        try:
            async with asyncio.TaskGroup() as tasks:
                alive = tasks.create_task(keep_watchdog(), name="process.watchdog")
                if wanted == {"node"}:
                    directory = _directory(config, data_dir, NODE_DIRECTORY)
                    reloads = Reloads(load)
                    obeys = reloads.obey(partial(_reload_node, config), SystemClock())
                    obeying = tasks.create_task(obeys, name="node.reloads")
                    with reload_on_hangup(reloads.ask):
                        await _node(config, directory, _join_by(token, auth, proxy), stopping)
                    obeying.cancel()
                elif wanted == {"proxy"}:
                    directory = _directory(config, data_dir, PROXY_DIRECTORY)
                    reloads, draining = Reloads(load), asyncio.Event()
                    with reload_on_hangup(reloads.ask), drain_on_signal(draining):
                        join_by = _join_as_proxy(token, auth, proxy)
                        await _proxy(config, directory, join_by, stopping, reloads, draining)
                else:
                    reloads = Reloads(load)
                    with reload_on_hangup(reloads.ask):
                        await run_gateway(
                            config,
                            _directory(config, data_dir, ""),
                            with_node="node" in wanted,
                            with_proxy="proxy" in wanted,
                            stopping=stopping,
                            on_ready=_announce,
                            workers=config.worker_count,
                            reloads=reloads,
                        )
                alive.cancel()
        except* InterlockError as group:
            raise first(group) from None
    _log.info("interlock.stopped")


def parse_roles(text: str) -> frozenset[str]:
    """The roles of one process; ConfigError for unknown ones and for daemons apart that would share one."""
    wanted = frozenset(part.strip() for part in text.split(","))
    unknown = wanted - ROLES
    if unknown:
        raise ConfigError(f"unknown role {min(unknown)!r}: use auth, proxy, node, or several with auth among them")
    if wanted == {"proxy", "node"}:
        raise ConfigError(
            "a proxy and a node apart from auth are two daemons: start each with a --data-dir of its own"
        )
    return wanted


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


def _join_as_proxy(token: str, auth: str, proxy: str) -> JoinBy | None:
    if proxy or bool(token) != bool(auth):
        raise ConfigError("a proxy apart from auth joins by --join TOKEN and --auth HOST:PORT")
    return JoinBy(auth, TokenText.parse(token, TokenKind.PROXY)) if token else None


async def _proxy(
    config: Config,
    data_dir: Path,
    join_by: JoinBy | None,
    stopping: asyncio.Event,
    reloads: Reloads,
    draining: asyncio.Event,
) -> None:
    with sole_user(data_dir):
        await run_proxy(
            config,
            data_dir,
            join_by=join_by,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            stopping=stopping,
            on_ready=_proxy_ready,
            reloads=reloads,
            draining=draining,
        )


async def _node(config: Config, data_dir: Path, join_by: JoinBy | None, stopping: asyncio.Event) -> None:
    with sole_user(data_dir):
        await run_node(
            node_settings(config, data_dir),
            join_by=join_by,
            clock=SystemClock(),
            entropy=SystemEntropy(),
            stopping=stopping,
            on_ready=_node_ready,
            watch=config.monitor.listen,
        )


async def _reload_node(old: Config, load: Callable[[], Config]) -> None:
    """Go by what can be changed while sessions go on."""
    new = load()
    set_up_log(new.log_level)
    same = msgspec.structs.replace(old, log_level=new.log_level)
    if changed := [name for name in new.__struct_fields__ if getattr(new, name) != getattr(same, name)]:
        _log.warning("reload.needs_restart", settings=changed)
    _log.info("reload.done")


def _stops() -> None:
    notify(STOPPING)


def _announce(listening: Listening) -> None:
    notify(READY)
    _log.info("interlock.ready", **asdict(listening))


def _proxy_ready(where: str) -> None:
    notify(READY)
    _log.info("interlock.ready", proxy=where)


def _node_ready(host: str, port: int) -> None:
    notify(READY)
    _log.info("interlock.ready", node=format_address(host, port) if port else "dials out")

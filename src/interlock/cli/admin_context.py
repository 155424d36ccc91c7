"""How every command of ``ilctl`` gets at the data directory, tells of its deeds, and reads its arguments."""

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from pwd import getpwuid
from typing import TYPE_CHECKING, TypeVar

import typer

from interlock.core.ids import parse_login, parse_name

if TYPE_CHECKING:
    from interlock.core.ids import SessionId
    from interlock.daemons.local import Local
    from interlock.domain.audit import JsonValue, Kind

T = TypeVar("T")


def in_local(context: typer.Context, work: "Callable[[Local], Awaitable[T]]") -> T:
    """Run ``work`` with the data directory open; ConfigError if there is none."""
    import asyncio

    import structlog

    from interlock.daemons.local import default_data_dir, open_local, require_data_dir

    # a log line on stdout would break the JSON that somebody pipes
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    chosen: Path | None = context.obj
    data_dir = chosen or default_data_dir()
    require_data_dir(data_dir)

    async def run() -> T:
        async with open_local(data_dir, writer="ilctl") as local:
            return await work(local)

    return asyncio.run(run())


def change(
    context: typer.Context,
    kind: "Kind",
    fields: "Mapping[str, JsonValue]",
    work: "Callable[[Local], Awaitable[T]]",
) -> T:
    """Run ``work``, which changes something, and put the deed into the audit log once it is done."""

    async def both(local: "Local") -> T:
        done = await work(local)
        await report(local, kind, fields)
        return done

    return in_local(context, both)


async def report(
    local: "Local", kind: "Kind", fields: "Mapping[str, JsonValue]", *, sid: "SessionId | None" = None
) -> None:
    """Put an administrator's deed into the audit log; StoreError if it cannot be stored.

    ``user`` is the account of this machine that runs the command: ``ilctl`` knows no other.
    """
    from interlock.services.audit.emitter import EventFactory

    factory = EventFactory(cluster=local.cluster.name, clock=local.clock, entropy=local.entropy)
    who: dict[str, JsonValue] = {"user": account(), "method": "ilctl"}
    await local.audit.append([factory.make(kind, who | dict(fields), sid=sid)])


def name(text: str) -> str:
    """A name on the command line."""
    return _parsed(parse_name, text)


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas; none for an empty string."""
    return tuple(name(each) for each in _split(text))


def login_patterns(text: str) -> tuple[str, ...]:
    """Logins of a role separated by commas, to be checked with the role."""
    return tuple(_split(text))


def labels(text: str) -> dict[str, str]:
    """``key=value`` pairs separated by commas; ``*`` and ``*=*`` both mean everything."""
    found: dict[str, str] = {}
    for each in _split(text):
        key, equals, value = each.partition("=")
        if each == "*":
            key, equals, value = "*", "=", "*"
        if not key or not equals or key in found or not each.isprintable():
            msg = f"{each!r} is not a label: write key=value, each key once"
            raise typer.BadParameter(msg)
        found[key] = value
    return found


def login(text: str) -> str:
    """An OS account on the command line."""
    return _parsed(parse_login, text)


def account() -> str:
    """The account of this machine that runs the command."""
    try:
        return getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _split(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _parsed(parse: Callable[[str], str], text: str) -> str:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None

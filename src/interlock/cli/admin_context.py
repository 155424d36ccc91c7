"""How every command of ``ilctl`` gets at the data directory, and the option types that several of them share."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from interlock.cli.output import Format
from interlock.core.ids import parse_login, parse_name

if TYPE_CHECKING:
    from interlock.daemons.local import Local

T = TypeVar("T")

FormatOption = Annotated[Format, typer.Option("--format", help="How to print the result.")]


def in_local(context: typer.Context, work: "Callable[[Local], Awaitable[T]]") -> T:
    """Run ``work`` with the data directory open."""
    import structlog

    from interlock.daemons.local import default_data_dir, open_local

    # a log line on stdout would break the JSON that somebody pipes
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    chosen: Path | None = context.obj

    async def run() -> T:
        async with open_local(chosen or default_data_dir()) as local:
            return await work(local)

    return asyncio.run(run())


def name(text: str) -> str:
    """A name on the command line."""
    return _parsed(parse_name, text)


def names(text: str) -> tuple[str, ...]:
    """Names separated by commas; none for an empty string."""
    return tuple(name(each) for each in _split(text))


def logins(text: str) -> tuple[str, ...]:
    """OS accounts separated by commas."""
    return tuple(_parsed(parse_login, each) for each in _split(text))


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


def _split(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _parsed(parse: Callable[[str], str], text: str) -> str:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None

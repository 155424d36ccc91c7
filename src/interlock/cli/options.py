"""Options that ``ilctl`` and ``ilsh`` share, with one grammar for both."""

import re
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from interlock.cli.output import Format
from interlock.core.ids import SessionId, parse_session_id

_DURATION = re.compile(r"([0-9]{1,6})([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}

FormatOption = Annotated[Format, typer.Option("--format", help="How to print the result.")]


def session_id(text: str) -> SessionId:
    """A session ID; BadParameter says what is wrong with it."""
    try:
        return parse_session_id(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def duration(text: str) -> timedelta:
    """``90``, ``90s``, ``15m``, ``8h`` or ``1d``; BadParameter for anything else and for no time at all."""
    match = _DURATION.fullmatch(text)
    if match is None or int(match[1]) == 0:
        msg = f"{text[:32]!r} is not a duration: write 30m, 8h or 2d"
        raise typer.BadParameter(msg)
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def duration_text(seconds: int) -> str:
    """The same, as `duration` reads it: ``4h``."""
    for unit in ("d", "h", "m"):
        if seconds % _UNITS[unit] == 0:
            return f"{seconds // _UNITS[unit]}{unit}"
    return f"{seconds}s"


_Choice = TypeVar("_Choice", bound=Enum)


def choice(kind: type[_Choice], text: str) -> _Choice:
    """The member with this value; BadParameter names those that there are."""
    try:
        return kind(text)
    except ValueError:
        words = ", ".join(str(each.value) for each in kind)
        msg = f"{text[:32]!r} is none of {words}"
        raise typer.BadParameter(msg) from None


LISTED = 1000
"""Rows of one page of a list."""

LimitOption = Annotated[int, typer.Option("--limit", min=1, help="At most this many.")]
AfterOption = Annotated[
    str, typer.Option("--after", metavar="CURSOR", help="Go on behind the row with this cursor.")
]

IdentityOption = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        envvar="INTERLOCK_IDENTITY",
        help="File with the age or SSH identity of one of the recipients, if the recording is encrypted.",
    ),
]

_MOMENT = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9})s?)?")


def moment(text: str | int) -> int:
    """Microseconds of a time within a recording: 1h, 1h5m, 90s, 90."""
    match = _MOMENT.fullmatch(str(text))
    if match is None or not any(match.groups()):
        msg = "a time looks like 1h5m, 90s or 90"
        raise typer.BadParameter(msg)
    hours, minutes, seconds = (int(each or 0) for each in match.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1_000_000

"""What all three command-line programs share: tables, JSON, one-sentence errors and exit codes.

Nothing that a stranger chose (a user name, a command, a path) reaches a terminal with its control characters: a
listing must not be able to move the cursor, set a title or forge a line (R24).
"""

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum, StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, NoReturn

import typer

from interlock.adapters.question import Interrupted
from interlock.core.errors import ConfigError, Denied, InterlockError, NotFound, SignInFailed
from interlock.daemons.garbage import start_sooner
from interlock.domain.audit import rfc3339

Row = Mapping[str, object]


class ExitCode(IntEnum):
    """How a command ends; README repeats this table."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4


INTERRUPTED = 130
"""As shells count it: 128 and SIGINT."""

EXIT_CODES = "Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 not found, 4 denied."
"""The last line of every program's --help."""


class Format(StrEnum):
    """How a listing is printed."""

    TEXT = "text"
    JSON = "json"


def exit_code(error: InterlockError) -> ExitCode:
    """The exit code for an error of the one tree."""
    if isinstance(error, NotFound):
        return ExitCode.NOT_FOUND
    if isinstance(error, Denied | SignInFailed):
        return ExitCode.DENIED
    return ExitCode.FAILED


def run_app(app: typer.Typer, name: str) -> NoReturn:
    """Run a program to its exit: any refusal is one sentence on stderr and a documented exit code."""
    code: object
    start_sooner()
    try:
        code = app(prog_name=name, standalone_mode=False)
    except typer.TyperException as error:
        # The message is empty where the help was shown instead.
        sentence = _in_our_words(" ".join(error.format_message().split())).rstrip(".") or "missing command"
        print_error(f"{sentence[:1].lower()}{sentence[1:]}; see {_command(error, name)} --help")
        code = error.exit_code
    except (typer.Abort, KeyboardInterrupt, Interrupted):
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of our output, head for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    except InterlockError as error:
        print_error(error.public)
        code = exit_code(error)
    raise SystemExit(int(code) if isinstance(code, int) else 0)


_CHECKED = re.compile(r"Input should be ([^,;]+)(?:, unable to parse [^;]+)?")


def _in_our_words(sentence: str) -> str:
    """Without those of the library that checks values."""
    return _CHECKED.sub(r"it must be \1", sentence.replace("Value error, ", ""))


def _command(error: typer.TyperException, program: str) -> str:
    """Which command's help says how it is to be called: the one that refused, as far as that is known."""
    return str(getattr(getattr(error, "ctx", None), "command_path", program))


def print_error(sentence: str) -> None:
    """One sentence on stderr."""
    print(f"error: {printable(sentence)}", file=sys.stderr)


def print_json(value: object) -> None:
    """JSON for programs; ASCII only, so that it is also safe to look at."""
    print(json.dumps(value, indent=2, default=_plain))


def print_rows(rows: Sequence[Row], columns: Mapping[str, str], form: Format) -> None:
    """A listing. ``columns`` maps keys of the rows to headings of the table; JSON shows every key."""
    if form is Format.JSON:
        print_json(list(rows))
        return
    from rich.console import Console  # here, because most commands print no table and start sooner without
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(_cell(row.get(key)))) for key in columns))
    # into a pipe nothing is folded: grep and awk want one line per row
    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=10_000)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def more(options: str) -> None:
    """Say on stderr, where it is in the way of no program, how to see the next page of a list."""
    print(printable(f"There may be more: {options}"), file=sys.stderr)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A private file that takes the place of ``path`` when it is complete, and leaves no trace when it fails.

    Devices and pipes are written to as they are. ConfigError if the place cannot be written to.
    """
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                yield file
                file.close()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink()
                raise
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", reason=str(error)) from error


def printable(text: str) -> str:
    """The text with control, format and surrogate characters made visible; tabs and line ends included."""
    return "".join(
        f"\\x{ord(char):02x}" if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") else char
        for char in text
    )


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return rfc3339(value)
        case bool():
            return "yes" if value else "no"
        case Mapping():
            return ",".join(f"{key}={each}" for key, each in value.items())
        case list() | tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return dict(value)
    msg = f"{type(value).__name__} has no JSON form"
    raise TypeError(msg)

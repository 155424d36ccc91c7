"""``ilctl backup`` and ``restore``: all that cannot be made anew in one file, and back."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from interlock.cli.admin_context import in_local, report
from interlock.cli.output import replacing
from interlock.domain.audit import Kind

STANDARD = "-"

_GIB = 1024**3


def backup(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="Where to write it; - for standard output.")],
    recordings: Annotated[
        bool, typer.Option("--recordings", help="Also the stored recordings, which may be large.")
    ] = False,
) -> None:
    """Back up the gateway, which may run meanwhile. The file has the authorities' private keys: guard it."""
    from interlock.adapters.system import SystemClock
    from interlock.daemons.backup import make_backup
    from interlock.daemons.local import Local, default_data_dir

    directory: Path = context.obj or default_data_dir()
    if file == STANDARD:
        made = make_backup(directory, sys.stdout.buffer, recordings=recordings, now=SystemClock().now())
    else:
        with replacing(Path(file)) as out:
            made = make_backup(directory, out, recordings=recordings, now=SystemClock().now())

    async def tell(local: Local) -> None:
        await report(local, Kind.BACKUP_CREATE, {"made": made.made, "recordings": made.recordings})

    in_local(context, tell)
    text = f"backed up: {made.files} files, {made.octets / _GIB:.2f} GiB, {made.recordings} recordings"
    print(text, file=sys.stderr)


def restore(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The backup; - for standard input.")],
) -> None:
    """Make a data directory of a backup. It must be new or empty; a damaged backup leaves nothing."""
    from interlock.core.errors import ConfigError
    from interlock.daemons.backup import restore_backup
    from interlock.daemons.local import Local, default_data_dir

    directory: Path = context.obj or default_data_dir()
    try:
        source = sys.stdin.buffer if file == STANDARD else Path(file).open("rb")  # noqa: SIM115  # closed below
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    with source:
        made = restore_backup(source, directory)

    async def tell(local: Local) -> None:
        await report(local, Kind.BACKUP_RESTORE, {"made": made.made, "recordings": made.recordings})

    in_local(context, tell)
    print(f"restored to {directory}: as of {made.made}, {made.recordings} recordings", file=sys.stderr)

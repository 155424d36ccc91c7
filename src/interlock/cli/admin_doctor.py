"""``ilctl doctor``: is this set-up well, and if not, what is to be done?"""

from pathlib import Path
from typing import Annotated

import typer

from interlock.cli.options import FormatOption
from interlock.cli.output import ExitCode, Format, print_rows


def doctor(
    context: typer.Context,
    config_file: Annotated[
        Path | None, typer.Option("--config", "-c", help="The gateway's file; all has defaults.")
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Look at the gateway's directory, database, listeners, people, hosts and recordings; change nothing."""
    import asyncio

    from interlock.daemons.config import load_config
    from interlock.daemons.doctor import examine_gateway
    from interlock.daemons.local import default_data_dir
    from interlock.services.operation.doctor import Verdict

    config = load_config(config_file)
    chosen: Path | None = context.obj
    directory = chosen or (Path(config.data_dir) if config.data_dir else default_data_dir())
    found = asyncio.run(examine_gateway(config, directory))
    rows = [
        {"verdict": each.verdict.value, "part": each.part, "text": each.text, "advice": each.advice}
        for each in found
    ]
    print_rows(rows, {"verdict": "Verdict", "part": "Part", "text": "Finding", "advice": "What to do"}, form)
    if any(each.verdict is Verdict.PROBLEM for each in found):
        raise typer.Exit(ExitCode.FAILED)

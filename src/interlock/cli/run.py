"""``interlock``: start daemons, show where one is, try it all out. Parsing and printing only."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from interlock.cli.demo import demo
from interlock.cli.output import EXIT_CODES, run_app
from interlock.cli.status import status
from interlock.core.errors import ConfigError

app = typer.Typer(
    help=f"Interlock: an SSH gateway that records every session once, under one ID.\n\n{EXIT_CODES}",
    no_args_is_help=True,
    add_completion=False,
)
app.command("demo")(demo)
app.command("status")(status)


@app.command()
def start(
    context: typer.Context,
    roles: Annotated[str, typer.Option(help="auth, proxy, node, or several with auth among them.")] = "auth,proxy",
    config_file: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file; all has defaults.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Instead of the file's data_dir; without both, $INTERLOCK_DATA_DIR or the default."),
    ] = None,
    database: Annotated[
        str,
        typer.Option(
            envvar="INTERLOCK_DATABASE",
            help="Instead of the file's: postgresql://USER@HOST/NAME; a password only in the environment or file.",
        ),
    ] = "",
    join: Annotated[
        str,
        typer.Option(
            envvar="INTERLOCK_JOIN_TOKEN", help="Token of `ilctl tokens add`, for the first start apart from auth."
        ),
    ] = "",
    auth: Annotated[str, typer.Option(help="Where it joins: HOST:PORT of auth's join_listen.")] = "",
    proxy: Annotated[
        str,
        typer.Option(
            help="Instead of --auth, for a node behind NAT: HOST[:PORT] of the proxy that it dials out to."
        ),
    ] = "",
    workers: Annotated[
        int | None,
        typer.Option(help="Instead of the file's workers: processes of a gateway; 0: one for each core."),
    ] = None,
) -> None:
    """Run daemons in this process until SIGTERM or Ctrl-C; log lines go to stderr."""
    import asyncio

    _keep_secret(context, database)

    import msgspec

    from interlock.daemons.config import Config, load_config
    from interlock.daemons.process import run_process

    def load() -> Config:
        config = load_config(config_file)
        if workers is not None:
            config = msgspec.structs.replace(config, workers=workers)
        if database:
            config = msgspec.structs.replace(config, database=database)
        config.check()
        return config

    try:
        asyncio.run(run_process(load, roles=roles, data_dir=data_dir, token=join, auth=auth, proxy=proxy))
    except KeyboardInterrupt:  # before the signal handlers were in place
        raise typer.Abort from None


def _keep_secret(context: typer.Context, database: str) -> None:
    """Arguments can be read by every user of the machine; the environment and the file cannot."""
    source = context.get_parameter_source("database")
    if database and source is not None and source.name == "COMMANDLINE":
        from interlock.adapters.db.postgres import PostgresUrl

        if database != "sqlite" and PostgresUrl.parse(database).has_password:
            public = "a password on the command line can be read by everybody: use INTERLOCK_DATABASE or the file"
            raise ConfigError(public)


@app.command(hidden=True)
def worker(
    control: Annotated[int, typer.Argument(help="The descriptor by which the supervisor is reached.")],
) -> None:
    """One of a gateway's processes; started by its supervisor and by nobody else."""
    import asyncio

    from interlock.daemons.worker import run_worker

    asyncio.run(run_worker(control))


def main() -> NoReturn:
    """The entry point."""
    run_app(app, "interlock")


if __name__ == "__main__":
    main()

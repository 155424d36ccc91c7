"""``ilsh bot``: a machine user's identity in a directory, for stock ssh, and its renewal."""

from pathlib import Path
from typing import Annotated

import typer

from interlock.cli.user_context import proxy_address
from interlock.cli.user_profile import ProxyAddress

app = typer.Typer(
    help="An identity for a machine: a certificate in a directory, for ssh, that is renewed in time."
)

DirOption = Annotated[Path, typer.Option("--dir", help="Where the identity is, or is to be; mode 0700.")]


@app.command("start")
def start(
    directory: DirOption,
    token: Annotated[str | None, typer.Option(help="As ilctl bots add printed it; at first.")] = None,
    proxy: Annotated[
        ProxyAddress | None,
        typer.Option(parser=proxy_address, metavar="HOST[:PORT]", help="The gateway; at first."),
    ] = None,
    oneshot: Annotated[
        bool, typer.Option("--oneshot", help="Once, and only if it is time: for cron, at least twice in a life.")
    ] = False,
) -> None:
    """Sign in by a token if no identity counts, and renew it until the end. Use it by: ssh -F DIR/ssh_config."""
    import asyncio

    from interlock.adapters.system import SystemClock
    from interlock.cli import user_identity
    from interlock.services.bots.bot_renewal import half_way, keep_renewed

    clock, home = SystemClock(), user_identity.BotHome(directory)

    async def run() -> None:
        if home.exists and (token is None or clock.now() < home.validity()[1]):
            valid = home.validity()
        else:
            valid = await user_identity.join(home, token, proxy)
            print(f"The identity is in {directory}, valid until {valid[1]:%Y-%m-%d %H:%M} UTC.")
        if not oneshot:
            await keep_renewed(lambda: user_identity.renew(home), valid, clock=clock)
        elif clock.now() >= half_way(valid):
            await user_identity.renew(home)

    asyncio.run(run())


@app.command("renew")
def renew(directory: DirOption) -> None:
    """Renew the identity now."""
    import asyncio

    from interlock.cli import user_identity

    valid = asyncio.run(user_identity.renew(user_identity.BotHome(directory)))
    print(f"Valid until {valid[1]:%Y-%m-%d %H:%M} UTC.")

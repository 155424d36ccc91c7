"""``ilctl proxies``: proxies that are daemons of their own, which joined by ``ilctl tokens add --type proxy``."""

from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import change, in_local
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows
from interlock.core.ids import DaemonId
from interlock.domain.audit import Kind

if TYPE_CHECKING:
    from interlock.daemons.local import Local

app = typer.Typer(help="Proxies that are daemons of their own.")


@app.command("ls")
def list_proxies(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the proxies that have joined, and whether they were heard of lately."""

    async def work(local: "Local") -> list[dict[str, object]]:
        now = local.clock.now()
        return [
            {
                "id": proxy.id,
                "names": list(proxy.names),
                "joined": proxy.joined,
                "peer": proxy.peer,
                "tunnels": len(proxy.tunnels),
                "lives": proxy.lives(now=now),
                "proves": bool(proxy.host_key),
            }
            for proxy in await local.proxies.proxies()
        ]

    columns = {
        "names": "Names",
        "lives": "Lives",
        "proves": "Proves presence",
        "peer": "For peers",
        "tunnels": "Tunnels",
        "id": "ID",
    }
    print_rows(in_local(context, work), columns, form)


@app.command("rm")
def remove_proxy(
    context: typer.Context,
    proxy_id: Annotated[str, typer.Argument(metavar="ID", help="As ilctl proxies ls shows it.")],
) -> None:
    """Take a proxy out of the cluster: auth signs nothing for it any more. What is live there goes on."""
    wanted = DaemonId(proxy_id)
    change(context, Kind.PROXY_DELETE, {"name": proxy_id}, lambda local: local.proxies.remove_proxy(wanted))
    print(f"Proxy {proxy_id} was removed.")

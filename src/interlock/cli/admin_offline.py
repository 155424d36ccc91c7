"""``ilctl offline``: how long what auth said of people counts while no auth answers."""

from datetime import timedelta
from typing import Annotated

import typer

from interlock.cli.admin_context import change, in_local
from interlock.cli.options import FormatOption, duration
from interlock.cli.output import Format, print_json
from interlock.domain.audit import Kind
from interlock.domain.lock import MAX_OFFLINE_S

app = typer.Typer(
    help="How long nodes and proxies apart from auth go by what auth said last of somebody, while none answers. "
    "Locks that they know count all the same, and no certificate is signed ahead."
)

_OFF = "off"


def _seconds(text: str) -> int:
    if text == _OFF:
        return 0
    found = int(duration(text).total_seconds())
    if found > MAX_OFFLINE_S:
        msg = f"it can be {MAX_OFFLINE_S // 3600}h at most"
        raise typer.BadParameter(msg)
    return found


@app.command("show")
def show(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """Print it."""
    found = in_local(context, lambda local: local.clusters.offline_s())
    if form is Format.JSON:
        print_json({"offline_s": found})
    else:
        print(f"{found}s" if found else _OFF)


@app.command("set")
def set_offline(
    context: typer.Context,
    wanted: Annotated[
        int, typer.Argument(metavar="TIME", parser=_seconds, help="For example 4h; off: not at all.")
    ],
) -> None:
    """Change it. Daemons that auth reaches hear of it within seconds, and go by the shorter time from then on."""
    change(
        context,
        Kind.OFFLINE_UPDATE,
        {"offline_s": wanted},
        lambda local: local.clusters.set_offline_s(wanted),
    )
    print(
        f"What auth said counts for {timedelta(seconds=wanted)} (h:mm:ss) without it."
        if wanted
        else "It counts not at all now."
    )

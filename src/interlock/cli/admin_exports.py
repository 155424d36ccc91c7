"""``ilctl events export`` and ``ilctl exports``: how the audit log leaves, and how far it has."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import change, in_local
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows, printable
from interlock.core.errors import ConfigError
from interlock.domain.audit import Kind
from interlock.domain.export import Batch, Cursor, Record, fitting

if TYPE_CHECKING:
    from interlock.daemons.local import Local

app = typer.Typer(help="Exports of the audit log that the gateway runs.")

PAGE = 500
_POLL_S = 0.5


def export_events(
    context: typer.Context,
    after: Annotated[
        str, typer.Option(metavar="CURSOR", help="Go on behind the event with this audit.cursor; default: all.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more, until interrupted.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Append to this file, behind what it has already; default: the standard output."
        ),
    ] = None,
) -> None:
    """Print the audit log as JSON lines: every event once, with its place in its chain, and checkpoints."""
    from asyncio import sleep

    from interlock.adapters.export.lines import FileLines

    file = FileLines(out) if out is not None else None

    async def work(local: "Local") -> None:
        last = await file.last() if file is not None and not after else None
        if last is not None and not await local.exports.has(last.uid, last.cursor):
            raise ConfigError(f"the last event of {out} is not in this log: say with --after where to go on")
        cursor = last.cursor if last is not None else Cursor.parse(after) if after else Cursor()
        while True:
            records = fitting(await local.exports.after(cursor, limit=PAGE))
            if records:
                await _put(file, cursor, records)
                cursor = records[-1].cursor
            elif not follow:
                return
            else:
                await sleep(_POLL_S)

    async def _put(file: FileLines | None, cursor: Cursor, records: list[Record]) -> None:
        if file is not None:
            await file.send(Batch("", cursor, tuple(records)))
            return
        sys.stdout.writelines(f"{record.line}\n" for record in records)
        sys.stdout.flush()

    in_local(context, work)


@app.command("rm")
def remove_export(
    context: typer.Context, name: Annotated[str, typer.Argument(help="As ilctl exports ls shows it.")]
) -> None:
    """Forget an export that no gateway's file has any more: what it has not delivered may be dropped by policy.

    One that is still in a gateway's file begins at the beginning.
    """
    change(context, Kind.EXPORT_DELETE, {"name": name}, lambda local: local.exports.forget(name))
    print(f"The export {printable(name)} is forgotten.")


@app.command("ls")
def list_exports(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List how far the gateway's exports are."""

    async def work(local: "Local") -> list[dict[str, object]]:
        return [
            {
                "name": state.name,
                "behind": await local.exports.behind(state.cursor),
                "on_its_way": state.pending is not None,
                "changed": state.changed,
                "cursor": str(state.cursor),
            }
            for state in await local.exports.states()
        ]

    columns = {
        "name": "Name",
        "behind": "Events behind",
        "on_its_way": "A batch is on its way",
        "changed": "Changed",
        "cursor": "Cursor",
    }
    print_rows(in_local(context, work), columns, form)

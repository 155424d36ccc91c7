"""``ilctl holds``: what is kept beyond the retention policy, until somebody says otherwise."""

from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import account, in_local, name, report
from interlock.cli.options import FormatOption, session_id
from interlock.cli.output import Format, print_json, print_rows
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.hold import Hold, HoldKind, check_reason

if TYPE_CHECKING:
    from interlock.daemons.local import Local

app = typer.Typer(help="Legal holds: sessions and users whose events and recordings are not dropped by policy.")


def _reason(text: str) -> str:
    try:
        return check_reason(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


@app.command("add")
def add_hold(
    context: typer.Context,
    session: Annotated[str | None, typer.Option(help="One session.", parser=session_id, metavar="SID")] = None,
    user: Annotated[
        str | None,
        typer.Option(help="Every session that this user had or took part in.", parser=name, metavar="NAME"),
    ] = None,
    reason: Annotated[str, typer.Option(parser=_reason, metavar="TEXT", help="Why; for whoever reads it.")] = "",
    form: FormatOption = Format.TEXT,
) -> None:
    """Hold one session or user: their events and recordings stay, whatever their age."""
    given = [(HoldKind.SESSION, session), (HoldKind.USER, user)]
    chosen = [(kind, value) for kind, value in given if value is not None]
    if len(chosen) != 1:
        msg = "name one of --session and --user"
        raise typer.BadParameter(msg)
    [(kind, value)] = chosen

    async def work(local: "Local") -> Hold:
        hold = Hold(local.entropy.uuid(), kind, value, reason, local.clock.now(), account())
        await local.holds.add_hold(hold)
        await report(local, Kind.HOLD_CREATE, _facts(hold))
        return hold

    hold = in_local(context, work)
    if form is Format.JSON:
        print_json(_row(hold))
    else:
        print(f"The {kind.value} {value} is held: hold {hold.id}.")


@app.command("ls")
def list_holds(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List what is held."""

    async def work(local: "Local") -> list[dict[str, object]]:
        return [_row(hold) for hold in await local.holds.holds()]

    columns = {
        "id": "ID",
        "kind": "Kind",
        "name": "Name",
        "created": "Created",
        "created_by": "By",
        "reason": "Reason",
    }
    print_rows(in_local(context, work), columns, form)


@app.command("rm")
def remove_hold(
    context: typer.Context,
    hold_id: Annotated[str, typer.Argument(metavar="ID", help="As ilctl holds ls shows it.")],
) -> None:
    """Remove a hold: what is too old is dropped again, unless another hold keeps it."""

    async def work(local: "Local") -> Hold:
        hold = await local.holds.remove_hold(hold_id)
        await report(local, Kind.HOLD_DELETE, _facts(hold))
        return hold

    hold = in_local(context, work)
    print(f"The {hold.kind.value} {hold.name} is not held any more by {hold.id}.")


def _facts(hold: Hold) -> dict[str, JsonValue]:
    return {"name": hold.id, "target": {hold.kind.value: hold.name}, "reason": hold.reason}


def _row(hold: Hold) -> dict[str, object]:
    return {
        "id": hold.id,
        "kind": hold.kind.value,
        "name": hold.name,
        "reason": hold.reason,
        "created": hold.created,
        "created_by": hold.created_by,
    }

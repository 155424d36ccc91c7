"""``ilctl users mfa``: users' second factors, and what to do when one is lost."""

from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local, name, report
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows
from interlock.domain.audit import Kind

if TYPE_CHECKING:
    from interlock.daemons.local import Local
    from interlock.domain.factor import Device

app = typer.Typer(help="Users' second factors.", no_args_is_help=True)

UserArgument = Annotated[str, typer.Argument(metavar="USER", parser=name)]


@app.command("ls")
def list_devices(context: typer.Context, user: UserArgument, form: FormatOption = Format.TEXT) -> None:
    """List a user's devices; ilctl locks add --mfa-device locks one by its ID."""

    async def work(local: "Local") -> list[dict[str, object]]:
        await local.users.user(user)
        return [
            {
                "id": each.id,
                "name": each.name,
                "kind": each.kind.value,
                "added": each.added,
                "used": each.used,
            }
            for each in await local.factor_store.devices(user)
        ]

    columns = {"id": "ID", "name": "Name", "kind": "Kind", "added": "Added", "used": "Last used"}
    print_rows(in_local(context, work), columns, form)


@app.command("rm")
def remove_device(
    context: typer.Context,
    user: UserArgument,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="ID or name.")],
) -> None:
    """Remove one device of a user."""

    async def work(local: "Local") -> "Device":
        from interlock.services.signin.factors import device_facts, one_of

        found = one_of(await local.factor_store.devices(user), device)
        await local.factor_store.remove_device(user, found.id)
        await report(local, Kind.MFA_DELETE, {"name": user} | device_facts(found))
        return found

    print(f"{in_local(context, work).name} of {user} was removed.")


@app.command("reset")
def reset(context: typer.Context, user: UserArgument) -> None:
    """Remove all devices and recovery codes of a user, who then signs in by password alone."""

    async def work(local: "Local") -> int:
        await local.users.user(user)
        count = await local.factor_store.forget_factors(user)
        await report(local, Kind.MFA_DELETE, {"name": user, "mfa_device_name": "*", "count": count})
        return count

    count = in_local(context, work)
    print(f"{user} has no second factor any more; there were {count} devices. A new one: ilsh mfa add")

"""``ilctl users`` and ``ilctl roles``: who may sign in, and what they may then reach."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import change, in_local, labels, logins, name, names, report
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows
from interlock.cli.role_options import OptionOption, options, said
from interlock.core.errors import ConfigError, InterlockError, NotFound
from interlock.domain.access import RoleOptions, dump_options
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.rbac import Role

if TYPE_CHECKING:
    from interlock.daemons.local import Local

users = typer.Typer(help="Gateway accounts.")
roles = typer.Typer(help="What users may reach: OS logins on nodes with certain labels.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", parser=name)]


@users.command("add")
def add_user(
    context: typer.Context,
    user: NameArgument,
    user_roles: Annotated[
        str, typer.Option("--roles", metavar="A,B", help="The user's roles; see ilctl roles.")
    ] = "",
    password_file: Annotated[
        Path | None,
        typer.Option(help="Take the password from this file's first line, instead of making a one-time password."),
    ] = None,
) -> None:
    """Create an account and print its one-time password, which must be changed at the first sign-in."""
    wanted = names(user_roles)

    async def work(local: "Local") -> None:
        from interlock.ports import User
        from interlock.services.signin import check_new_password, one_time_password

        missing = set(wanted) - {role.name for role in await local.roles.roles(wanted)}
        password = one_time_password(local.entropy)
        if password_file is not None:
            password = _first_line(password_file)
            check_new_password("", password)
        hashed = await local.passwords.hash(password)
        account = User(user, wanted, hashed, password_file is None, local.clock.now())
        if not await local.users.add_user(account):
            raise InterlockError(f"there is a user called {user} already")
        print(f"User {user} was created.")
        if password_file is None:
            print(f"One-time password: {password}")
            print("It has to be changed at the first sign-in: ilsh login")
        for role in sorted(missing):
            print(f"Note: there is no role called {role} yet; see ilctl roles add --help")

    change(context, Kind.USER_CREATE, {"name": user, "roles": list(wanted)}, work)


@users.command("ls")
def list_users(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the accounts."""
    rows = [
        {
            "name": user.name,
            "roles": user.roles,
            "must_change_password": user.must_change,
            "created": user.created,
        }
        for user in in_local(context, lambda local: local.users.users())
    ]
    columns = {
        "name": "Name",
        "roles": "Roles",
        "must_change_password": "Must change password",
        "created": "Created",
    }
    print_rows(rows, columns, form)


@users.command("rm")
def remove_user(context: typer.Context, user: NameArgument) -> None:
    """Delete an account: new sessions are refused within five seconds, live ones go on."""
    change(context, Kind.USER_DELETE, {"name": user}, lambda local: local.users.remove_user(user))
    print(f"User {user} was removed.")


@roles.command("add")
def add_role(
    context: typer.Context,
    role: NameArgument,
    role_logins: Annotated[str, typer.Option("--logins", metavar="A,B", help="OS accounts on the nodes.")],
    role_labels: Annotated[
        str, typer.Option("--labels", metavar="K=V,…", help="Nodes with all these labels; * for every node.")
    ],
    option: OptionOption = None,
) -> None:
    """Create a role."""
    made = Role(role, logins(role_logins), labels(role_labels), options(RoleOptions(), option))
    if not made.logins or not made.node_labels:
        msg = "a role without logins or labels allows nothing"
        raise typer.BadParameter(msg)

    async def work(local: "Local") -> None:
        if not await local.roles.add_role(made):
            raise InterlockError(f"there is a role called {role} already")

    facts: dict[str, JsonValue] = {
        "name": role,
        "logins": list(made.logins),
        "node_labels": dict(made.node_labels),
        "options": dump_options(made.options),
    }
    change(context, Kind.ROLE_CREATE, facts, work)
    print(f"Role {role} was created.")


@roles.command("ls")
def list_roles(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the roles."""
    rows = [
        {
            "name": role.name,
            "logins": role.logins,
            "node_labels": role.node_labels,
            "options": said(role.options),
        }
        for role in in_local(context, lambda local: local.roles.all_roles())
    ]
    columns = {"name": "Name", "logins": "Logins", "node_labels": "Node labels", "options": "Options"}
    print_rows(rows, columns, form)


@roles.command("set")
def set_role(
    context: typer.Context,
    role: NameArgument,
    option: OptionOption = None,
) -> None:
    """Change a role's options; NAME= takes an option back. New sessions follow within five seconds."""

    async def work(local: "Local") -> RoleOptions:
        found = await local.roles.roles([role])
        if not found:
            raise NotFound(f"there is no role called {role}")
        changed = options(found[0].options, option)
        await local.roles.set_options(role, changed)
        await report(local, Kind.ROLE_UPDATE, {"name": role, "options": dump_options(changed)})
        return changed

    changed = in_local(context, work)
    words = " ".join(f"{name}={value}" for name, value in said(changed).items())
    print(f"Role {role} now says: {words or 'nothing'}")


@roles.command("rm")
def remove_role(context: typer.Context, role: NameArgument) -> None:
    """Delete a role: new sessions that it allowed are refused within five seconds, live ones go on."""
    change(context, Kind.ROLE_DELETE, {"name": role}, lambda local: local.roles.remove_role(role))
    print(f"Role {role} was removed.")


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the password file {path}", reason=str(error)) from error
    return lines[0] if lines else ""

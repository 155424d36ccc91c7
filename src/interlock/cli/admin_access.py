"""``ilctl users``: who may sign in, with which roles and traits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli import admin_mfa, admin_user_keys
from interlock.cli.admin_context import change, in_local, name, names, report
from interlock.cli.admin_links import TtlOption, about_link, link_for, reset_user, sign_out
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows
from interlock.core.errors import ConfigError, InterlockError
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.browser import LINK_LIFE, LinkPurpose
from interlock.domain.traits import Traits, check_traits

if TYPE_CHECKING:
    from interlock.daemons.local import Local
    from interlock.ports import User

users = typer.Typer(help="Gateway accounts.")
users.command("reset")(reset_user)
users.command("sign-out")(sign_out)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", parser=name)]

TraitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trait", metavar="NAME=A,B", help="What {{trait.NAME}} in roles stands for with this user; repeat it."
    ),
]


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
    trait: TraitOption = None,
    link: Annotated[
        bool, typer.Option("--link", help="Print a link to set a password in a browser, instead of a password.")
    ] = False,
    ttl: TtlOption = None,
) -> None:
    """Create an account and print its one-time password, which must be changed at the first sign-in."""
    if link and password_file is not None:
        msg = "--link and --password-file exclude each other"
        raise typer.BadParameter(msg)
    wanted, said, life = names(user_roles), _traits({}, trait), ttl or LINK_LIFE

    async def work(local: "Local") -> None:
        from interlock.daemons.web import kept_url
        from interlock.ports import User
        from interlock.services.signin.signin import check_new_password, one_time_password

        missing = set(wanted) - {role.name for role in await local.roles.roles(wanted)}
        password = one_time_password(local.entropy)
        if password_file is not None:
            password = _first_line(password_file)
            check_new_password("", password)
        hashed = None if link else await local.passwords.hash(password)
        account = User(user, wanted, hashed, password_file is None and not link, local.clock.now(), said)
        if link:
            kept_url(local.data_dir)  # before there is an account that nobody can get into
        if not await local.users.add_user(account):
            raise InterlockError(f"there is a user called {user} already")
        print(f"User {user} was created.")
        if link:
            print(await link_for(local, user, LinkPurpose.INVITE, life))
            await report(local, Kind.RESET_TOKEN_CREATE, about_link(user, LinkPurpose.INVITE, life))
        elif password_file is None:
            print(f"One-time password: {password}")
            print("It has to be changed at the first sign-in: ilsh login")
        _note(missing)

    facts: dict[str, JsonValue] = {"name": user, "roles": list(wanted)}
    change(context, Kind.USER_CREATE, facts | _facts(said), work)


users.add_typer(admin_mfa.app, name="mfa")
users.add_typer(admin_user_keys.app, name="keys")


@users.command("ls")
def list_users(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the accounts."""
    rows = [
        {
            "name": user.name,
            "roles": user.roles,
            "traits": {each: ",".join(values) for each, values in user.traits.items()},
            "must_change_password": user.must_change,
            "created": user.created,
        }
        for user in in_local(context, lambda local: local.users.users())
    ]
    columns = {
        "name": "Name",
        "roles": "Roles",
        "traits": "Traits",
        "must_change_password": "Must change password",
        "created": "Created",
    }
    print_rows(rows, columns, form)


@users.command("set")
def set_user(
    context: typer.Context,
    user: NameArgument,
    user_roles: Annotated[
        str | None, typer.Option("--roles", metavar="A,B", help="All roles of the user from now on.")
    ] = None,
    trait: TraitOption = None,
) -> None:
    """Change roles and traits; NAME= takes a trait back. What they allow no more ends within two seconds.

    Roles and logins that are new count after the next ilsh login: the certificate names them.
    """
    if user_roles is None and trait is None:
        msg = "say --roles or --trait"
        raise typer.BadParameter(msg)

    async def work(local: "Local") -> "tuple[User, tuple[str, ...], Traits]":
        found = await local.users.user(user)
        wanted = found.roles if user_roles is None else names(user_roles)
        said = _traits(found.traits, trait)
        await local.users.set_access(user, wanted, said)
        facts: dict[str, JsonValue] = {"name": user, "roles": list(wanted), "roles_before": list(found.roles)}
        await report(local, Kind.USER_UPDATE, facts | _facts(said))
        _note(set(wanted) - {role.name for role in await local.roles.roles(wanted)})
        return found, wanted, said

    _, wanted, said = in_local(context, work)
    words = " ".join(f"{each}={','.join(values)}" for each, values in said.items())
    print(f"User {user} has the roles {', '.join(wanted) or 'none'} and the traits {words or 'none'}.")


@users.command("rm")
def remove_user(context: typer.Context, user: NameArgument) -> None:
    """Delete an account: live sessions end within two seconds, new ones are refused."""

    async def work(local: "Local") -> None:
        if await local.bots.bot(user) is not None:
            raise InterlockError(f"{user} is a bot: ilctl bots rm {user} removes it")
        await local.users.remove_user(user)

    change(context, Kind.USER_DELETE, {"name": user}, work)
    print(f"User {user} was removed.")


def _first_line(path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the password file {path}", reason=str(error)) from error
    return lines[0] if lines else ""


def _traits(before: Traits, settings: list[str] | None) -> Traits:
    """``before`` with the settings; BadParameter names what is wrong."""
    changed = dict(before)
    for each in settings or ():
        key, equals, text = each.partition("=")
        if not equals:
            msg = f"{each!r}: write NAME=A,B"
            raise typer.BadParameter(msg)
        values = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
        changed.pop(key, None)
        if values:
            changed[key] = values
    try:
        return check_traits(changed)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _facts(traits: Traits) -> dict[str, JsonValue]:
    return {"traits": {each: ",".join(values) for each, values in traits.items()}} if traits else {}


def _note(missing: set[str]) -> None:
    for role in sorted(missing):
        print(f"Note: there is no role called {role} yet; see ilctl roles add --help")

"""``ilctl users keys``: users' own keys that count without a certificate."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local, name, report
from interlock.cli.options import FormatOption, duration
from interlock.cli.output import Format, print_rows
from interlock.core.errors import ConfigError
from interlock.domain.audit import JsonValue, Kind

if TYPE_CHECKING:
    from interlock.daemons.local import Local
    from interlock.domain.factor import EnrolledKey

app = typer.Typer(help="Users' own keys that count without a certificate.", no_args_is_help=True)

UserArgument = Annotated[str, typer.Argument(metavar="USER", parser=name)]


@app.command("add")
def add_key(
    context: typer.Context,
    user: UserArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A public key with its options; - reads stdin.")],
    label: Annotated[str, typer.Option("--name", metavar="NAME", help="Default: the key's comment.")] = "",
    expires: Annotated[
        timedelta | None, typer.Option(parser=duration, metavar="TIME", help="How long it counts.")
    ] = None,
) -> None:
    """Enrol a key: its owner gets in with a stock client and no certificate, as far as roles allow."""
    try:
        line = (sys.stdin.read() if str(file) == "-" else file.read_text()).strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {file}", reason=str(error)) from None

    async def work(local: "Local") -> "EnrolledKey":
        from interlock.services.signin.enrolment import Enrolment

        await local.users.user(user)
        until = None if expires is None else local.clock.now() + expires
        key = await Enrolment(local.factor_store, local.clock).add(user, line, name=label, expires=until)
        await report(local, Kind.KEY_ENROL, _facts(key))
        return key

    print(f"{in_local(context, work).name} counts for {user} from now on.")


@app.command("ls")
def list_keys(context: typer.Context, user: UserArgument, form: FormatOption = Format.TEXT) -> None:
    """List a user's keys."""

    async def work(local: "Local") -> list[dict[str, object]]:
        from interlock.services.signin.enrolment import key_facts

        await local.users.user(user)
        return [{"expires": None, **key_facts(key)} for key in await local.factor_store.keys_of(user)]

    columns = {"name": "Name", "fingerprint": "Fingerprint", "options": "Options", "expires": "Expires"}
    print_rows(in_local(context, work), columns, form)


@app.command("rm")
def remove_key(
    context: typer.Context,
    user: UserArgument,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Name or fingerprint.")],
) -> None:
    """Remove a key: live connections by it end within two seconds, new ones are refused."""

    async def work(local: "Local") -> "EnrolledKey":
        from interlock.services.signin.enrolment import Enrolment

        gone = await Enrolment(local.factor_store, local.clock).remove(user, key)
        await report(local, Kind.KEY_REMOVE, _facts(gone))
        return gone

    print(f"{in_local(context, work).name} of {user} does not count any more.")


def _facts(key: "EnrolledKey") -> "dict[str, JsonValue]":
    from interlock.services.signin.enrolment import key_facts

    facts = key_facts(key)
    return {**facts, "name": key.user, "key_name": facts["name"]}

"""``ilsh keys``: a person's own keys, with which stock clients get in without a certificate."""

from pathlib import Path
from typing import Annotated

import typer

from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows
from interlock.cli.user_context import ProxyOption, have_done, with_portal
from interlock.cli.user_mfa import StdinOption, answers
from interlock.core import portal as wire
from interlock.core.errors import ConfigError

app = typer.Typer(help="Your own keys that count without a certificate.", no_args_is_help=True)


@app.command("ls")
def list_keys(proxy: ProxyOption = None, form: FormatOption = Format.TEXT) -> None:
    """List your enrolled keys."""
    found = with_portal(proxy, lambda portal: portal.ask(wire.Keys(), wire.KeyList))
    rows = [
        {
            "name": each.name,
            "fingerprint": each.fingerprint,
            "options": each.options,
            "added": each.added,
            "expires": each.expires,
        }
        for each in found.keys
    ]
    columns = {"name": "Name", "fingerprint": "Fingerprint", "options": "Options", "expires": "Expires"}
    print_rows(rows, columns, form)


@app.command("add")
def add_key(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A public key (~/.ssh/id_ed25519.pub), maybe with options."),
    ],
    label: Annotated[str, typer.Option("--name", metavar="NAME", help="Default: the key's comment.")] = "",
    proxy: ProxyOption = None,
    password_stdin: StdinOption = False,
) -> None:
    """Let a key of yours count without a certificate."""
    from interlock.services.signin.enrolment import parse_line

    try:
        line = file.read_text().strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {file}", reason=str(error)) from None
    parse_line(line)  # as the gateway will; a private key, or whatever else is in the file, stays here
    have_done(proxy, wire.AddKey(line, label), answers(stdin=password_stdin))


@app.command("rm")
def remove_key(
    key: Annotated[str, typer.Argument(metavar="NAME", help="Name or fingerprint, as ilsh keys ls shows it.")],
    proxy: ProxyOption = None,
    password_stdin: StdinOption = False,
) -> None:
    """Let a key of yours count no more: live connections by it end within two seconds."""
    have_done(proxy, wire.RemoveKey(key), answers(stdin=password_stdin))

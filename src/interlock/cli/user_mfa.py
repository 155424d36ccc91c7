"""``ilsh mfa``: a person's second factors. Changes ask for password and code once more."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_json, print_rows, printable
from interlock.cli.user_context import ProxyOption, have_done, valid_login, with_fresh_portal, with_portal
from interlock.cli.user_profile import ProxyAddress
from interlock.core import portal as wire
from interlock.core.errors import Denied, SignInFailed

if TYPE_CHECKING:
    from interlock.adapters.ssh.portal_client import Answers, PortalClient

app = typer.Typer(help="Your second factors: authenticator apps and recovery codes.", no_args_is_help=True)

SECRET_BYTES = 20
"""As RFC 4226 §4 recommends."""

StdinOption = Annotated[
    bool,
    typer.Option("--password-stdin", help="Read password and codes from stdin, one a line."),
]


def answers(*, stdin: bool) -> "Answers":
    """Where answers come from."""
    from interlock.cli.user_login import StdinAnswers, TerminalAnswers

    return StdinAnswers(sys.stdin) if stdin else TerminalAnswers()


@app.command("ls")
def list_devices(proxy: ProxyOption = None, form: FormatOption = Format.TEXT) -> None:
    """List your second factors."""
    found = with_portal(proxy, lambda portal: portal.ask(wire.Devices(), wire.DeviceList))
    rows = [
        {"id": each.id, "name": each.name, "kind": each.kind, "added": each.added, "used": each.used}
        for each in found.devices
    ]
    if form is Format.JSON:
        print_json({"devices": rows, "recovery_codes": found.recovery_codes})
        return
    print_rows(rows, {"name": "Name", "kind": "Kind", "added": "Added", "used": "Last used", "id": "ID"}, form)
    print(f"Recovery codes that are not used: {found.recovery_codes}")


@app.command("add")
def add_device(
    label: Annotated[str, typer.Option("--name", metavar="NAME", help="What you call it.")] = "authenticator",
    proxy: ProxyOption = None,
    password_stdin: StdinOption = False,
) -> None:
    """Add an authenticator app: shows the code to scan, and asks for what the app then shows."""
    from base64 import b32encode

    from interlock.adapters.system import SystemEntropy
    from interlock.cli.user_login import TRIES

    source = answers(stdin=password_stdin)
    secret = b32encode(SystemEntropy().token(SECRET_BYTES)).decode()

    async def work(portal: "PortalClient") -> wire.DeviceAdded:
        _show(secret, proxy)
        left = 1 if password_stdin else TRIES
        while True:
            code = source.answer("", "Code that the app shows: ", echo=True)
            try:
                return await portal.ask(wire.AddTotp(label, secret, code), wire.DeviceAdded)
            except Denied as error:  # with another secret the app would have an entry too many
                left -= 1
                if not left:
                    raise
                print(printable(f"{error.public} Try again."), file=sys.stderr)

    added = with_fresh_portal(proxy, work, source)
    print(f"{printable(label)} was added. From the next sign-in on you are asked for its code: ilsh login")
    if added.recovery_codes:
        _show_codes(added.recovery_codes)


@app.command("rm")
def remove_device(
    device: Annotated[str, typer.Argument(metavar="NAME", help="Name or ID, as ilsh mfa ls shows it.")],
    proxy: ProxyOption = None,
    password_stdin: StdinOption = False,
) -> None:
    """Remove a second factor."""
    have_done(proxy, wire.RemoveDevice(device), answers(stdin=password_stdin))


@app.command("recovery-codes")
def recovery_codes(proxy: ProxyOption = None, password_stdin: StdinOption = False) -> None:
    """Make new recovery codes; those from before count no more."""
    made = with_fresh_portal(
        proxy,
        lambda portal: portal.ask(wire.NewRecoveryCodes(), wire.RecoveryCodes),
        answers(stdin=password_stdin),
    )
    _show_codes(made.codes)


def _show(secret: str, proxy: ProxyAddress | None) -> None:
    from urllib.parse import quote

    try:
        profile = valid_login(proxy).profile
        issuer, user = profile.cluster, profile.user
    except SignInFailed:  # it has expired, which does not matter here
        issuer, user = "interlock", ""
    label = quote(f"{issuer}:{user}", safe=":")
    uri = f"otpauth://totp/{label}?secret={secret}&issuer={quote(issuer, safe='')}"
    if sys.stdout.isatty():
        import segno

        segno.make(uri, error="l").terminal(compact=True)
    print("Scan this with an authenticator app, or type the secret into it:")
    print(f"  {uri}")
    sys.stdout.flush()


def _show_codes(codes: list[str]) -> None:
    print("Recovery codes: each counts once, in the place of a code. Keep them where nobody else looks.")
    for code in codes:
        print(f"  {printable(code)}")

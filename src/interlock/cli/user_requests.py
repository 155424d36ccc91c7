"""``ilsh request``: ask for roles for a while, and decide who gets those that one may give."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.options import FormatOption, duration
from interlock.cli.output import Format, print_json, print_rows
from interlock.cli.user_context import ProxyOption, now, valid_login, with_portal
from interlock.cli.user_profile import Home, Login, Profile
from interlock.core import portal as wire
from interlock.core.errors import Denied, SignInFailed

if TYPE_CHECKING:
    from interlock.adapters.ssh.portal_client import PortalClient
    from interlock.cli.user_profile import ProxyAddress

app = typer.Typer(help="Ask for roles for a while; decide on what others ask for.", no_args_is_help=True)

LOOK_S = 2.0
"""Seconds between two looks whether somebody has decided."""

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As ilsh request ls shows it.")]


@app.command("create")
def create(
    roles: Annotated[list[str], typer.Argument(metavar="ROLE…")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="What for; whoever decides reads it.")],
    ttl: Annotated[
        timedelta | None,
        typer.Option("--for", parser=duration, metavar="TIME", help="For how long, for example 2h."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the decision, and take the access.")] = False,
    proxy: ProxyOption = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Ask for roles. What is approved counts from the next ilsh login on, or after ilsh request use ID."""
    wanted = wire.AskAccess(roles, reason, None if ttl is None else int(ttl.total_seconds()))
    login = valid_login(proxy)

    async def work(portal: "PortalClient") -> tuple[wire.AccessItem, wire.Signed | None]:
        import asyncio

        made = (await portal.ask(wanted, wire.AccessOne)).request
        if not wait:
            return made, None
        print(f"Request {made.id} waits for a decision.", flush=True)
        while made.state == "pending":
            await asyncio.sleep(LOOK_S)
            made = (await portal.ask(wire.ShowAccess(made.id), wire.AccessOne)).request
        if made.state != "approved":
            raise Denied(f"the request is {made.state}{_said(made)}")
        return made, await portal.ask(wire.UseAccess(made.id, _public(login)), wire.Signed)

    made, signed = with_portal(proxy, work)
    if signed is not None:
        _take(login, signed)
    if form is Format.JSON:
        print_json(_row(made))
    elif signed is not None:
        print(f"You have {', '.join(made.roles)} until {made.expires}.")
    else:
        print(f"Request {made.id} waits for a decision until {made.expires}.")


@app.command("ls")
def list_requests(proxy: ProxyOption = None, form: FormatOption = Format.TEXT) -> None:
    """List your requests, and those that wait for you."""

    async def work(portal: "PortalClient") -> list[wire.AccessItem]:
        return (await portal.ask(wire.Accesses(), wire.AccessList)).requests

    columns = {
        "id": "ID",
        "user": "User",
        "roles": "Roles",
        "state": "State",
        "expires": "Expires",
        "reviewed_by": "Reviewed by",
        "reason": "Reason",
    }
    print_rows([_row(each) for each in with_portal(proxy, work)], columns, form)


@app.command("show")
def show(request: IdArgument, proxy: ProxyOption = None, form: FormatOption = Format.TEXT) -> None:
    """Show one request."""
    _print(_ask(proxy, wire.ShowAccess(request)), form)


@app.command("cancel")
def cancel(request: IdArgument, proxy: ProxyOption = None, form: FormatOption = Format.TEXT) -> None:
    """Take a request back, or give up what it gave: live sessions by it end."""
    _print(_ask(proxy, wire.CancelAccess(request)), form)


@app.command("review")
def review(
    request: IdArgument,
    approve: Annotated[bool, typer.Option("--approve/--deny", help="Your word on it.")],
    reason: Annotated[str, typer.Option(metavar="TEXT")] = "",
    proxy: ProxyOption = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Approve or deny what somebody else asks for; to deny what was approved takes it back."""
    _print(_ask(proxy, wire.ReviewAccess(request, approve, reason)), form)


@app.command("use")
def use(request: IdArgument, proxy: ProxyOption = None) -> None:
    """Take the access that was approved, without signing in again."""
    login = valid_login(proxy)

    async def work(portal: "PortalClient") -> wire.Signed:
        return await portal.ask(wire.UseAccess(request, _public(login)), wire.Signed)

    signed = with_portal(proxy, work)
    _take(login, signed)
    print(f"You have the roles {', '.join(signed.roles)} until {signed.valid_until}.")


def _ask(proxy: "ProxyAddress | None", wanted: wire.AnyRequest) -> wire.AccessItem:
    async def work(portal: "PortalClient") -> wire.AccessItem:
        return (await portal.ask(wanted, wire.AccessOne)).request

    return with_portal(proxy, work)


def _public(login: Login) -> str:
    try:
        return login.key.with_name(f"{login.key.name}.pub").read_text().strip()
    except OSError as error:
        raise SignInFailed("you are not logged in: run ilsh login", reason=str(error)) from None


def _take(login: Login, signed: wire.Signed) -> None:
    """Put the new certificate in the place of the old one, here and in the key agent."""
    import os

    from interlock.adapters.ssh.portal_client import KeyPair, check_certificate
    from interlock.cli.user_login import add_to_agent, remove_from_agent

    home, private = Home.default(), login.identity()[0]
    public = _public(login)
    try:
        until = check_certificate(signed.certificate, KeyPair(private, public))
    except ValueError as error:
        raise SignInFailed("the gateway returned a certificate that is not ours", reason=str(error)) from None
    before = login.profile
    profile = Profile(before.host, before.port, signed.user, signed.cluster, signed.roles, signed.logins, until)
    in_agent = bool(os.environ.get("SSH_AUTH_SOCK"))
    if in_agent:
        remove_from_agent(login)
    stored = home.save(
        profile,
        private=private,
        public=public,
        certificate=signed.certificate,
        host_ca=home.host_ca(before.address),
    )
    if in_agent:
        add_to_agent(stored, until - now())


def _print(item: wire.AccessItem, form: Format) -> None:
    if form is Format.JSON:
        print_json(_row(item))
        return
    columns = {key: "ID" if key == "id" else key.replace("_", " ").capitalize() for key in _row(item)}
    print_rows([_row(item)], columns, form)


def _row(item: wire.AccessItem) -> dict[str, object]:
    return {
        "id": item.id,
        "user": item.user,
        "roles": item.roles,
        "state": item.state,
        "reason": item.reason,
        "created": item.created,
        "expires": item.expires,
        "approvals": item.approvals,
        "reviewed_by": [each.by for each in item.reviews],
    }


def _said(item: wire.AccessItem) -> str:
    reasons = [each.reason for each in item.reviews if not each.approves and each.reason]
    return f": {reasons[-1]}" if reasons else ""

"""How every command of ``ilsh`` finds the person's login, asks the gateway, and reads its arguments."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from interlock.adapters.system import SystemClock
from interlock.cli.output import printable
from interlock.cli.user_profile import DEFAULT_PORT, Home, Login, ProxyAddress
from interlock.core import portal as wire
from interlock.core.ids import parse_name

if TYPE_CHECKING:
    from interlock.adapters.ssh.portal_client import Answers, PortalClient

T = TypeVar("T")


def proxy_address(text: str) -> ProxyAddress:
    """A gateway's address on the command line."""
    try:
        return ProxyAddress.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def user_name(text: str) -> str:
    """A gateway user on the command line."""
    try:
        return parse_name(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


ProxyOption = Annotated[
    ProxyAddress | None,
    typer.Option(
        "--proxy",
        envvar="ILSH_PROXY",
        metavar="HOST[:PORT]",
        parser=proxy_address,
        show_default="the one of the last login",
        help=f"The gateway; its port is {DEFAULT_PORT} unless you say otherwise.",
    ),
]


ClusterOption = Annotated[
    str | None,
    typer.Option("--cluster", metavar="NAME", parser=user_name, help="A leaf cluster that the gateway leads to."),
]


def now() -> datetime:
    """The time by which certificates are judged."""
    return SystemClock().now()


def valid_login(proxy: ProxyAddress | None) -> Login:
    """The person's login; SignInFailed if there is none or it has expired."""
    return Home.default().load_valid(proxy, now=now())


def with_fresh_portal(
    proxy: ProxyAddress | None, work: "Callable[[PortalClient], Awaitable[T]]", answers: "Answers"
) -> T:
    """Run ``work`` on a connection for which the person signs in once more: at a terminal, as before."""
    import asyncio

    from interlock.adapters.ssh.portal_client import Gateway, connect
    from interlock.cli.user_login import LoginTrust, PersonsBrowser, TerminalAnswers

    profile = Home.default().load(proxy).profile
    at_terminal = isinstance(answers, TerminalAnswers)
    browser = PersonsBrowser(at_once=bool(profile.way), opens=True) if at_terminal else None
    trust = LoginTrust(str(profile.address), Home.default().host_ca(profile.address))
    gateway = Gateway(profile.host, profile.port, profile.user)

    async def run() -> T:
        async with connect(gateway, trust, answers=answers, browser=browser) as portal:
            return await work(portal)

    return asyncio.run(run())


def have_done(proxy: ProxyAddress | None, request: wire.AnyRequest, answers: "Answers") -> None:
    """Have something of one's own changed, by signing in once more, and print what was done."""
    done = with_fresh_portal(proxy, lambda portal: portal.ask(request, wire.Done), answers)
    print(printable(done.what))


def with_portal(proxy: ProxyAddress | None, work: "Callable[[PortalClient], Awaitable[T]]") -> T:
    """Run ``work`` on a connection that the person's certificate opened."""
    import asyncio

    from interlock.adapters.ssh.portal_client import Gateway, connect
    from interlock.cli.user_login import LoginTrust

    login = valid_login(proxy)
    profile = login.profile
    trust = LoginTrust(str(profile.address), Home.default().host_ca(profile.address))
    gateway = Gateway(profile.host, profile.port, profile.user)

    async def run() -> T:
        async with connect(gateway, trust, identity=login.identity()) as portal:
            return await work(portal)

    return asyncio.run(run())

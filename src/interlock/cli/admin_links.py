"""``ilctl users reset`` and ``sign-out``, and the links that let somebody in."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import change, name
from interlock.cli.options import duration
from interlock.core.errors import Denied
from interlock.domain.audit import JsonValue, Kind, rfc3339
from interlock.domain.browser import LINK_LIFE, LinkPurpose

if TYPE_CHECKING:
    from interlock.daemons.local import Local

NameArgument = Annotated[str, typer.Argument(metavar="NAME", parser=name)]

TtlOption = Annotated[
    timedelta | None,
    typer.Option(
        "--ttl", parser=duration, metavar="DURATION", show_default="1h", help="How long the link is good for."
    ),
]


def reset_user(context: typer.Context, user: NameArgument, ttl: TtlOption = None) -> None:
    """Print a link under which somebody who has an account sets a new password, once.

    The old password stays good until then. Whoever has the link has the account: hand it to its owner only.
    """
    life = ttl or LINK_LIFE

    async def work(local: "Local") -> str:
        from interlock.services.bots.bots import BotTokens

        account = await local.users.user(user)
        if await BotTokens(local.bots, local.clock).is_bot(user):
            raise Denied(f"{user} is a machine: see ilctl bots")
        if await local.sso.is_vouched(account):
            raise Denied(f"{user} signs in by an identity provider, and has no password here")
        if await local.bots.bot(user) is not None:
            raise Denied(f"{user} is a bot, which signs in by a token: ilctl bots token {user}")
        return await link_for(local, user, LinkPurpose.RESET, life)

    print(change(context, Kind.RESET_TOKEN_CREATE, about_link(user, LinkPurpose.RESET, life), work))


def sign_out(context: typer.Context, user: NameArgument) -> None:
    """End all of somebody's sign-ins in browsers. Certificates and live sessions stay: see ilctl locks."""

    async def work(local: "Local") -> int:
        await local.users.user(user)  # whoever mistypes a name must not believe that somebody was signed out
        return await local.browsers.remove_sign_ins(user)

    ended = change(context, Kind.SIGN_OUT, {"name": user}, work)
    print(f"{user} was signed out of {ended} browser{'' if ended == 1 else 's'}.")


def about_link(user: str, purpose: LinkPurpose, life: timedelta) -> dict[str, JsonValue]:
    """What the audit log says of a link, which is nothing that opens it."""
    return {"name": user, "purpose": purpose.value, "ttl": str(life)}


async def link_for(local: "Local", user: str, purpose: LinkPurpose, life: timedelta) -> str:
    """What to tell the administrator about a new link. ConfigError if there is no web part to open it."""
    from interlock.daemons.web import kept_url
    from interlock.services.signin.links import make_link

    where = kept_url(local.data_dir)
    secret = await make_link(local.browsers, user, purpose, life, clock=local.clock, entropy=local.entropy)
    until = rfc3339(local.clock.now() + life)
    return f"{where}/link/{secret}\nGood for one use, until {until}."

"""``ilctl bots``: machine users."""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local, login, name, names, report
from interlock.cli.admin_locks import MessageOption, add_lock_now
from interlock.cli.options import FormatOption, duration
from interlock.cli.output import Format, print_rows
from interlock.core.errors import NotFound
from interlock.domain.audit import Kind
from interlock.domain.bot import DEFAULT_LIFE, Bot
from interlock.domain.lock import LockKind

if TYPE_CHECKING:
    from interlock.daemons.local import Local

app = typer.Typer(help="Machine users, which sign in once by a token and renew a short-lived certificate.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", parser=name)]


@app.command("add")
def add(
    context: typer.Context,
    bot: NameArgument,
    roles: Annotated[str, typer.Option(metavar="ROLE[,ROLE]", help="Its roles.")],
    logins: Annotated[
        str, typer.Option(metavar="LOGIN[,LOGIN]", help="Its logins, of those that its roles allow.")
    ],
    ttl: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration, metavar="TIME", show_default="1h", help="Life of a certificate, 24h at most."
        ),
    ] = None,
    source: Annotated[
        str, typer.Option(metavar="NET[,NET]", help="Networks that it may come from; default: anywhere.")
    ] = "",
) -> None:
    """Add a bot, and print the token by which it signs in, once, within an hour."""
    sources = tuple(each.strip() for each in source.split(",") if each.strip())
    wanted, own = names(roles), tuple(login(each.strip()) for each in logins.split(",") if each.strip())

    async def work(local: "Local") -> str:
        from interlock.services.bots.bots import add_bot

        made = Bot(bot, own, ttl or DEFAULT_LIFE, sources, local.clock.now())
        known = {role.name for role in await local.roles.roles(wanted)}
        if missing := [each for each in wanted if each not in known]:
            raise NotFound(f"there is no role {missing[0]}")
        token = await add_bot(
            local.bots, local.users, made, wanted, pin=_pin(local), clock=local.clock, entropy=local.entropy
        )
        await report(local, Kind.BOT_CREATE, {"name": bot, "roles": list(wanted), "logins": list(own)})
        return token.text

    print(in_local(context, work))


@app.command("token")
def token(context: typer.Context, bot: NameArgument) -> None:
    """Print another token, for a bot that has lost its identity: who renews that later locks the bot."""

    async def work(local: "Local") -> str:
        from interlock.services.bots.bots import new_token

        found = await _found(local, bot)
        made = await new_token(local.bots, found, pin=_pin(local), clock=local.clock, entropy=local.entropy)
        await report(local, Kind.BOT_TOKEN, {"name": bot})
        return made.text

    print(in_local(context, work))


@app.command("ls")
def list_bots(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the bots."""

    async def work(local: "Local") -> list[dict[str, object]]:
        rows = []
        for bot in await local.bots.bots():
            account = await local.users.user(bot.user)
            rows.append(
                {
                    "name": bot.user,
                    "roles": list(account.roles),
                    "logins": list(bot.logins),
                    "ttl_s": int(bot.life.total_seconds()),
                    "sources": list(bot.sources),
                    "generation": bot.generation,
                    "renewed": bot.signed,
                }
            )
        return rows

    columns = {"name": "Bot", "roles": "Roles", "logins": "Logins", "generation": "Renewals", "renewed": "Last"}
    print_rows(in_local(context, work), columns, form)


@app.command("rm")
def remove(context: typer.Context, bot: NameArgument) -> None:
    """Remove a bot: live sessions end within two seconds, new ones are refused."""

    async def work(local: "Local") -> None:
        await _found(local, bot)
        await local.users.remove_user(bot)
        await report(local, Kind.BOT_DELETE, {"name": bot})

    in_local(context, work)
    print(f"Bot {bot} was removed.")


@app.command("lock")
def lock(context: typer.Context, bot: NameArgument, message: MessageOption = "") -> None:
    """Lock a bot out: live sessions end within two seconds. ilctl locks rm lets it in again."""

    async def work(local: "Local") -> str:
        await _found(local, bot)
        return (await add_lock_now(local, LockKind.USER, bot, message, None)).id

    print(f"The bot {bot} is locked: lock {in_local(context, work)}.")


async def _found(local: "Local", bot: str) -> Bot:
    found = await local.bots.bot(bot)
    if found is None:
        raise NotFound(f"there is no bot {bot}")
    return found


def _pin(local: "Local") -> str:
    from interlock.core.certificate import PublicKey

    return PublicKey.parse(local.authority.trusted("host")[0]).fingerprint

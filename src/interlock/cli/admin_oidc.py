"""``ilctl oidc``: identity providers by which people may sign in, and what their claims mean here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import change, in_local, name
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows
from interlock.core.errors import ConfigError, InterlockError, NotFound
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.sso import Connector, Rule, check_connector, parse_trait

if TYPE_CHECKING:
    from interlock.daemons.local import Local

app = typer.Typer(help="Identity providers (OIDC) by which people may sign in with a browser.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", parser=name)]
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="CLAIM=VALUE:ROLE,…", help="Whoever has this claim has these roles; repeat it."),
]
SecretOption = Annotated[Path, typer.Option(help="File whose first line is the client secret.")]
TraitOption = Annotated[
    list[str] | None,
    typer.Option("--trait", metavar="TRAIT=CLAIM", help="A trait of the user that this claim fills; repeat it."),
]
ScopesOption = Annotated[
    str, typer.Option(metavar="A,B", help="What is asked for: some providers want one for groups.")
]


@app.command("add")
def add_connector(
    context: typer.Context,
    connector: NameArgument,
    issuer: Annotated[str, typer.Option(metavar="URL", help="Exactly as the provider calls itself.")],
    client_id: Annotated[str, typer.Option(metavar="ID", help="What the provider calls this gateway.")],
    client_secret_file: SecretOption,
    rule: MapOption = None,
    scopes: ScopesOption = "openid,profile,email",
    user_claim: Annotated[
        str, typer.Option(metavar="CLAIM", help="What somebody new is called here.")
    ] = "preferred_username",
    trait: TraitOption = None,
) -> None:
    """Let people of a provider in. Tell it where browsers come back: URL/sso/callback, with the web part's URL."""
    made = _checked(connector, issuer, client_id, rule, scopes, user_claim, trait)
    secret = _secret(client_secret_file)

    async def work(local: "Local") -> None:
        if not await local.sso.add_connector(made, secret):
            raise InterlockError("there is a connector of this name or issuer already: see ilctl oidc ls")

    change(context, Kind.OIDC_CREATE, _facts(made), work)
    print(f"Connector {connector} was added. See whether it answers: ilctl oidc test {connector}")


@app.command("set")
def set_connector(
    context: typer.Context,
    connector: NameArgument,
    rule: MapOption = None,
    client_secret_file: Annotated[
        Path | None, typer.Option(help="File whose first line is the new client secret.")
    ] = None,
    trait: TraitOption = None,
) -> None:
    """Replace the rules, the traits or the secret. Rules count from everybody's next sign-in on."""

    async def work(local: "Local") -> None:
        before, secret = await local.sso.connector(connector)
        rules = list(map(str, before.rules)) if rule is None else rule
        traits = [f"{each}={claim}" for each, claim in before.traits.items()] if trait is None else trait
        scopes = ",".join(before.scopes)
        made = _checked(connector, before.issuer, before.client_id, rules, scopes, before.user_claim, traits)
        await local.sso.set_connector(made, secret if client_secret_file is None else _secret(client_secret_file))

    facts: dict[str, JsonValue] = {
        "name": connector,
        "rules": list(rule or []),
        "secret": client_secret_file is not None,
    }
    change(context, Kind.OIDC_UPDATE, facts, work)
    print(f"Connector {connector} was changed.")


@app.command("ls")
def list_connectors(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the providers, with what their claims mean."""
    rows = [
        {
            "name": each.name,
            "issuer": each.issuer,
            "client_id": each.client_id,
            "rules": tuple(map(str, each.rules)),
            "scopes": each.scopes,
            "user_claim": each.user_claim,
            "traits": dict(each.traits),
        }
        for each in in_local(context, lambda local: local.sso.connectors())
    ]
    columns = {"name": "Name", "issuer": "Issuer", "client_id": "Client ID", "rules": "Rules", "scopes": "Scopes"}
    print_rows(rows, columns | {"user_claim": "User claim", "traits": "Traits"}, form)


@app.command("rm")
def remove_connector(context: typer.Context, connector: NameArgument) -> None:
    """Forget a provider: nobody signs in by it any more. Accounts stay, without a way in: see ilctl users rm."""
    change(context, Kind.OIDC_DELETE, {"name": connector}, lambda local: local.sso.remove_connector(connector))
    print(f"Connector {connector} was removed.")


@app.command("forget")
def forget_user(context: typer.Context, user: NameArgument) -> None:
    """Let somebody whose account was removed come back by a provider, as somebody new."""

    async def work(local: "Local") -> None:
        if not await local.sso.forget_vouched(user):
            raise NotFound(f"no provider has vouched for {user}")

    change(context, Kind.OIDC_FORGET, {"name": user}, work)
    print(f"{user} is known to its provider no more.")


@app.command("test")
def try_connector(
    context: typer.Context,
    connector: NameArgument,
    ca: Annotated[
        str, typer.Option(metavar="FILE", help="The same as web.provider_ca in the gateway's file.")
    ] = "",
) -> None:
    """Ask the provider to describe itself, from this machine, and say what it said."""

    async def work(local: "Local") -> None:
        from interlock.adapters.oidc import HttpsProviders
        from interlock.services.signin.providers import Providers

        found, _ = await local.sso.connector(connector)
        said = await Providers(HttpsProviders(ca=ca), local.clock).provider(found)
        print(f"Issuer:        {found.issuer}")
        print(f"Sign-in page:  {said.authorization}")
        print(f"Token address: {said.token} (our secret goes {'in a header' if said.basic else 'in the form'})")
        print(f"Userinfo:      {said.userinfo or 'none'}")

    in_local(context, work)


def _checked(
    connector: str,
    issuer: str,
    client_id: str,
    rules: list[str] | None,
    scopes: str,
    user_claim: str,
    traits: list[str] | None,
) -> Connector:
    try:
        return check_connector(
            Connector(
                connector,
                issuer,
                client_id,
                tuple(map(Rule.parse, rules or [])),
                tuple(each.strip() for each in scopes.split(",") if each.strip()),
                user_claim,
                dict(map(parse_trait, traits or [])),
            )
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _secret(path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the client secret {path}", reason=str(error)) from error
    if not lines or not lines[0].strip():
        raise ConfigError(f"the first line of {path} is empty")
    return lines[0].strip()


def _facts(connector: Connector) -> dict[str, JsonValue]:
    """What the audit log says, which is not the secret."""
    return {
        "name": connector.name,
        "issuer": connector.issuer,
        "client_id": connector.client_id,
        "rules": list(map(str, connector.rules)),
    }

"""``ilctl tokens``: join tokens, with which a daemon enters the cluster once, or a leaf cluster trusts it."""

import sys
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import change, in_local, report
from interlock.cli.options import FormatOption, duration
from interlock.cli.output import Format, print_json, print_rows
from interlock.domain.audit import Kind, rfc3339

if TYPE_CHECKING:
    from interlock.daemons.local import Local
    from interlock.services.keys.joining import TokenText

app = typer.Typer(help="Join tokens, with which nodes and proxies enter the cluster and leaf clusters trust it.")


class TokenType(StrEnum):
    """`ports.TokenKind` as an argument."""

    NODE = "node"
    PROXY = "proxy"
    CLUSTER = "cluster"


_CREATED = {
    TokenType.NODE: Kind.TOKEN_CREATE,
    TokenType.PROXY: Kind.TOKEN_CREATE,
    TokenType.CLUSTER: Kind.CLUSTER_TOKEN_CREATE,
}
_WHAT_NEXT = {
    TokenType.NODE: "On the node: interlock start --roles node --auth HOST:PORT --join TOKEN",
    TokenType.PROXY: "On the proxy: interlock start --roles proxy --auth HOST:PORT --join TOKEN",
    TokenType.CLUSTER: "On the leaf: ilctl clusters trust TOKEN --auth HOST:PORT --own-proxy HOST:PORT --map …",
}


@app.command("add")
def add_token(
    context: typer.Context,
    ttl: Annotated[
        timedelta, typer.Option(parser=duration, metavar="TIME", help="How long it can be used; at most 7d.")
    ] = "1h",  # type: ignore[assignment]  # typer parses defaults too
    uses: Annotated[int, typer.Option(min=1, max=1000, help="How many daemons may join with it.")] = 1,
    kind: Annotated[
        TokenType,
        typer.Option("--type", help="What may join with it: nodes, proxies, or clusters that become our leaves."),
    ] = TokenType.NODE,
    form: FormatOption = Format.TEXT,
) -> None:
    """Make a join token. It is printed once and stored as a hash only."""
    from interlock.daemons.auth_rpc import daemon_cas
    from interlock.ports import TokenKind
    from interlock.services.keys.joining import create_token

    async def work(local: "Local") -> "TokenText":
        cas = await daemon_cas(local)
        made = await create_token(
            local.tokens,
            pin=cas.shown.pin,
            clock=local.clock,
            entropy=local.entropy,
            ttl=ttl,
            uses=uses,
            kind=TokenKind(kind.value),
        )
        expires = rfc3339(local.clock.now() + ttl)
        await report(local, _CREATED[kind], {"name": made.id, "uses": uses, "expires": expires})
        return made

    token = in_local(context, work)
    if form is Format.JSON:
        print_json({"id": token.id, "token": str(token), "ttl_s": int(ttl.total_seconds()), "uses": uses})
        return
    print(_WHAT_NEXT[kind], file=sys.stderr)
    print(token)


@app.command("ls")
def list_tokens(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the join tokens; the secrets are not stored."""

    async def work(local: "Local") -> list[dict[str, object]]:
        now = local.clock.now()
        return [
            {
                "id": token.id,
                "kind": token.kind.value,
                "created": token.created,
                "expires": token.expires,
                "uses": token.uses,
                "valid": token.uses > 0 and now < token.expires,
            }
            for token in await local.tokens.tokens()
        ]

    columns = {
        "id": "ID",
        "kind": "For",
        "created": "Created",
        "expires": "Expires",
        "uses": "Uses left",
        "valid": "Valid",
    }
    print_rows(in_local(context, work), columns, form)


@app.command("rm")
def remove_token(
    context: typer.Context,
    token_id: Annotated[str, typer.Argument(metavar="ID", help="As ilctl tokens ls shows it.")],
) -> None:
    """Make a join token useless. Nodes that joined with it stay."""
    change(context, Kind.TOKEN_DELETE, {"name": token_id}, lambda local: local.tokens.remove_token(token_id))
    print(f"Join token {token_id} was removed.")

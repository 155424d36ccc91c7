"""``ilctl keys``: the cluster's private keys, sealed where they are stored."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local, report
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_json
from interlock.domain.audit import Kind, rfc3339

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from interlock.daemons.keys import KeysConfig
    from interlock.daemons.local import Local
    from interlock.ports import Wrapping

app = typer.Typer(
    help="The private keys and other secrets in the database: sealed by a key of the cluster's, which a "
    "passphrase wraps. All but status need the gateway to be stopped."
)

KeyFile = Annotated[
    Path | None, typer.Option(help="File with the passphrase, mode 0600; the gateway reads it at each start.")
]
Credential = Annotated[str, typer.Option(help="Name of the systemd credential with the passphrase.")]
Module = Annotated[
    str, typer.Option("--pkcs11-module", metavar="FILE", help="Library of a PKCS#11 token that wraps the key.")
]
TokenLabel = Annotated[
    str, typer.Option("--pkcs11-token", metavar="LABEL", help="The token; its PIN is in the file or credential.")
]
Ask = Annotated[bool, typer.Option("--ask", help="Ask for the passphrase now and at each start.")]


@app.command("status")
def status(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """Say whether the keys are sealed, and by what."""

    async def work(local: "Local") -> tuple[list[dict[str, str | int]], list[dict[str, str | int]]]:
        from interlock.adapters.db.sealed import SqlKeyWrappers

        store = SqlKeyWrappers(local.database)
        ways: list[dict[str, str | int]] = [
            {"name": each.name, "kind": each.kind, "created": rfc3339(each.created)}
            for each in await store.wrappers()
        ]
        counts: list[dict[str, str | int]] = [
            {"column": each.column, "sealed": each.sealed, "clear": each.clear} for each in await store.counts()
        ]
        return ways, counts

    ways, counts = in_local(context, work)
    if form is Format.JSON:
        print_json({"wrappers": ways, "secrets": counts})
        return
    print("\n".join(f"sealed by a {way['kind']} since {way['created']}" for way in ways) or "not sealed")
    for each in counts:
        print(f"{each['column']}: {each['sealed']} sealed, {each['clear']} in the clear")


@app.command("seal")
def seal(
    context: typer.Context,
    key_file: KeyFile = None,
    credential: Credential = "",
    ask: Ask = False,
    pkcs11_module: Module = "",
    pkcs11_token: TokenLabel = "",
) -> None:
    """Seal them. Say the same in [auth.keys] of the gateway's file if other machines have auths as well."""

    async def work(local: "Local") -> int:
        from interlock.daemons.resealing import seal_keys

        return await seal_keys(local, *_way(local, key_file, credential, pkcs11_module, pkcs11_token, ask=ask))

    print(f"{_alone(context, 'seal', work)} secrets were sealed. Backups from before have them in the clear.")


@app.command("rewrap")
def rewrap(
    context: typer.Context,
    key_file: KeyFile = None,
    credential: Credential = "",
    ask: Ask = False,
    pkcs11_module: Module = "",
    pkcs11_token: TokenLabel = "",
    new_data_key: Annotated[
        bool, typer.Option("--new-data-key", help="Somebody may have had the old one: seal everything anew.")
    ] = False,
) -> None:
    """Change what they are sealed by. The old passphrase opens copies from before, but not what is there now."""

    async def work(local: "Local") -> int:
        from interlock.daemons.resealing import rewrap_keys

        way = _way(local, key_file, credential, pkcs11_module, pkcs11_token, ask=ask)
        return await rewrap_keys(local, *way, new_data_key=new_data_key)

    count = _alone(context, "rewrap", work)
    print(f"Done; {count} secrets were sealed anew." if new_data_key else "Done.")


@app.command("unseal")
def unseal(context: typer.Context) -> None:
    """Store them in the clear again."""

    async def work(local: "Local") -> int:
        from interlock.daemons.resealing import unseal_keys

        return await unseal_keys(local)

    print(f"{_alone(context, 'unseal', work)} secrets are in the clear now.")


def _way(
    local: "Local", key_file: Path | None, credential: str, module: str, label: str, *, ask: bool
) -> "tuple[KeysConfig, Wrapping]":
    from interlock.core.errors import ConfigError
    from interlock.daemons.keys import KeysConfig

    settings = KeysConfig(str(key_file.absolute()) if key_file else "", credential, ask, module, label)
    if [bool(key_file), bool(credential), ask].count(True) != 1:
        msg = "give one of --key-file, --credential and --ask"
        raise typer.BadParameter(msg)
    try:
        settings.check()
    except ConfigError as error:
        raise typer.BadParameter(error.public) from None
    return settings, settings.wrapping(local.entropy, "New passphrase of the cluster's keys: ")


def _alone(context: typer.Context, action: str, work: "Callable[[Local], Awaitable[int]]") -> int:
    """Run ``work`` while no gateway has the directory, and tell the audit log."""
    from interlock.daemons.local import default_data_dir
    from interlock.daemons.supervise import sole_user

    async def both(local: "Local") -> int:
        count = await work(local)
        await report(local, Kind.KEYS_UPDATE, {"action": action, "secrets": count})
        return count

    with sole_user(context.obj or default_data_dir()):
        return in_local(context, both)

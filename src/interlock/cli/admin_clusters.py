"""``ilctl clusters``: the root clusters that this one trusts, and the leaf clusters that its people reach."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local, report
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows
from interlock.core.address import format_address, parse_address
from interlock.core.certificate import PublicKey
from interlock.core.errors import ConfigError, NotFound
from interlock.domain.audit import Kind
from interlock.domain.cluster import Relation, RoleMap, TrustedCluster, format_role_map, parse_role_map

if TYPE_CHECKING:
    from interlock.daemons.local import Local

app = typer.Typer(help="Clusters that trust each other: roots, whose people come here, and leaves, where ours go.")

PROXY_PORT = 3023


def role_map(text: str) -> RoleMap:
    """A mapping of roles on the command line."""
    try:
        return parse_role_map(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def proxy(text: str) -> str:
    """A proxy's address on the command line."""
    try:
        return format_address(*parse_address(text, default_port=PROXY_PORT))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def relation(text: str) -> Relation:
    """What another cluster is to this one."""
    try:
        return Relation(text)
    except ValueError:
        msg = "say root or leaf"
        raise typer.BadParameter(msg) from None


MapOption = Annotated[
    str | None,
    typer.Option(
        "--map",
        parser=role_map,
        metavar="ROOT:LEAF[,ROOT:LEAF]",
        help="Which roles of the root count as which roles here; * as a root's role means any. Others count for "
        "nothing.",
    ),
]
RelationOption = Annotated[
    str | None,
    typer.Option("--type", parser=relation, metavar="root|leaf", help="Needed only if both have this name."),
]


@app.command("trust")
def trust(
    context: typer.Context,
    token: Annotated[str, typer.Argument(help="As the root's ilctl tokens add --type cluster printed it.")],
    auth: Annotated[str, typer.Option(metavar="HOST:PORT", help="The root's join listener, as nodes use it.")],
    own_proxy: Annotated[
        str, typer.Option(parser=proxy, metavar="HOST[:PORT]", help="This cluster's proxy as the root reaches it.")
    ],
    mapping: MapOption = None,
    insist: Annotated[
        bool,
        typer.Option("--insist-on-recording", help="Record the root's sessions here also if it would itself."),
    ] = False,
) -> None:
    """Become a leaf of another cluster: let its people in, with the roles that the mapping gives them."""
    from interlock.adapters.rpc.joiner import trust_root
    from interlock.ports import TokenKind
    from interlock.services.clusters.trusting import checked_root, trust_fields
    from interlock.services.keys.joining import TokenText

    parsed = TokenText.parse(token, TokenKind.CLUSTER)
    roles: RoleMap = mapping or {}  # type: ignore[assignment]  # typer has parsed it
    if not roles:
        msg = "without a mapping of roles nobody could do anything here: --map ROOT-ROLE:LEAF-ROLE"
        raise typer.BadParameter(msg)

    async def work(local: "Local") -> TrustedCluster:
        known = {role.name for role in await local.roles.all_roles()}
        for name in (ours for many in roles.values() for ours in many):
            if name not in known:
                raise NotFound(
                    f"there is no role called {name} in this cluster: ilctl roles ls shows those there are"
                )
        trusted = await local.authority.trust()
        here = local.cluster
        reply = await trust_root(
            auth, parsed, name=here.name, cluster_id=here.id, proxy=own_proxy, host_cas=trusted.host_cas
        )
        root = checked_root(reply, here, trusted, local.clock.now(), roles=roles, insists=insist)
        await local.trusts.put_trust(root)
        await report(local, Kind.CLUSTER_CREATE, trust_fields(root))
        return root

    root = in_local(context, work)
    print(f"People of the cluster {root.name} may come here now, with the roles {format_role_map(root.roles)}.")


@app.command("ls")
def list_clusters(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the clusters that this one has to do with."""

    async def work(local: "Local") -> list[dict[str, object]]:
        return [
            {
                "name": each.name,
                "relation": each.relation.value,
                "enabled": each.enabled,
                "proxy": each.proxy,
                "roles": format_role_map(each.roles),
                "insists": each.insists,
                "id": each.id,
                "created": each.created,
            }
            for each in await local.trusts.trusted_clusters()
        ]

    columns = {
        "name": "Cluster",
        "relation": "Is our",
        "enabled": "Enabled",
        "proxy": "Proxy",
        "roles": "Roles",
        "insists": "We insist on recording",
        "created": "Since",
    }
    print_rows(in_local(context, work), columns, form)


@app.command("set")
def change_cluster(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="As ilctl clusters ls shows it.")],
    mapping: MapOption = None,
    insist: Annotated[
        bool | None, typer.Option("--insist-on-recording/--no-insist-on-recording", help="As with trust.")
    ] = None,
    enabled: Annotated[
        bool | None, typer.Option("--enable/--disable", help="Whether anybody gets through at all.")
    ] = None,
    own_proxy: Annotated[
        str | None,
        typer.Option("--proxy", parser=proxy, metavar="HOST[:PORT]", help="Where a leaf's proxy is now."),
    ] = None,
    authorities: Annotated[
        Path | None,
        typer.Option(
            help="File with its authorities now, while it changes them: of a root what ilctl auth export --type "
            "user prints there, of a leaf --type host."
        ),
    ] = None,
    kind: RelationOption = None,
) -> None:
    """Change what holds for another cluster from now on."""
    from interlock.services.clusters.trusting import trust_fields, with_authorities

    lines = None if authorities is None else _lines(authorities)

    async def work(local: "Local") -> None:
        found = await _find(local, name, kind)
        if lines is not None:
            found = with_authorities(found, lines, await local.authority.trust())
        wrong = "--proxy" if found.relation is Relation.ROOT and own_proxy else None
        if found.relation is Relation.LEAF and (mapping is not None or insist is not None):
            wrong = "--map and --insist-on-recording"
        if wrong:
            msg = f"{wrong} cannot be changed here: {found.name} is our {found.relation.value}, and decides itself"
            raise typer.BadParameter(msg)
        changed = replace(
            found,
            roles=found.roles if mapping is None else mapping,  # type: ignore[arg-type]  # typer has parsed it
            insists=found.insists if insist is None else insist,
            enabled=found.enabled if enabled is None else enabled,
            proxy=own_proxy or found.proxy,
        )
        await local.trusts.put_trust(changed)
        facts = trust_fields(changed)
        if lines is not None:
            theirs = changed.user_cas + changed.host_cas
            facts["authorities"] = [PublicKey.parse(each).fingerprint for each in theirs]
        await report(local, Kind.CLUSTER_UPDATE, facts)

    in_local(context, work)
    print(f"The cluster {name} was changed.")


@app.command("rm")
def remove_cluster(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="As ilctl clusters ls shows it.")],
    kind: RelationOption = None,
) -> None:
    """End the trust on this side: live sessions end within two seconds, new ones are refused."""
    from interlock.services.clusters.trusting import trust_fields

    async def work(local: "Local") -> None:
        found = await _find(local, name, kind)
        await local.trusts.remove_trust(found.relation, found.name)
        await report(local, Kind.CLUSTER_DELETE, trust_fields(found))

    in_local(context, work)
    print(f"The cluster {name} was removed.")


def _lines(path: Path) -> list[str]:
    try:
        return [line for each in path.read_text().splitlines() if (line := each.strip())]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}", reason=str(error)) from error


async def _find(local: "Local", name: str, kind: object) -> TrustedCluster:
    found = [
        each
        for each in await local.trusts.trusted_clusters(kind if isinstance(kind, Relation) else None)
        if each.name == name.lower()
    ]
    if not found:
        raise NotFound(f"there is no cluster called {name[:128]}")
    if len(found) > 1:
        msg = f"{name} is both our root and our leaf: say --type root or --type leaf"
        raise typer.BadParameter(msg)
    return found[0]

"""``ilctl nodes``: the inventory. Our own nodes report themselves; agentless hosts (plain sshd) are added here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import change, in_local, labels, name
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows
from interlock.core.address import format_address, parse_address
from interlock.core.certificate import PublicKey
from interlock.core.errors import InterlockError
from interlock.core.ids import DaemonId
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.target import SubKind, Target

if TYPE_CHECKING:
    from interlock.daemons.local import Local

BY_TUNNEL = "tunnel"
"""Instead of an address, of a node that dials out to the proxy."""

app = typer.Typer(help="Hosts behind the gateway.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", parser=name)]


@app.command("ls")
def list_nodes(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the hosts that can be reached now."""
    rows = [
        {
            "hostname": target.hostname,
            "addr": target.addr or BY_TUNNEL,
            "tunnel": target.tunnel,
            "sub_kind": target.sub_kind.value,
            "labels": target.labels,
            "id": target.id,
            "host_keys": target.host_keys,
            "version": target.version,
            "expires": target.expires,
        }
        for target in in_local(context, lambda local: local.inventory.targets())
    ]
    columns = {"hostname": "Name", "addr": "Address", "sub_kind": "Kind", "labels": "Labels", "id": "ID"}
    print_rows(rows, columns, form)


@app.command("add")
def add_node(
    context: typer.Context,
    hostname: NameArgument,
    addr: Annotated[str, typer.Option(metavar="HOST[:PORT]", help="Where its sshd listens.")],
    node_labels: Annotated[
        str, typer.Option("--labels", metavar="K=V,…", help="Labels that roles select by.")
    ] = "",
    host_key: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE|LINE", help="Pin this host key, for example ssh_host_ed25519_key.pub; repeatable."
        ),
    ] = None,
    host_ca: Annotated[
        bool, typer.Option("--host-ca", help="Trust a host certificate of ours instead; see ilctl auth sign.")
    ] = False,
) -> None:
    """Register an agentless host: a plain sshd that trusts the output of ilctl auth export --type openssh."""
    if bool(host_key) == host_ca:
        msg = "give --host-key or --host-ca, so that the gateway can tell this host from an impostor"
        raise typer.BadParameter(msg)
    host, port = _address(addr)
    keys = tuple(key for each in host_key or () for key in _host_keys(each))
    wanted = labels(node_labels)

    async def work(local: "Local") -> None:
        identifier = DaemonId(local.entropy.uuid())
        target = Target(identifier, hostname, host, port, SubKind.AGENTLESS, wanted, keys)
        if not await local.inventory.add_target(target):
            raise InterlockError(f"there is a node called {hostname} already")

    facts: dict[str, JsonValue] = {
        "name": hostname,
        "addr": format_address(host, port),
        "labels": wanted,
        "host_keys": list(keys),
    }
    change(context, Kind.NODE_CREATE, facts, work)
    print(f"Node {hostname} was added.")


@app.command("rm")
def remove_node(context: typer.Context, hostname: NameArgument) -> None:
    """Forget a host, by name or ID. One of our own nodes that still runs reports itself again."""
    change(context, Kind.NODE_DELETE, {"name": hostname}, lambda local: local.inventory.remove_target(hostname))
    print(f"Node {hostname} was removed.")


def _address(text: str) -> tuple[str, int]:
    """``host``, ``host:port``, ``[v6]:port`` or a bare IPv6 address."""
    try:
        return parse_address(text, default_port=22)
    except ValueError:
        msg = f"{text!r} is not an address: write host:port"
        raise typer.BadParameter(msg) from None


def _host_keys(text: str) -> list[str]:
    """The keys of a file, or the one on the command line."""
    keys: list[str] = []
    why = "it contains none"
    try:
        lines = [text] if " " in text.strip() else Path(text).read_text().splitlines()
        keys = [PublicKey.parse(line).line() for line in lines if line.strip() and not line.startswith("#")]
    except (OSError, ValueError) as error:
        why = str(error)
    if not keys:  # an empty list of pins would mean that a certificate of ours is enough
        msg = f"{text[:64]!r} is neither a host key nor a file with one: {why}"
        raise typer.BadParameter(msg)
    return keys

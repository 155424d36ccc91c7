"""``ilctl nodes``: the inventory. Our own nodes report themselves; agentless hosts (plain sshd) are added here."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import account, change, in_local, labels, name
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows
from interlock.core.address import format_address, parse_address
from interlock.core.certificate import PublicKey
from interlock.core.errors import InterlockError, NotFound
from interlock.core.ids import DaemonId, parse_session_id
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.lock import Lock, LockKind
from interlock.domain.target import DELIVERS_FOR, SubKind, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Take a host out of the cluster, by name or ID: sessions there end within two seconds.

    What one of our own nodes shows counts for nothing from then on: it has to join again, with a new token.
    """

    async def work(local: "Local") -> bool:
        ids, listed = await _meant(local, hostname)
        for each in ids:  # first: where no lock can be made, nothing is removed that would go on all the same
            await _end(local, each, hostname)
        await local.inventory.remove_targets(ids)
        return listed

    if change(context, Kind.NODE_DELETE, {"name": hostname}, work):
        print(f"Node {hostname} was removed.")
    else:
        print(f"No node {hostname} is listed. If there is one, it has to join again from now on.")


async def _end(local: "Local", node: DaemonId, hostname: str) -> None:
    """What is live there; for as long as it may take to reach whoever has it. The event is the removal's."""
    now = local.clock.now()
    text = f"{hostname} was removed"
    lock = Lock(local.entropy.uuid(), LockKind.NODE, node, now, text, now + DELIVERS_FOR, account())
    await local.locks.add_lock(lock)


async def _meant(local: "Local", hostname: str) -> "tuple[Sequence[DaemonId], bool]":
    """Whom this name means, and whether they are listed; an ID that is not may be that of a node long silent."""
    from interlock.daemons.gateway import NODE_DIRECTORY
    from interlock.daemons.node_identity import IdentityFile

    try:
        ids, listed = await local.inventory.meant(hostname), True
    except NotFound:
        try:
            ids, listed = (DaemonId(parse_session_id(hostname)),), False  # a daemon's ID has the same form
        except ValueError:
            pass
        else:
            return ids, listed
        raise
    own = IdentityFile(local.data_dir / NODE_DIRECTORY).load()
    if own is not None and own.id in ids:
        raise InterlockError(f"{hostname} is the gateway's own node: start the gateway without the role node")
    return ids, listed


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

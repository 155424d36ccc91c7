"""``ilctl auth rotate`` and ``status``: the authorities' keys, changed in phases."""

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import account, in_local
from interlock.cli.options import FormatOption, duration
from interlock.cli.output import Format, print_json
from interlock.core.errors import Denied
from interlock.domain.audit import rfc3339
from interlock.domain.rotation import Phase, RotatedKind

if TYPE_CHECKING:
    from interlock.daemons.local import Local
    from interlock.domain.audit import JsonValue
    from interlock.services.keys.readiness import Member
    from interlock.services.keys.rotation import Rotations, Standing


class Which(StrEnum):
    """Which authorities."""

    USER = "user"
    HOST = "host"
    OPENSSH = "openssh"
    DAEMON = "daemon"
    AUDIT = "audit"
    RECORDINGS = "recordings"
    ALL = "all"


class To(StrEnum):
    """A phase."""

    UPDATE_CLIENTS = "update_clients"
    UPDATE_SERVERS = "update_servers"
    STANDBY = "standby"
    ROLLBACK = "rollback"


_NEXT_STEP = {
    RotatedKind.USER: "Nodes and proxies learn the new key by themselves.",
    RotatedKind.HOST: "Everybody learns the new key when they run ilsh login.",
    RotatedKind.OPENSSH: "Write `ilctl auth export --type openssh` to each plain sshd's TrustedUserCAKeys now.",
    RotatedKind.DAEMON: "Nodes and proxies learn the new key by themselves; one that is away has to join again.",
}


def status(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """Print the phase of each authority, its keys, and who is not ready for the next phase."""

    async def work(local: "Local") -> "list[Standing]":
        return await _rotations(local).status()

    found = in_local(context, work)
    if form is Format.JSON:
        print_json([_json(each) for each in found])
        return
    for each in found:
        since = f" since {rfc3339(each.rotation.since)}" if each.rotation is not None else ""
        print(f"{each.kind.value}: {each.phase.value}{since}")
        for number, key in enumerate(each.keys):
            print(f"  {key}  {'trusted' if number else 'signs'}")
        if each.rotation is not None:
            due = f", due {rfc3339(each.rotation.due)}" if each.rotation.due else ""
            print(f"  next: {each.next.value}{due}; {f'too early: {each.breaks}' if each.breaks else 'ready'}")
            for member in each.members:
                print(f"  {_told(member, each.keys)}")


def rotate(
    context: typer.Context,
    kind: Annotated[Which, typer.Option("--type", help="Which authority.")],
    phase: Annotated[To | None, typer.Option(help="Where to go; default: on.")] = None,
    grace: Annotated[
        timedelta | None,
        typer.Option(
            parser=duration,
            metavar="TIME",
            help="At the beginning: go on by itself, a third of this in each phase and longer if somebody is not "
            "ready. Default: when you say so.",
        ),
    ] = None,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="At the beginning: the old key is in the wrong hands.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Go on though that shuts somebody out.")] = False,
) -> None:
    """Change an authority's key, one phase at each call: begin, update_clients, update_servers, standby.

    Both keys are trusted until the end. With all, those that have arrived wait for the others. The keys audit and
    recordings are not among them: they change at once, and what the old one has signed is verified as before.
    ilctl auth status says when everybody is ready for the next phase.
    """
    if kind in (Which.AUDIT, Which.RECORDINGS):
        if phase or grace or compromised or force:
            msg = f"the {kind.value} key changes at once: there is nothing to wait for, and nothing else to say"
            raise typer.BadParameter(msg)
        _succeed(context, kind)
        return
    kinds = list(RotatedKind) if kind is Which.ALL else [RotatedKind(kind.value)]
    refused: list[Denied] = []

    async def work(local: "Local") -> None:
        rotations = _rotations(local)
        under_way = {found.kind for found in await rotations.status() if found.rotation is not None}
        for each in kinds:
            if under_way.intersection(kinds) and each not in under_way:
                print(f"{each.value}: standby.")  # it has arrived before the others, and does not begin anew
                continue
            try:
                await _go(rotations, each)
            except Denied as error:
                refused.append(error)

    async def _go(rotations: "Rotations", each: RotatedKind) -> None:
        who: dict[str, JsonValue] = {"user": account(), "method": "ilctl"}
        standing = {found.kind: found for found in await rotations.status()}[each]
        if standing.rotation is None and phase is None:
            await rotations.begin(each, grace=grace or timedelta(0), compromised=compromised, who=who)
            print(f"{each.value}: init. Both keys are trusted, the old one signs. {_NEXT_STEP[each]}")
            return
        to = None if phase is None else Phase(phase.value)
        moved = await rotations.go(each, to, force=force, who=who)
        print(f"{each.value}: {moved.phase.value}.")

    in_local(context, work)
    if refused:
        raise Denied("; ".join(each.public for each in refused))


def _succeed(context: typer.Context, kind: Which) -> None:
    async def work(local: "Local") -> tuple[str, str]:
        from interlock.daemons.rotating import successions_of
        from interlock.services.keys.succession import KeptKind

        who: dict[str, JsonValue] = {"user": account(), "method": "ilctl"}
        return await successions_of(local).change(KeptKind(kind.value), who)

    before, now = in_local(context, work)
    print(f"{kind.value}: {now} signs from now on, what {before} has signed is verified as before.")
    print(f"Whoever verifies elsewhere needs `ilctl auth export --type {kind.value}` again: it prints both.")


def _rotations(local: "Local") -> "Rotations":
    from interlock.daemons.rotating import rotations_of

    return rotations_of(local)


def _json(standing: "Standing") -> dict[str, object]:
    rotation = standing.rotation
    return {
        "type": standing.kind.value,
        "phase": standing.phase.value,
        "since": rfc3339(rotation.since) if rotation else None,
        "due": rfc3339(rotation.due) if rotation and rotation.due else None,
        "keys": list(standing.keys),
        "next": standing.next.value,
        "waiting_for": list(standing.waiting_for),
        "breaks": standing.breaks,
    } | ({"daemons": [_member(each) for each in standing.members]} if standing.kind is RotatedKind.DAEMON else {})


def _member(member: "Member") -> dict[str, object]:
    return {"name": member.name, "trusts": list(member.trusts), "shows": member.shows}


def _told(member: "Member", keys: "tuple[str, ...]") -> str:
    trusts = "trusts both" if set(keys) <= set(member.trusts) else "does not trust both"
    by = {keys[-1]: "the other key", keys[0]: "the key that signs"}
    return f"{member.name}: {trusts}, has a certificate by {by.get(member.shows, 'a key that it has not shown')}"

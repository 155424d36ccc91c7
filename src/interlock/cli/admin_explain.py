"""``ilctl access``: why somebody may, or may not, log in somewhere."""

from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local, login, name
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_json, printable
from interlock.domain.audit import rfc3339
from interlock.domain.explain import Finding

if TYPE_CHECKING:
    from interlock.daemons.local import Local
    from interlock.services.access.explaining import Explanation

app = typer.Typer(help="Decisions on who may go where.")


@app.callback()
def group() -> None:
    """Decisions on who may go where."""


@app.command("explain")
def explain_access(
    context: typer.Context,
    user: Annotated[str, typer.Argument(metavar="USER", parser=name)],
    os_login: Annotated[str, typer.Argument(metavar="LOGIN", parser=login)],
    node: Annotated[str, typer.Argument(metavar="NODE", parser=name, help="Its name or ID.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="ADDRESS", help="Where the person would come from.")
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Say whether the user, signed in now, may log in there, and what each role has to do with it.

    Exit code 0 if so, 4 if not.
    """
    found = in_local(context, lambda local: _explain(local, user, os_login, node, source))
    if form is Format.JSON:
        print_json(_plain(found))
    else:
        print("\n".join(printable(line) for line in _lines(found)))
    if found.permit is None:
        raise typer.Exit(4)


async def _explain(local: "Local", user: str, os_login: str, node: str, source: str | None) -> "Explanation":
    from interlock.services.access.explaining import Explainer

    explainer = Explainer(
        local.admission,
        cluster=local.cluster.name,
        users=local.users,
        roles=local.roles,
        targets=local.inventory,
        modes=local.clusters,
        locks=local.locks,
        requests=local.requests,
        clock=local.clock,
    )
    return await explainer.explain(user, os_login, node, source=source)


def _lines(found: "Explanation") -> list[str]:
    where = f"{found.login} on {found.target.hostname}"
    lines = [f"{found.user} may log in as {where}."]
    if found.permit is None:
        lines = [f"{found.user} may not log in as {where}: {found.reason}"]
        lines.append(f"  the person reads: {found.public}")
    for each in found.findings:
        lines.append(f"  role {each.role} {each.effect.value}: {each.why}")
        lines += [f"    {note}" for note in each.notes]
    lines += [f"  role {each} does nothing: it does not exist" for each in found.missing]
    lines += [f"  lock {each.id} on the {each.kind.value} {each.name} is in force" for each in found.locks]
    lines += [
        f"  request {each.id} gives {', '.join(each.roles)} until {rfc3339(each.deadline)}"
        for each in found.requests
    ]
    if found.askable:
        lines.append(f"  the user may ask for {', '.join(found.askable)}, which would allow it")
    if found.access is not None:
        lines.append(f"  recording {found.access.recording}: {'; '.join(found.mode_why)}")
        for option, roles in found.said_by.items():
            if option != "recording":
                lines.append(f"  {option} {_value(getattr(found.access, option))}: from {', '.join(roles)}")
    return lines


def _value(value: object) -> object:
    import msgspec

    plain = msgspec.to_builtins(value)
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    return ",".join(map(str, plain)) if isinstance(plain, list | tuple) else plain


def _plain(found: "Explanation") -> dict[str, object]:
    import msgspec

    return {
        "user": found.user,
        "login": found.login,
        "node": {"id": found.target.id, "hostname": found.target.hostname, "labels": dict(found.target.labels)},
        "allowed": found.permit is not None,
        "message": found.public,
        "reason": found.reason,
        "roles": [_role(each) for each in found.findings],
        "missing_roles": found.missing,
        "requests": [{"id": each.id, "roles": each.roles} for each in found.requests],
        "may_ask_for": found.askable,
        "locks": [{"id": each.id, "kind": each.kind.value, "name": each.name} for each in found.locks],
        "access": None if found.access is None else msgspec.to_builtins(found.access),
        "options_from": found.said_by,
        "recording_because": found.mode_why,
    }


def _role(each: Finding) -> dict[str, object]:
    return {
        "name": each.role,
        "effect": each.effect.value,
        "why": each.why,
        "notes": each.notes,
        "options": dict(each.options),
    }

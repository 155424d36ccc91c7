"""``ilctl roles``: what users may reach, and what is denied to them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from interlock.cli.admin_context import change, in_local, labels, login_patterns, name, report
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_rows
from interlock.cli.role_options import OptionOption, options, said
from interlock.core.errors import InterlockError, NotFound
from interlock.domain.access import Deny, Verb, dump_options
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.rbac import Role
from interlock.domain.traits import check_role

if TYPE_CHECKING:
    from interlock.daemons.local import Local

roles = typer.Typer(help="What users may reach: OS logins on nodes with certain labels.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", parser=name)]
LoginsOption = Annotated[
    str | None,
    typer.Option("--logins", metavar="A,B", help="OS accounts on the nodes; {{trait.NAME}} for a user's own."),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="K=V,…",
        help="Nodes with all these labels; * for every node. A value may have * and alternatives (prod|test).",
    ),
]
DenyLoginsOption = Annotated[
    str | None,
    typer.Option(
        "--deny-logins", metavar="A,B", help="Logins that nobody with this role has, whatever allows them."
    ),
]
DenyLabelsOption = Annotated[
    str | None,
    typer.Option(
        "--deny-labels", metavar="K=V,…", help="Only on these nodes; alone: every login on them is denied."
    ),
]
DenyVerbsOption = Annotated[
    str | None,
    typer.Option("--deny-verbs", metavar="A,B", help=f"Of {', '.join(each.value for each in Verb)}."),
]


@roles.command("add")
def add_role(
    context: typer.Context,
    role: NameArgument,
    role_logins: LoginsOption = None,
    role_labels: LabelsOption = None,
    deny_logins: DenyLoginsOption = None,
    deny_labels: DenyLabelsOption = None,
    deny_verbs: DenyVerbsOption = None,
    option: OptionOption = None,
) -> None:
    """Create a role."""
    made = _changed(Role(role), role_logins, role_labels, deny_logins, deny_labels, deny_verbs, option)
    watches = made.options.allow or made.options.join_sessions
    if (
        bool(made.logins) > bool(made.node_labels)
        or (made.node_labels and not (made.logins or watches))
        or (made == Role(role))
    ):
        msg = "a role without logins or labels allows nothing"
        raise typer.BadParameter(msg)

    async def work(local: "Local") -> None:
        if not await local.roles.add_role(made):
            raise InterlockError(f"there is a role called {role} already")

    change(context, Kind.ROLE_CREATE, _facts(made), work)
    print(f"Role {role} was created.")


@roles.command("ls")
def list_roles(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the roles."""
    rows = [
        {
            "name": role.name,
            "logins": role.logins,
            "node_labels": role.node_labels,
            "deny": _denied(role.options.deny),
            "options": said(role.options),
        }
        for role in in_local(context, lambda local: local.roles.all_roles())
    ]
    columns = {
        "name": "Name",
        "logins": "Logins",
        "node_labels": "Node labels",
        "deny": "Denies",
        "options": "Options",
    }
    print_rows(rows, columns, form)


@roles.command("set")
def set_role(
    context: typer.Context,
    role: NameArgument,
    role_logins: LoginsOption = None,
    role_labels: LabelsOption = None,
    deny_logins: DenyLoginsOption = None,
    deny_labels: DenyLabelsOption = None,
    deny_verbs: DenyVerbsOption = None,
    option: OptionOption = None,
) -> None:
    """Change a role; what is empty is taken back. Logins, labels and denials end what is live at once.

    Options count for new sessions, within five seconds.
    """

    async def work(local: "Local") -> Role:
        found = {each.name: each for each in await local.roles.all_roles()}.get(role)
        if found is None:
            raise NotFound(f"there is no role called {role} that can be read")
        changed = _changed(found, role_logins, role_labels, deny_logins, deny_labels, deny_verbs, option)
        await local.roles.replace_role(changed)
        before = {f"{key}_before": value for key, value in _facts(found).items() if key != "name"}
        after = _facts(changed)
        news = {key: value for key, value in before.items() if value != after[key.removesuffix("_before")]}
        await report(local, Kind.ROLE_UPDATE, after | news)
        return changed

    changed = in_local(context, work)
    words = [f"logins={','.join(changed.logins)}"] if changed.logins else []
    if changed.node_labels:
        words.append(f"labels={_pairs(changed.node_labels)}")
    words += [f"{key}={value}" for key, value in said(changed.options).items()]
    if changed.options.deny is not None:
        words.append(f"denies {_words(changed.options.deny)}")
    print(f"Role {role} now says: {' '.join(words) or 'nothing'}")


@roles.command("rm")
def remove_role(context: typer.Context, role: NameArgument) -> None:
    """Delete a role: live sessions that nothing else allows end within two seconds, new ones are refused."""
    change(context, Kind.ROLE_DELETE, {"name": role}, lambda local: local.roles.remove_role(role))
    print(f"Role {role} was removed.")


def _changed(
    before: Role,
    role_logins: str | None,
    role_labels: str | None,
    deny_logins: str | None,
    deny_labels: str | None,
    deny_verbs: str | None,
    option: list[str] | None,
) -> Role:
    """``before`` with what was said on the command line; BadParameter if that cannot be."""
    changed = replace(before, options=options(before.options, option))
    if role_logins is not None:
        changed = replace(changed, logins=login_patterns(role_logins))
    if role_labels is not None:
        changed = replace(changed, node_labels=labels(role_labels))
    deny = before.options.deny or Deny()
    if deny_logins is not None:
        deny = msgspec.structs.replace(deny, logins=login_patterns(deny_logins) or None)
    if deny_labels is not None:
        deny = msgspec.structs.replace(deny, node_labels=labels(deny_labels) or None)
    if deny_verbs is not None:
        deny = msgspec.structs.replace(deny, verbs=_verbs(deny_verbs) or None)
    said_deny = None if deny == Deny() else deny
    try:
        return check_role(replace(changed, options=msgspec.structs.replace(changed.options, deny=said_deny)))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _verbs(text: str) -> tuple[Verb, ...]:
    try:
        return tuple(Verb(each.strip()) for each in text.split(",") if each.strip())
    except ValueError:
        msg = f"{text!r}: write verbs of {', '.join(each.value for each in Verb)}"
        raise typer.BadParameter(msg) from None


def _facts(role: Role) -> dict[str, JsonValue]:
    return {
        "name": role.name,
        "logins": list(role.logins),
        "node_labels": dict(role.node_labels),
        "options": dump_options(role.options),
    }


def _denied(deny: Deny | None) -> dict[str, str]:
    if deny is None:
        return {}
    labels = _pairs(deny.node_labels or {})
    verbs = ",".join(each.value for each in deny.verbs or ())
    found = {"logins": ",".join(deny.logins or ()), "node_labels": labels, "verbs": verbs}
    return {key: value for key, value in found.items() if value}


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _words(deny: Deny) -> str:
    return " ".join(f"{key}={value}" for key, value in _denied(deny).items())

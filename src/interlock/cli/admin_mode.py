"""``ilctl mode``: where sessions are recorded, for the cluster and by the labels of nodes."""

from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import change, in_local, labels
from interlock.cli.options import FormatOption
from interlock.cli.output import Format, print_json, print_rows
from interlock.domain.audit import Kind
from interlock.domain.duties import RecordingMode
from interlock.domain.modes import ModeRule

if TYPE_CHECKING:
    from interlock.domain.modes import ModePolicy

mode = typer.Typer(
    help="Where sessions are recorded: off, node, proxy, node-sync, proxy-sync. Agentless ones always are at the "
    "proxy. What rules and roles say (roles: --option recording=MODE) counts before the cluster's mode, and of "
    "those the strictest."
)
rule = typer.Typer(help="Modes for nodes with certain labels.")
mode.add_typer(rule, name="rule")


def _mode(text: str) -> RecordingMode:
    try:
        return RecordingMode(text)
    except ValueError:
        known = ", ".join(each.value for each in RecordingMode)
        msg = f"{text!r} is no recording mode: use one of {known}"
        raise typer.BadParameter(msg) from None


def _labels(text: str) -> dict[str, str]:
    found = labels(text)
    if not found:
        msg = "a rule without labels matches no node; * means every node"
        raise typer.BadParameter(msg)
    return found


ModeArgument = Annotated[RecordingMode, typer.Argument(metavar="MODE", parser=_mode)]
LabelsOption = Annotated[
    str, typer.Option("--labels", metavar="K=V,…", help="Nodes with all these labels; * for every node.")
]


@mode.command("show")
def show_mode(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """Print the cluster's recording mode."""
    found = _policy(context).default.value
    if form is Format.JSON:
        print_json({"recording_mode": found})
    else:
        print(found)


@mode.command("set")
def set_mode(context: typer.Context, wanted: ModeArgument) -> None:
    """Change the recording mode of sessions that begin from now on and to which no rule and no role applies."""
    change(
        context,
        Kind.MODE_UPDATE,
        {"session_recording": wanted.value},
        lambda local: local.clusters.set_recording_mode(wanted),
    )
    print(f"The recording mode is {wanted.value} from now on.")


@rule.command("add")
def add_rule(context: typer.Context, wanted: ModeArgument, on: LabelsOption) -> None:
    """Record sessions on these nodes in a mode of their own; the same labels again replace the rule."""
    made = ModeRule(_labels(on), wanted)
    change(
        context,
        Kind.MODE_UPDATE,
        {"session_recording": wanted.value, "node_labels": dict(made.labels)},
        lambda local: local.clusters.put_mode_rule(made),
    )
    print(f"Sessions on nodes with {on} are recorded in mode {wanted.value} from now on.")


@rule.command("ls")
def list_rules(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the rules."""
    rows = [{"labels": each.labels, "mode": each.mode.value} for each in _policy(context).rules]
    print_rows(rows, {"labels": "Node labels", "mode": "Mode"}, form)


@rule.command("rm")
def remove_rule(context: typer.Context, on: LabelsOption) -> None:
    """Forget the rule for exactly these labels."""
    found = _labels(on)
    change(
        context,
        Kind.MODE_UPDATE,
        {"session_recording": "", "node_labels": found},
        lambda local: local.clusters.remove_mode_rule(found),
    )
    print(f"There is no rule for nodes with {on} any more.")


def _policy(context: typer.Context) -> "ModePolicy":
    return in_local(context, lambda local: local.clusters.mode_policy())

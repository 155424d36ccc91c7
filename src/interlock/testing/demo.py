"""``interlock demo``: the whole promise of Interlock shown on this machine, with the real ``ssh`` in a terminal.

It starts a cluster in a temporary directory, opens one shell per cell of {recording mode} x {kind of target} x
{road}, and compares the session IDs of every place that shows one. It lives in the test kit, on top of all
layers, because it uses nothing but the command lines; `cli.demo` only starts it.
"""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from interlock.testing.evidence import Evidence, Witness
from interlock.testing.gateway import BIN, Cluster, Mode, Person
from interlock.testing.openssh import clean_env
from interlock.testing.procs import KitError
from interlock.testing.terminal import Terminal

MODES: tuple[Mode, ...] = ("proxy", "node")
TARGETS = {"node": "our node", "tunnel": "our node behind NAT", "agentless": "plain sshd"}
ROADS = ("login%node@proxy", "-J")
NOWHERE = "\N{EN DASH}"
"""Shown where a place does not exist: a plain sshd knows nothing of our session ID."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One session to show."""

    mode: Mode
    target: str  # a key of `TARGETS`
    road: str

    def __str__(self) -> str:
        """For people."""
        return f"{self.mode} mode, {TARGETS[self.target]}, {self.road}"


@dataclass(slots=True)
class Shown:
    """What became of a cell."""

    cell: Cell
    problems: list[str] = field(default_factory=list)
    evidence: Evidence | None = None

    def to_json(self) -> dict[str, str | int | bool | None]:
        """The cell of the last line."""
        seen = self.evidence
        return {
            "mode": self.cell.mode,
            "target": self.cell.target,
            "route": self.cell.road,
            "sid": seen.sid if seen else None,
            "ids_equal": bool(seen and seen.ids_equal),
            "start": seen.count("session.start") if seen else 0,
            "end": seen.count("session.end") if seen else 0,
            "recordings": len(seen.recordings) if seen else 0,
            "forwarded_by": bool(seen and seen.forwarded_by),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Show, and exit with 0 only if every cell is as it must be."""
    parser = argparse.ArgumentParser(
        prog="interlock demo", description="Show one session, one ID, on this machine."
    )
    parser.add_argument("--keep", action="store_true", help="leave the cluster running until Ctrl-C")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything started is stopped
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    try:
        with tempfile.TemporaryDirectory(prefix="interlock-demo-") as name:
            sys.exit(keep(console, Path(name)) if options.keep else show(console, Path(name)))
    except KeyboardInterrupt:
        console.print("\nstopped")
        sys.exit(0 if options.keep else 130)
    except KitError as error:
        sys.stderr.write(f"{error}\n")
        print(json.dumps({"ok": False, "sessions": 0, "cells": []}))
        sys.exit(1)


def show(console: Console, directory: Path) -> int:
    """The demo; returns the exit code."""
    console.print(
        "[bold]starting[/] the gateway, a node that joins it, one that dials out to it, and a plain sshd"
    )
    with Cluster(directory, mode=MODES[0], workers=None) as cluster:
        person = cluster.person
        console.print(f"  {person.name} signed in; the gateway listens on {cluster.host}:{cluster.port}")
        shown: list[Shown] = []
        witness = Witness(cluster)
        for mode in MODES:
            console.print(f"[bold]recording at the {mode}[/]")
            cluster.set_mode(mode)
            cells = [Cell(mode, target, road) for target in TARGETS for road in ROADS]
            shown += [_show_cell(console, cluster, person, witness, cell) for cell in cells]
        console.print("[bold]collecting[/] events and recordings")
        _judge(witness, [one for one in shown if not one.problems])
        _play(console, cluster, person, shown)
    console.print(_table(shown))
    for one in shown:
        for problem in one.problems:
            console.print(f"[red]{one.cell}: {escape(problem)}[/]")
    ok = not any(one.problems for one in shown)
    console.print("[green bold]one session, one ID, everywhere[/]" if ok else "[red bold]something is off[/]")
    sessions = sum(1 for one in shown if one.evidence)
    print(json.dumps({"ok": ok, "sessions": sessions, "cells": [one.to_json() for one in shown]}), flush=True)
    return 0 if ok else 1


def keep(console: Console, directory: Path) -> int:
    """Run the same cluster until Ctrl-C."""
    with Cluster(directory, mode="proxy", workers=None) as cluster:
        person = cluster.person
        client = cluster.client("you", person)
        ssh = f"ssh -F {client.config}"
        ilctl = f"{BIN}/ilctl --data-dir {cluster.data}"
        console.print(
            f"""
[bold]The cluster is running.[/] In another terminal:

  {ssh} {cluster.route(cluster.node_name)[0]}          our node
  {ssh} {cluster.route(cluster.tunnel_name)[0]}           our node behind NAT, by its tunnel
  {ssh} {cluster.route(cluster.agentless_name)[0]}         a plain sshd
  {ssh} {" ".join(cluster.jump(cluster.node_name))}       the same by a jump
  {ilctl} sessions ls            who is on now
  {ilctl} events ls              what happened
  {ilctl} recordings ls          what was recorded
  ILSH_HOME={person.home} {BIN}/ilsh play SID     watch it again

User {person.name}, certificate in {person.profile}. Ctrl-C stops everything.""",
            soft_wrap=True,
        )
        return cluster.gateway.wait_forever()


def _show_cell(console: Console, cluster: Cluster, person: Person, witness: Witness, cell: Cell) -> Shown:
    names = {"node": cluster.node_name, "tunnel": cluster.tunnel_name, "agentless": cluster.agentless_name}
    target = names[cell.target]
    to = cluster.jump(target) if cell.road == "-J" else cluster.route(target)
    console.print(f"  [cyan]ssh {' '.join(to)}[/] ", end="")
    try:
        sid = _one_shell(cluster, person, witness, target, to)
    except KitError as error:
        console.print("[red]failed[/]")
        return Shown(cell, [str(error)])
    console.print(f"session {sid}")
    return Shown(cell)


def _one_shell(cluster: Cluster, person: Person, witness: Witness, target: str, to: tuple[str, ...]) -> str:
    """A shell in which the person asks for the session ID, where there is somebody who knows it."""
    with Terminal(cluster.client("demo", person).argv(*to), env=clean_env()) as terminal:
        terminal.send("unset HISTFILE; PS1='$ '\r")  # leaves no line in the history of whoever tries the demo
        seen = None
        if cluster.is_ours(target):
            terminal.send(f"{BIN}/interlock status\r")
            seen = terminal.expect(r"Session ID *: *([0-9a-f-]{36})").group(1).decode()
        terminal.send("echo welcome to $(hostname), it is $((6*7))\r")
        terminal.expect("it is 42")
        live = witness.wait_live()
        terminal.send("exit\r")
        terminal.wait()
    witness.saw(target, seen=seen, live=live)
    return live[0]


def _judge(witness: Witness, shown: Sequence[Shown]) -> None:
    """Fill in what the places that outlive a session say of each, and what is wrong with it."""
    try:
        gathered = witness.gather()
    except (KitError, LookupError) as error:
        for one in shown:
            one.problems.append(str(error))
        return
    for one, evidence in zip(shown, gathered, strict=True):
        one.evidence = evidence
        one.problems += evidence.problems()


def _play(console: Console, cluster: Cluster, person: Person, shown: Sequence[Shown]) -> None:
    """Play the first recording."""
    recorded = [one.evidence.sid for one in shown if one.evidence]
    if not recorded:
        return
    sid = recorded[0]
    console.rule(f"ilsh play {sid}")
    played = cluster.ilsh(person.home, "play", sid, "--format", "pty", "--speed", "8", "--skip-idle-time").check()
    sys.stdout.write(played.stdout.replace("\r\n", "\n") + "\n")
    sys.stdout.flush()
    console.rule()


def _table(shown: Sequence[Shown]) -> Table:
    """Where each ID was seen."""
    table = Table(title="where the session ID was seen")
    for heading in ("session", "in the shell", "sessions ls, live", "events", "recording", "proxy named", ""):
        table.add_column(heading)
    for one in shown:
        seen = one.evidence
        if seen is None:
            table.add_row(str(one.cell), *[NOWHERE] * 5, "[red]✗[/]")
            continue
        table.add_row(
            str(one.cell),
            _short(seen.seen),
            _short(*seen.live),
            f"{_short(*seen.event_sids)} in {len(seen.events)}",
            _short(seen.recorded_sid),
            "yes" if seen.forwarded_by else "no",
            "[red]✗[/]" if one.problems else "[green]✓[/]",
        )
    return table


def _short(*sids: str | None) -> str:
    return ", ".join(f"{sid[:8]}…" for sid in sids if sid) or NOWHERE


if __name__ == "__main__":
    main()

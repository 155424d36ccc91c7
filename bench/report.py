"""Results to tables for people and to JSON for comparison between versions."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.figures import DEMANDS, FIGURES, RATIOS, Figure
from bench.results import Results, cell
from bench.ways import SUBJECT
from interlock.testing.procs import run

ORDER: Mapping[str, Figure] = {figure.name: figure for figure in FIGURES}


def write(path: Path, results: Results, settings: Mapping[str, Any], others: Sequence[str]) -> None:
    """Write the JSON result. ``others``: gateways and relays beside the subject."""
    verdicts = results.verdicts(RATIOS, DEMANDS, SUBJECT)
    written = {
        "machine": machine(),
        "versions": versions(),
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(settings),
        "ratios": results.ratios(RATIOS, SUBJECT),
        "targets": {
            each.name: {"value": each.value, "target": str(each.bound), "met": each.met} for each in verdicts
        },
        "figures": results.summary(),
        "others": {name: results.ratios(RATIOS, name) for name in others},
    }
    path.write_text(json.dumps(written, indent=2) + "\n")


def show(results: Results, others: Sequence[str]) -> None:
    """Print the tables."""
    console = Console(width=max(100, Console().width))
    console.print(_figures(results))
    console.print(_ratios(results, others))
    for name in others:
        if pairs := results.against(SUBJECT, name):
            table = Table(title=f"{SUBJECT} / {name}, medians")
            for heading in ("figure", "ratio"):
                table.add_column(heading)
            for figure, value in pairs.items():
                table.add_row(figure, f"{value:.3f}")
            console.print(table)


def _figures(results: Results) -> Table:
    table = Table(title="median \\[min-max]")
    for heading in ("figure", "way", "value", "unit", "n"):
        table.add_column(heading, justify="right" if heading in {"value", "n"} else "left")
    summary = results.summary()
    for name in sorted(summary, key=list(ORDER).index):
        for number, way in enumerate(sorted(summary[name], key=_in_order)):
            stats = summary[name][way]
            title, unit = ORDER[name].title, ORDER[name].unit
            table.add_row("" if number else title, way, cell(stats), unit, str(stats["n"]))
        table.add_section()
    return table


def _in_order(way: str) -> tuple[str, int]:
    name, _, at = way.partition("@")
    return name, int(at or 0)


def _ratios(results: Results, others: Sequence[str]) -> Table:
    table = Table(title="ratios of medians, and what is demanded")
    for heading in ("", SUBJECT, "target", "met", *others):
        table.add_column(heading, justify="left" if not heading else "right")
    verdicts = {each.name: each for each in results.verdicts(RATIOS, DEMANDS, SUBJECT)}
    ratios = results.ratios(RATIOS, SUBJECT)
    beside = {name: results.ratios(RATIOS, name) for name in others}
    for name in [*ratios, *(each for each in verdicts if each not in ratios)]:
        verdict = verdicts.get(name)
        value = verdict.value if verdict else ratios[name]
        judged = [str(verdict.bound), "yes" if verdict.met else "no"] if verdict else ["", ""]
        cells = [f"{beside[other][name]:.2f}" if name in beside[other] else "-" for other in others]
        table.add_row(name, f"{value:.2f}", *judged, *cells)
    return table


def machine() -> dict[str, str | int | float]:
    """What was measured on."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": model[0] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "load_at_end": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "os": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Versions of what was measured."""
    packages = ("interlock", "asyncssh", "cryptography", "zstandard")
    found = {name: importlib.metadata.version(name) for name in packages}
    return {
        "python": platform.python_version(),
        "openssh": run(["ssh", "-V"]).stderr.strip(),
        **found,
    }


def commit() -> str:
    """The commit of this checkout; with a plus when files differ from it. Empty outside of a checkout."""
    here = Path(__file__).parent
    head = run(["git", "-C", here, "rev-parse", "HEAD"])
    changed = run(["git", "-C", here, "status", "--porcelain", "--", "../src"])
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")

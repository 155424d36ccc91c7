"""Figures to a table for people and to JSON for comparison between versions."""

import importlib.metadata
import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from interlock.testing.procs import run

UNITS = {
    "setup_ms": "set-up, ms",
    "bulk_down_mb_s": "download, MB/s",
    "bulk_up_mb_s": "upload, MB/s",
    "echo_p50_us": "key echo p50, µs",
    "echo_p99_us": "key echo p99, µs",
    "cpu_down_s_gb": "gateway CPU down, s/GB",
    "cpu_up_s_gb": "gateway CPU up, s/GB",
}

RATIOS = {
    "setup_vs_direct": ("setup_ms", "direct"),
    "setup_vs_jump": ("setup_ms", "jump"),
    "bulk_down_vs_direct": ("bulk_down_mb_s", "direct"),
    "bulk_down_vs_jump": ("bulk_down_mb_s", "jump"),
    "bulk_up_vs_direct": ("bulk_up_mb_s", "direct"),
    "bulk_up_vs_jump": ("bulk_up_mb_s", "jump"),
    "echo_p50_vs_jump": ("echo_p50_us", "jump"),
    "echo_p99_vs_jump": ("echo_p99_us", "jump"),
}
"""Interlock's median over that of the other way: above 1 is better for MB/s, below 1 for times."""


@dataclass(slots=True)
class Figures:
    """All single results: figure → way → values in the order they were taken."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, figure: str, way: str, value: float) -> None:
        """Keep one result."""
        self.values.setdefault(figure, {}).setdefault(way, []).append(value)

    def median(self, figure: str, way: str) -> float:
        """The median of one figure of one way."""
        return statistics.median(self.values[figure][way])

    def summary(self) -> dict[str, dict[str, dict[str, float | int]]]:
        """Figure → way → median, min, max, n."""
        return {
            figure: {way: _describe(values) for way, values in by_way.items()}
            for figure, by_way in self.values.items()
        }

    def ratios(self) -> dict[str, float]:
        """The named ratios of medians."""
        return {
            name: round(self.median(figure, "interlock") / self.median(figure, base), 3)
            for name, (figure, base) in RATIOS.items()
        }


def _describe(values: Sequence[float]) -> dict[str, float | int]:
    return {
        "median": round(statistics.median(values), 3),
        "min": round(min(values), 3),
        "max": round(max(values), 3),
        "n": len(values),
    }


def write(path: Path, figures: Figures, settings: Mapping[str, Any]) -> None:
    """Write the JSON result."""
    result = {
        "machine": machine(),
        "versions": versions(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "settings": dict(settings),
        "figures": figures.summary(),
        "ratios": figures.ratios(),
    }
    path.write_text(json.dumps(result, indent=2) + "\n")


def show(figures: Figures) -> None:
    """Print the tables."""
    console = Console(width=100)
    table = Table(title="median \\[min - max]")
    table.add_column("")
    for way in ("direct", "jump", "interlock"):
        table.add_column(way, justify="right")
    for figure, by_way in figures.summary().items():
        cells = [_cell(by_way.get(way)) for way in ("direct", "jump", "interlock")]
        table.add_row(UNITS[figure], *cells)
    console.print(table)
    ratios = Table(title="Interlock divided by the other way")
    for heading in ("ratio", "value", "better is"):
        ratios.add_column(heading, justify="right" if heading == "value" else "left")
    for name, value in figures.ratios().items():
        ratios.add_row(name, f"{value:.2f}", "higher" if name.startswith("bulk") else "lower")
    console.print(ratios)


def _cell(stats: Mapping[str, float | int] | None) -> str:
    if stats is None:
        return "-"
    digits = 2 if stats["max"] < 20 else 0
    return f"{stats['median']:.{digits}f} [{stats['min']:.{digits}f} - {stats['max']:.{digits}f}]"


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
        "load_at_start": round(os.getloadavg()[0], 2),
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

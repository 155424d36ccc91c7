"""The results as a picture for the README: ``python -m bench.plot RESULTS.json PICTURE.svg``.

One panel per figure with a bar per way: the median, and a line from the least to the greatest value. Text has a
grey that is readable on white and on black; where the viewer says which of them it is, it has more contrast.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from bench.figures import FIGURES
from bench.results import Summary

PANELS: Sequence[tuple[str, str]] = (
    ("setup_ms", "ssh host true"),
    ("bulk_down_mb_s", "download"),
    ("bulk_up_mb_s", "upload"),
    ("echo_p50_us", "key echo, median"),
    ("sftp_get_mb_s", "sftp get"),
    ("sessions_per_s", "sessions, 20 openers"),
)
"""Figure and title."""

WAYS: Mapping[str, tuple[str, str]] = {
    "direct": ("direct", "#8c959f"),
    "jump": ("ssh -J", "#d4a72c"),
    "interlock": ("Interlock", "#2f81f7"),
}
"""Legend and colour of the ways that are always there."""

MORE = ("#a371f7", "#3fb950", "#f778ba")
"""Colours of other relays."""

ACROSS, PANEL, GAP, TOP = 3, 250, 20, 44
BAR, STEP, HEAD, LABEL = 16, 24, 40, 64
"""Pixels: bars, from one to the next, a panel's title above them, and what a bar's value needs beside it."""

STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #767676 }
.title { font-weight: 600; font-size: 13px }
.line { stroke: #767676; stroke-width: 1.5; opacity: .8 }
@media (prefers-color-scheme: light) { text { fill: #24292f } .line { stroke: #24292f } .faint { fill: #57606a } }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .line { stroke: #e6edf3 } .faint { fill: #9da7b3 } }
"""


@dataclass(frozen=True, slots=True)
class _Bar:
    """One way in one panel."""

    label: str
    colour: str
    stats: Mapping[str, float | int]


def draw(summary: Summary, caption: str, others: Sequence[str] = ()) -> str:
    """An SVG document of the panels whose figures were measured. ``others``: more ways, by their names."""
    ways = {**WAYS, **{name: (name, MORE[number % len(MORE)]) for number, name in enumerate(others)}}
    panels = [
        (name, title, [_Bar(*ways[way], summary[name][way]) for way in ways if way in summary[name]])
        for name, title in PANELS
        if name in summary
    ]
    height = HEAD + STEP * len(ways) + GAP
    rows = -(-len(panels) // ACROSS)
    size = (ACROSS * (PANEL + GAP) + GAP, TOP + rows * height + 30)
    body = [_legend(list(ways.values()))]
    for number, (name, title, bars) in enumerate(panels):
        left = GAP + number % ACROSS * (PANEL + GAP)
        body.append(_panel(name, title, bars, left, TOP + number // ACROSS * height))
    body.append(_text(GAP, size[1] - 12, caption, "faint"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" '
        f'height="{size[1]}" role="img" aria-label="{escape(caption)}">\n<style>{STYLE}</style>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _legend(ways: Sequence[tuple[str, str]]) -> str:
    parts = []
    left = GAP
    for label, colour in ways:
        parts += [_rect(left, 12, 12, 12, colour), _text(left + 18, 22, label)]
        left += 18 + 8 * len(label) + 24
    return "\n".join(parts)


def _panel(name: str, title: str, bars: Sequence[_Bar], left: int, top: int) -> str:
    figure = next(each for each in FIGURES if each.name == name)
    better = "higher is better" if figure.higher_is_better else "lower is better"
    room = PANEL - LABEL
    scale = room / max(float(bar.stats["median"]) for bar in bars)
    parts = [_text(left, top + 14, title, "title"), _text(left, top + 30, f"{figure.unit}, {better}", "faint")]
    for number, bar in enumerate(bars):
        y = top + HEAD + number * STEP
        median = float(bar.stats["median"]) * scale
        # The extremes may lie beyond the longest median; they are cut off at the panel's edge.
        low, high = (min(float(bar.stats[end]) * scale, PANEL - LABEL / 2) for end in ("min", "max"))
        parts += [
            _rect(left, y, median, BAR, bar.colour),
            _line(left + low, left + high, y + BAR / 2),
            _text(left + max(median, high) + 6, y + 12, _number(float(bar.stats["median"]))),
        ]
    return "\n".join(parts)


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}"


def _rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="2" fill="{colour}"/>'


def _line(start: float, end: float, y: float) -> str:
    return f'<line class="line" x1="{start:.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}>{escape(text)}</text>'


def caption(result: Mapping[str, Any]) -> str:
    """What was measured, where and when, in one line."""
    machine, versions = result["machine"], result["versions"]
    openssh = str(versions["openssh"]).partition(",")[0].partition(" ")[0]
    return (
        f"Medians of interleaved rounds; lines: least to greatest. All on {machine['cores']} cores, loopback, "
        f"{openssh}, {str(result['date'])[:10]}."
    )


def write_picture(source: Path, path: Path) -> None:
    """Draw what ``source``, the JSON of a run, says."""
    result = json.loads(source.read_text())
    path.write_text(draw(result["figures"], caption(result), list(result.get("others", {}))))


if __name__ == "__main__":
    write_picture(Path(sys.argv[1]), Path(sys.argv[2]))

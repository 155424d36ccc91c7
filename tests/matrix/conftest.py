"""The compatibility matrix as a table, printed after the tests that filled it."""

import json

from pytest import TerminalReporter, TestReport

COLUMNS = {
    "proxy": "proxy",
    "node": "node",
    "mode": "mode",
    "kind": "what",
    "told": "client",
    "printed": "shell env",
    "events": "events",
    "live": "tracker",
    "recordings": "recordings",
    "counts": "start/end/upload",
    "folded": "folded",
    "verdict": "verdict",
}

PROXIES = ("new", "old", *(f"{proxy}, auth {auth}" for auth in ("new", "old") for proxy in ("new", "old")))
ORDER = (*PROXIES, "v1", "none", "proxy", "node", "shell", "exec", "sftp")


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """One row per cell, from the reports, so that it also works with xdist."""
    reports = [report for each in ("passed", "failed") for report in terminalreporter.stats.get(each, [])]
    rows = [
        json.loads(str(value))
        for report in reports
        if isinstance(report, TestReport)
        for name, value in report.user_properties
        if name.startswith("cell")
    ]
    if not rows:
        return
    rows.sort(key=lambda row: [ORDER.index(row[name]) for name in ("proxy", "node", "mode", "kind")])
    widths = {name: max(len(title), *(len(row[name]) for row in rows)) for name, title in COLUMNS.items()}
    terminalreporter.section("compatibility matrix (IDs by letter: A is what most places show)")
    for row in [COLUMNS, *rows]:
        line = "  ".join(row[name].ljust(widths[name]) for name in COLUMNS)
        terminalreporter.write_line(line.rstrip())

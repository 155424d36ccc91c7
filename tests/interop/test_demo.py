"""``interlock demo``, as a newcomer runs it."""

import json
import os
import signal
from pathlib import Path

import pytest

from interlock.testing.gateway import BIN
from interlock.testing.openssh import clean_env
from interlock.testing.procs import run
from interlock.testing.terminal import Terminal

pytestmark = [pytest.mark.interop, pytest.mark.slow, pytest.mark.timeout(450)]


def started_below(directory: Path) -> list[str]:
    """The command lines of running processes that name the directory."""
    lines: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if str(directory) in line:
            lines.append(line)
    return lines


def test_demo_shows_one_id_in_every_cell_and_leaves_nothing(tmp_path: Path) -> None:
    """Twelve sessions, twelve IDs, everything equal; every process ended and every file gone."""
    done = run([BIN / "interlock", "demo"], env={**clean_env(), "TMPDIR": str(tmp_path)}, timeout=400).check()
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["ok"] is True
    assert result["sessions"] == len({cell["sid"] for cell in result["cells"]}) == 12
    for cell in result["cells"]:
        assert cell["ids_equal"]
        assert (cell["start"], cell["end"], cell["recordings"]) == (1, 1, 1)
        assert cell["forwarded_by"] == (cell["mode"] == "proxy")
    assert {(c["mode"], c["target"], c["route"]) for c in result["cells"]} == {
        (mode, target, route)
        for mode in ("proxy", "node")
        for target in ("node", "tunnel", "agentless")
        for route in ("login%node@proxy", "-J")
    }
    assert list(tmp_path.iterdir()) == []
    assert started_below(tmp_path) == []


def test_kept_cluster_says_how_to_log_in_and_stops_at_ctrl_c(tmp_path: Path) -> None:
    """`make run`: the printed command works while it runs, and nothing is left after Ctrl-C."""
    env = {**clean_env(), "TMPDIR": str(tmp_path)}
    with Terminal([BIN / "interlock", "demo", "--keep"], env=env, cols=200) as terminal:
        found = terminal.expect(r"(ssh -F \S+ \S+%node1@gateway)", timeout=120)
        terminal.expect("Ctrl-C stops everything")
        said = run([*found.group(1).decode().split(), "echo it-works"], env=env).check()
        assert said.stdout == "it-works\n"
        os.kill(terminal.pid, signal.SIGINT)
        assert terminal.wait(60) == 0
    assert list(tmp_path.iterdir()) == []
    assert started_below(tmp_path) == []

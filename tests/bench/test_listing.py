"""The bench of listings fills a database as its stores would, and asks what it says."""

import json
import sys
import tempfile
from pathlib import Path

import pytest

from interlock.testing.postgres import PostgresServer
from interlock.testing.procs import run

EVENTS = 2_100


@pytest.mark.slow
def test_it_loads_and_asks(postgres: PostgresServer, tmp_path: Path) -> None:
    """A small log: every listing is found, and nothing is missing of what was loaded."""
    assert postgres.pid  # it is installed
    listing, out = [sys.executable, "-m", "bench.listing"], tmp_path / "out.json"
    with tempfile.TemporaryDirectory(prefix="interlock-pg-") as short:  # its socket's path is not long
        directory = Path(short)
        run([*listing, "load", directory, "--events", str(EVENTS)]).check()
        run([*listing, "ask", directory, "--rounds", "2", "--out", out]).check()
    results = json.loads(out.read_text())
    assert results["events"] == EVENTS
    assert len(results["listings"]) == 17
    assert all(each["p99_ms"] > 0 for each in results["listings"].values())

"""What a process holds, and which trackers are live."""

import os
import sqlite3
from pathlib import Path

from interlock.testing.residue import descriptors, live_trackers

NOBODY = 2**22 + 1
"""More than the kernel's highest process ID."""


def test_descriptors_are_counted_by_kind(tmp_path: Path) -> None:
    """A pipe has two, a file goes by its path, the database of a gateway is left out."""
    before = descriptors(os.getpid())
    ends = os.pipe()
    with (tmp_path / "held").open("w"), (tmp_path / "interlock.db-wal").open("w"):
        more = descriptors(os.getpid()) - before
    for end in ends:
        os.close(end)
    assert more == {"pipe": 2, str(tmp_path / "held"): 1}
    assert not descriptors(os.getpid()) - before
    assert not descriptors(NOBODY)


def test_live_trackers_are_those_neither_ended_nor_swept(tmp_path: Path) -> None:
    """Pending and running ones count."""
    with sqlite3.connect(tmp_path / "interlock.db") as db:
        db.execute("create table trackers (sid, state, swept)")
        rows = [("pending", 0, 0), ("running", 1, 0), ("over", 2, 0), ("given up", 1, 1)]
        db.executemany("insert into trackers values (?, ?, ?)", rows)
    db.close()
    assert live_trackers(tmp_path) == ["pending", "running"]

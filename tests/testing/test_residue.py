"""What a process holds, which trackers are live, and which places are taken."""

import os
import sqlite3
from pathlib import Path

from interlock.testing.residue import descriptors, leases, live_trackers

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


def test_every_lease_is_a_place_that_is_taken(tmp_path: Path) -> None:
    """Also one that nobody keeps alive any more: whoever held it did not give it back."""
    with sqlite3.connect(tmp_path / "interlock.db") as db:
        db.execute("create table leases (id, semaphore, daemon_id, expires)")
        db.execute(
            "insert into leases values ('l1', 'connections/demo/alice', 'd1', '2026-01-01T00:00:00.000000Z')"
        )
    db.close()
    assert leases(tmp_path) == ["connections/demo/alice"]

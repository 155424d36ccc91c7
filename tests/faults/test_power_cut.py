"""The end comes at one of a gateway's system calls, of all that a session makes, in whatever thread.

When the power goes, it starts again from what it had synced only; when it is killed, from what the kernel had.
"""

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from interlock.testing.aftermath import COUNTING, Aftermath, Counting, Saw
from interlock.testing.gateway import Cluster
from interlock.testing.injection import ALL, traced
from interlock.testing.powercut import CALLS, OPTIONS, SYNCS, Disk, Step, steps
from interlock.testing.strikes import Strikes

NUMBERS = 8
"""Said in the session."""

SLACK_S = 1.0
"""Seconds that flush and sync may take together under strace, on a busy machine."""


Leave = Callable[[Disk, Path], None]


@pytest.mark.parametrize(
    "leave", [Disk.leave, Disk.leave_all] if ALL else [Disk.leave], ids=["power", "kill"][: 1 + ALL]
)
def test_an_end_at_a_call(cluster: Cluster, tmp_path: Path, leave: Leave, strikes: Strikes) -> None:
    """At many moments of one session: it is there once, and everything that was on the screen for a moment."""
    aftermath = Aftermath(cluster)
    with traced(cluster.gateway.pid, calls=CALLS, options=OPTIONS) as tracer:
        disk = Disk(cluster.data)
        with cluster.terminal(cluster.person, "-tt", *cluster.route(Cluster.agentless_name), COUNTING) as terminal:
            person = Counting(terminal, clock=time.time)
            for n in range(1, NUMBERS + 1):
                assert person.say(), terminal.output
                cluster.wait_kept(aftermath.begun(1), f"said-{n}-")
            terminal.send("\x04")
            terminal.wait()
        aftermath.check(person)
        [sid] = aftermath.begun(1)
        done = list(steps(tracer.text().splitlines(), cluster.data, Path.cwd()))
    cluster.gateway.stop()
    whole = tmp_path / "whole"
    shutil.move(cluster.data, whole)
    assert any(step.name in SYNCS and step.path.suffix == ".part" for step in done)
    try:
        for number, step in enumerate(done):
            if _cut_here(number, step, done, killed=leave is Disk.leave_all):
                with strikes.at(f"before {step.name} of {step.path}, step {number}"):
                    there = _after_the_end(cluster, aftermath, partial(leave, disk), sid, person.seen, step.at)
                    strikes.happened(really=there)
            disk.play(step)
    finally:
        shutil.rmtree(cluster.data, ignore_errors=True)
        shutil.move(whole, cluster.data)
        cluster.gateway = cluster.start_gateway()


def _cut_here(number: int, step: Step, done: list[Step], *, killed: bool) -> bool:
    """Before everything that makes something certain, or changes anything; of the many, a few."""
    if killed:
        return step.name not in SYNCS
    if step.name not in {*SYNCS, "unlink", "link"}:
        return False
    return ALL or number in {len(done) // 3, *_nearest(done)}


def _nearest(done: list[Step]) -> set[int]:
    """The last syncs of the part, of the stored recording's directory, and of the database."""
    found = {}
    for number, step in enumerate(done):
        if step.name in SYNCS:
            found[step.path.suffix] = number
        elif step.name == "unlink":
            found["unlink"] = number
    return set(found.values())


def _after_the_end(
    cluster: Cluster, aftermath: Aftermath, leave: Callable[[Path], None], sid: str, seen: list[float], at: float
) -> bool:
    """Start again and look; False if nothing was there yet to be looked for."""
    shutil.rmtree(cluster.data, ignore_errors=True)
    cluster.data.mkdir(mode=0o700)
    leave(cluster.data)
    certain = sum(each <= at - SLACK_S for each in seen)
    if not certain and not any(path.stat().st_size for path in (cluster.data / "recordings").rglob(f"{sid}.*")):
        return False  # it had shown nothing that was synced: OPERATIONS.md says what then is
    cluster.gateway = cluster.start_gateway()
    try:
        aftermath.check_heard([Saw(certain, certain)] if certain else [])
    finally:
        cluster.gateway.stop()
    return True

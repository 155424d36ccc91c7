"""A fault at the n-th write, fsync, link, unlink or read of a gateway that serves a session, for n = 1, 2, …

Killed there, or told by the kernel that it failed: afterwards the session is there once, as far as its person saw.
"""

import contextlib
from collections.abc import Iterator, Sequence

import pytest

from interlock.testing.aftermath import COUNTING, Aftermath, Counting
from interlock.testing.gateway import Cluster
from interlock.testing.injection import ALL, Fault, traced, wait_struck
from interlock.testing.procs import KitError
from interlock.testing.strikes import Strikes

CHANGES = {"pwrite64": 5, "write": 2, "fdatasync": 2, "fsync": 1, "link": 1, "unlink": 1}
SAMPLE = CHANGES | {"pread64": 1}  # by which SQLite reads
"""The calls that a session makes, and at which of each kind `make test` strikes: every session gets to it."""

MOST = 200
"""More calls of a kind than a session makes."""

ERRORS = ("EIO", "ENOSPC", "EROFS") if ALL else ("EIO",)


def steps(call: str) -> Sequence[int]:
    """At which calls of a kind a fault strikes."""
    return range(1, MOST) if ALL else (SAMPLE[call],)


@contextlib.contextmanager
def somebody(cluster: Cluster, target: str) -> Iterator[Counting]:
    """A person at a terminal, who may be thrown out at any moment."""
    with cluster.terminal(cluster.person, "-tt", *cluster.route(target), COUNTING) as terminal:
        yield Counting(terminal)


def work(cluster: Cluster) -> Counting:
    """A session from its beginning to its end, or as far as it gets."""
    with somebody(cluster, Cluster.agentless_name) as person:
        if person.say(3):
            with contextlib.suppress(KitError, OSError):
                person.terminal.send("\x04")
        person.terminal.wait()
    return person


@pytest.mark.parametrize("call", CHANGES)
def test_killed_at_a_step(cluster: Cluster, call: str, strikes: Strikes) -> None:
    """kill -9 in the place of the call; what was before it is on disk, what comes after it is not."""
    for nth in steps(call):
        with strikes.at(f"{call} number {nth}"):
            aftermath = Aftermath(cluster)
            with traced(cluster.gateway.pid, Fault(call, nth, "signal=KILL")) as tracer:
                person = work(cluster)
                struck = aftermath.wait_either(tracer.struck)
            if struck:
                cluster.gateway.wait()
                cluster.gateway = cluster.start_gateway()
            strikes.happened(really=struck)
            aftermath.check(person)
        assert struck or nth > SAMPLE[call], f"a session makes no {call} number {nth}"
        if not struck:
            break


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("call", SAMPLE)
def test_a_call_that_fails(cluster: Cluster, call: str, error: str, strikes: Strikes) -> None:
    """The gateway goes on. The session may be refused or end, in words; it is never half there."""
    for nth in steps(call):
        with strikes.at(f"{call} number {nth}"):
            aftermath = Aftermath(cluster)
            with traced(cluster.gateway.pid, Fault(call, nth, f"error={error}")) as tracer:
                person = work(cluster)
                struck = aftermath.wait_either(tracer.struck)
            assert cluster.gateway.running
            strikes.happened(really=struck)
            aftermath.check(person)
        assert struck or nth > SAMPLE[call], f"a session makes no {call} number {nth}"
        if not struck:
            break


@pytest.mark.parametrize("error", ERRORS)
def test_a_disk_that_fails_for_a_while(cluster: Cluster, error: str, strikes: Strikes) -> None:
    """Everything fails from some call on until it is mended: nobody new gets in, and then all is as before."""
    aftermath = Aftermath(cluster)
    with somebody(cluster, Cluster.agentless_name) as before:
        assert before.say(3), before.terminal.output
        faults = [Fault(call, 1, f"error={error}", "+") for call in ("pwrite64", "fdatasync", "fsync", "link")]
        with traced(cluster.gateway.pid, *faults) as tracer:
            during = work(cluster)
            wait_struck(tracer, "failing call")
            strikes.happened()
        after = work(cluster)
        before.say(2)
        with contextlib.suppress(KitError, OSError):
            before.terminal.send("\x04")
        before.terminal.wait()
    assert cluster.gateway.running
    assert len(after.seen) == 3
    aftermath.check(before, during, after)


SLOW = {
    "pwrite64": 20_000,
    "write": 20_000,
    "fdatasync": 300_000,
    "fsync": 300_000,
    "link": 50_000,
    "unlink": 50_000,
}
"""Microseconds that each call takes longer."""


def test_a_slow_disk(cluster: Cluster, strikes: Strikes) -> None:
    """Nobody is refused, and all is in order as soon as otherwise, also if the gateway is killed on it."""
    aftermath = Aftermath(cluster)
    faults = [Fault(call, 1, f"delay_enter={longer}", "+") for call, longer in SLOW.items()]
    with traced(cluster.gateway.pid, *faults), somebody(cluster, Cluster.agentless_name) as cut_off:
        whole = work(cluster)
        assert len(whole.seen) == 3, whole.terminal.output
        assert cut_off.say(3), cut_off.terminal.output
        strikes.happened()
        cluster.gateway.kill()
        cut_off.terminal.wait()
    cluster.gateway = cluster.start_gateway()
    aftermath.check(whole, cut_off)

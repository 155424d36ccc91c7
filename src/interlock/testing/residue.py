"""What sessions leave behind in a cluster's daemons once they are over: nothing, and this is where that is seen.

A `Residue` is made while the cluster is idle and asked again after each test. It looks from outside, at what the
kernel holds for a process and at the trackers and leases that auth has stored; a task that waits holds a socket.
The database's own connections are a pool, whose size says nothing of sessions.
"""

import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from interlock.domain.tracker import TrackerState
from interlock.testing.gateway import Cluster
from interlock.testing.procs import KitError, descendants, poll_until

SETTLE_S = 20.0
"""Seconds that a session's end may take: a connection that got only refusals may stay for ten."""

NODES = 2
"""Nodes of ours in a cluster that has any: one that listens and one that dials out."""

DATABASE = "interlock.db"

_LIVE = "select sid from trackers where state < ? and not swept"


def descriptors(pid: int) -> "Counter[str]":
    """Open descriptors by kind: ``socket``, ``pipe``, or a path, the database left out; empty for no process."""
    kinds: Counter[str] = Counter()
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return kinds
    for entry in entries:
        try:
            kind = re.sub(r":\[\d+\]$", "", str(entry.readlink()))
        except OSError:  # closed since it was listed
            continue
        if DATABASE not in kind:
            kinds[kind] += 1
    return kinds


def live_trackers(data: Path) -> list[str]:
    """The IDs of sessions that are live by auth's own database, as ``ilctl sessions ls`` would list them."""
    with closing(sqlite3.connect(f"file:{data}/{DATABASE}?mode=ro", uri=True)) as db:
        order = list(TrackerState)
        return [sid for (sid,) in db.execute(_LIVE, (order.index(TrackerState.TERMINATED),))]


def leases(data: Path) -> list[str]:
    """What places of limited numbers are taken; an expired one that nobody gave back included."""
    with closing(sqlite3.connect(f"file:{data}/{DATABASE}?mode=ro", uri=True)) as db:
        return [semaphore for (semaphore,) in db.execute("select semaphore from leases")]


def connections_at(port: int) -> int:
    """Established TCP connections of this machine whose local end is that port (proc_net_tcp(5))."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    fields = [line.split() for line in lines]
    return sum(local.endswith(f":{port:04X}") and state == "01" for _, local, _, state, *_ in fields)


class Residue:
    """What one cluster's daemons hold when nobody uses it."""

    def __init__(self, cluster: Cluster) -> None:
        """Waits until both nodes are back at auth: the test before may have killed either end."""
        self._cluster = cluster
        if cluster.with_node:
            poll_until(lambda: connections_at(cluster.auth_port) >= NODES, "both nodes at auth", SETTLE_S)
        self._idle = {name: descriptors(pid) for name, pid in self._pids().items()}

    def wait_none(self) -> None:
        """Wait until nothing is left of what happened since; KitError with what is left, after some seconds."""
        try:
            poll_until(lambda: not self.found(), "end of what the sessions held", SETTLE_S)
        except KitError as error:
            raise KitError("\n".join([str(error), *self.found()])) from None

    def found(self) -> list[str]:
        """What is left now, in words."""
        left = [f"live tracker {sid}" for sid in live_trackers(self._cluster.data)]
        left += [f"lease under {semaphore}" for semaphore in leases(self._cluster.data)]
        for name, pid in self._pids().items():
            more = descriptors(pid) - self._idle[name]
            left += [f"{name}: {count} more of {kind}" for kind, count in sorted(more.items())]
            left += [f"{name}: child process {child}" for child in descendants(pid)]
        return left

    def _pids(self) -> dict[str, int]:
        cluster = self._cluster
        daemons = {"gateway": cluster.gateway, "sshd": cluster.agentless.daemon}
        if cluster.with_node:
            daemons |= {"node": cluster.node, "tunnel node": cluster.tunnel_node}
        return {name: daemon.pid for name, daemon in daemons.items()}

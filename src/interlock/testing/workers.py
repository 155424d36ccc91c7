"""Which of a gateway's workers has what: seen from outside, by what the kernel knows of its sockets.

The kernel chooses the worker of a connection, so whoever wants a certain one connects until it is that.
"""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interlock.testing.gateway import Cluster
from interlock.testing.procs import KitError, descendants, poll_until
from interlock.testing.terminal import Terminal

MOST_TRIES = 60
"""Connections after which one of two workers must have been met: the odds against it are beyond words."""


class Workers:
    """Of one cluster's gateway."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @property
    def pids(self) -> list[int]:
        """The processes that run now, those that drain included; the lowest first."""
        return sorted(self._cluster.gateway.pids[1:])

    def wait(self, number: int, *, without: tuple[int, ...] = ()) -> list[int]:
        """Return when so many others than those have said that they are ready, and run."""

        def ready() -> list[int]:
            said = {line["pid"] for line in self.log("worker.ready")}
            return [pid for pid in self.pids if pid in said and pid not in without]

        return poll_until(lambda: found if len(found := ready()) == number else None, f"{number} workers")

    def log(self, event: str) -> list[dict[str, Any]]:
        """What the gateway has said of this."""
        lines = self._cluster.gateway.log.read_text().splitlines()
        return [found for line in lines if line.startswith("{") and (found := json.loads(line))["event"] == event]

    def of_session(self, sid: str) -> int:
        """The worker that has claimed a session; KitError if there is none."""
        claim = self._cluster.data / "run" / "claims" / sid
        process = str(claim.readlink()).rpartition(".")[2]
        for line in self.log("worker.ready"):
            if line["process"] == process:
                return int(line["pid"])
        raise KitError(f"no worker has {sid}")

    def of_client(self, client: int) -> int:
        """The worker that has accepted the connection of this process or of one below it."""
        port = self._cluster.port
        inodes = {inode for pid in (client, *descendants(client)) for inode in _sockets(pid)}
        here = {local for local, remote, inode in _connections() if remote == port and inode in inodes}
        accepted = {inode for local, remote, inode in _connections() if local == port and remote in here}
        for pid in self.pids:
            if accepted & _sockets(pid):
                return pid
        raise KitError(f"no worker has a connection of process {client}")

    @contextmanager
    def met(self, wanted: int, connect: Callable[[], Terminal], ready: str) -> Iterator[Terminal]:
        """A terminal whose connection has come to this worker; ``ready`` is what it shows when it has."""
        for _ in range(MOST_TRIES):
            with connect() as terminal:
                terminal.expect(ready)
                if self.of_client(terminal.pid) == wanted:
                    yield terminal
                    return
        raise KitError(f"no connection came to worker {wanted}")

    def reload(self) -> list[int]:
        """Reload, and return the new workers when they have taken over."""
        before, done = tuple(self.pids), len(self.log("reload.done"))
        self._cluster.gateway.signal(signal.SIGHUP)
        poll_until(lambda: len(self.log("reload.done")) > done, "reload")
        return [pid for pid in self.pids if pid not in before]

    def wait_gone(self, *pids: int) -> None:
        """Return when these have ended."""
        poll_until(lambda: not set(pids) & set(self.pids), f"end of workers {pids}")


def _sockets(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    found = set()
    for entry in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            target = str(entry.readlink())
        except OSError:  # closed since it was listed
            continue
        if target.startswith("socket:["):
            found.add(target[len("socket:[") : -1])
    return found


def _connections() -> list[tuple[int, int, str]]:
    """Local port, remote port and inode of every TCP connection over IPv4."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [(_port(row[1]), _port(row[2]), row[9]) for row in rows]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)

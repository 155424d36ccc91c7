"""What the processes of one gateway share on the disk while it runs: the board of claims, and their sockets.

::

    <data directory>/run/claims/<sid>      who has claimed a session's ID (adapters.blob.board)
    <data directory>/run/<process>.sock    where a worker is called by the others

The path of a UNIX socket is at most 107 bytes long. If the data directory's is too long for that, the sockets are
in a directory of the same kind in $XDG_RUNTIME_DIR or /tmp, whose name follows from the data directory's.
"""

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from interlock.adapters.blob.board import ClaimLinks
from interlock.adapters.ssh.tunnel.neighbours import socket_path
from interlock.core.errors import ConfigError
from interlock.ports import ClaimBoard, Entropy

LONGEST = 100
"""Bytes of a socket's path, which is a little less than the system's limit."""

_RUN = "run"
_CLAIMS = "claims"


@dataclass(frozen=True, slots=True)
class Shelf:
    """The supervisor's: it makes everything anew, and clears it away."""

    run: Path
    sockets: Path
    board: ClaimBoard

    @classmethod
    def make(cls, data_dir: Path, entropy: Entropy) -> "Shelf":
        """An empty one; ConfigError if the directories cannot be had for ourselves alone."""
        run = data_dir / _RUN
        try:
            process = entropy.uuid()
            sockets = own_sockets(data_dir, process)
            return cls(run, sockets, ClaimLinks(run / _CLAIMS, process))
        except OSError as error:
            raise ConfigError(f"cannot use {run}: {error.strerror}", reason=str(error)) from error

    def clear(self) -> None:
        """Nobody needs it any more."""
        for directory in (self.sockets, self.run):
            shutil.rmtree(directory, ignore_errors=True)


def own_sockets(data_dir: Path, process: str) -> Path:
    """An empty directory for the sockets of a daemon without a shelf; ConfigError if it cannot be had."""
    run = data_dir / _RUN
    try:
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(mode=0o700)
        sockets = run if len(os.fsencode(socket_path(run, process))) <= LONGEST else _elsewhere(run)
        for left in sockets.glob(socket_path(Path(), "*").name):
            left.unlink()
    except OSError as error:
        raise ConfigError(f"cannot use {run}: {error.strerror}", reason=str(error)) from error
    return sockets


def worker_board(data_dir: Path, process: str) -> ClaimBoard:
    """A worker's view of the board."""
    return ClaimLinks(data_dir / _RUN / _CLAIMS, process)


def _elsewhere(run: Path) -> Path:
    base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108  # what is made there is checked
    name = hashlib.sha256(os.fsencode(run.absolute())).hexdigest()[:16]
    directory = Path(base) / f"interlock-{os.geteuid()}-{name}"
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ConfigError(f"{directory} is not a directory of our own: somebody else has made it")
    return directory

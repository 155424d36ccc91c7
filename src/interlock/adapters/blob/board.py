"""The board of claimed session IDs: one symbolic link for each, which appears whole or not at all.

::

    <directory>/<sid> -> <daemon>.<process>

A link is made by one system call that fails if there is one already, and it holds its text itself, so no process
ever sees half of a claim, and a process that is killed leaves its claims behind it. Nothing is synced: after a
crash of the machine nobody holds anything, and the gateway starts with an empty board.
"""

import contextlib
from pathlib import Path

from interlock.core.errors import StoreError
from interlock.core.ids import DaemonId, SessionId, parse_session_id
from interlock.ports import Posted


class ClaimLinks:
    """`ports.ClaimBoard` in a private directory. ``process`` is this process's own name there, without a dot."""

    def __init__(self, directory: Path, process: str) -> None:
        self._directory = directory
        self._process = process
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def post(self, sid: SessionId, daemon: DaemonId) -> bool:
        """Make the link."""
        try:
            self._path(sid).symlink_to(f"{daemon}.{self._process}")
        except FileExistsError:
            return False
        except OSError as error:
            raise StoreError("no new sessions for now: the disk refuses", reason=str(error)) from error
        return True

    def posted(self, sid: SessionId) -> Posted | None:
        """Read the link."""
        try:
            daemon, _, process = str(self._path(sid).readlink()).rpartition(".")
        except OSError:
            return None
        return Posted(DaemonId(daemon), process)

    def take_down(self, sid: SessionId) -> None:
        """Remove the link if it is ours."""
        posted = self.posted(sid)
        if posted is not None and posted.process == self._process:
            with contextlib.suppress(OSError):
                self._path(sid).unlink()

    def inherit(self, process: str) -> dict[SessionId, DaemonId]:
        """Replace the links one by one; none is missing at any time."""
        found: dict[SessionId, DaemonId] = {}
        fresh = self._directory / f".{self._process}"
        try:
            fresh.unlink(missing_ok=True)
            paths = list(self._directory.iterdir())
        except OSError as error:
            raise StoreError("the claimed sessions cannot be read", reason=str(error)) from error
        for path in paths:
            with contextlib.suppress(OSError, ValueError):
                sid = parse_session_id(path.name)
                posted = self.posted(sid)
                if posted is not None and posted.process == process:
                    fresh.symlink_to(f"{posted.daemon}.{self._process}")
                    fresh.rename(path)
                    found[sid] = posted.daemon
        return found

    def _path(self, sid: SessionId) -> Path:
        return self._directory / parse_session_id(sid)  # once more: no other text may become a path

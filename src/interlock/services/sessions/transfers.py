"""File transfers of one live session as audit events: one per file, one per change of a name, and a summary.

What passes is shown to an observer of the protocol (`core.transfer`); nothing here waits, and nothing it sees can
end the relay: if it cannot be followed any more, the events say so.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from interlock.core.errors import Denied
from interlock.core.limits import MAX_PATH_SHOWN, MAX_SUMMARY_FILES, MAX_SUMMARY_PATHS
from interlock.core.sides import Side
from interlock.core.transfer.command import ScpCommand, SftpCommand
from interlock.core.transfer.observer import Observer, observer_for
from interlock.core.transfer.operations import (
    Action,
    Allowed,
    Changed,
    Direction,
    Forbidden,
    Moved,
    Operation,
    Stopped,
)
from interlock.core.transfer.sftp import SftpObserver
from interlock.domain.access import NOTHING_SPECIAL, Access, FileTransfer
from interlock.domain.audit import JsonValue, Kind
from interlock.domain.session import shortened

_log = structlog.get_logger()

Tell = Callable[[Kind, dict[str, JsonValue]], None]
"""Leaves an event in the session's journal, with these fields beside the session's own."""

_CHANGES: dict[Action, tuple[Kind, Kind]] = {
    Action.SETSTAT: (Kind.SFTP_SETSTAT, Kind.SFTP_SETSTAT_FAILURE),
    Action.REMOVE: (Kind.SFTP_REMOVE, Kind.SFTP_REMOVE_FAILURE),
    Action.MKDIR: (Kind.SFTP_MKDIR, Kind.SFTP_MKDIR_FAILURE),
    Action.RMDIR: (Kind.SFTP_RMDIR, Kind.SFTP_RMDIR_FAILURE),
    Action.RENAME: (Kind.SFTP_RENAME, Kind.SFTP_RENAME_FAILURE),
    Action.SYMLINK: (Kind.SFTP_SYMLINK, Kind.SFTP_SYMLINK_FAILURE),
    Action.LINK: (Kind.SFTP_LINK, Kind.SFTP_LINK_FAILURE),
}
_SFTP_FILE = (Kind.SFTP_OPEN, Kind.SFTP_OPEN_FAILURE)
_SCP_FILE: dict[Direction, tuple[Kind, Kind]] = {
    Direction.UPLOAD: (Kind.SCP_UPLOAD, Kind.SCP_UPLOAD_FAILURE),
    Direction.DOWNLOAD: (Kind.SCP_DOWNLOAD, Kind.SCP_DOWNLOAD_FAILURE),
}

NOT_FOLLOWED = "file transfers of this session are no longer observed"


TERMINAL = "the session has a terminal, which edits what passes"
CUT = "your role restricts file transfers, and this one could not be judged"


@dataclass(frozen=True, slots=True)
class Disallowed:
    """A command that the role forbids as a whole."""

    kind: Kind
    fields: dict[str, JsonValue]
    denied: Denied


def disallowed(command: SftpCommand | ScpCommand, access: Access, *, terminal: bool = False) -> Disallowed | None:
    """Whether the role forbids the command; None if it may run, with SFTP judged file by file.

    A terminal edits what passes, as its modes say, which the client chooses: nothing can be judged through one.
    """
    allowed = access.file_transfer
    if terminal and allowed is not FileTransfer.BOTH:
        kind = Kind.SCP_DISALLOWED if isinstance(command, ScpCommand) else Kind.SFTP_DISALLOWED
        return Disallowed(kind, {}, _denied("file transfers through a terminal", allowed))
    if isinstance(command, ScpCommand):
        upload = command.direction is Direction.UPLOAD
        if allowed.uploads if upload else allowed.downloads:
            return None
        direction = command.direction.value
        fields: dict[str, JsonValue] = {
            "action": direction,
            "direction": direction,
            "path": _path(command.path),
        }
        return Disallowed(Kind.SCP_DISALLOWED, fields, _denied(f"{direction}s", allowed))
    if allowed is not FileTransfer.NONE:
        return None
    return Disallowed(Kind.SFTP_DISALLOWED, {}, _denied("file transfers", allowed))


def _denied(what: str, allowed: FileTransfer) -> Denied:
    return Denied(
        f"your role does not allow {what}",
        reason=f"the roles allow file transfers: {allowed.value}; the client asked for {what}",
    )


class FileTransfers:
    """Of one session. Cheap to feed, and it never raises.

    If ``access`` forbids a direction, what is fed is changed where it lies (`core.transfer.gate`), and ``on_cut``
    is called from within `feed` when the session must end, because what passes cannot be judged any more.
    """

    def __init__(
        self,
        command: SftpCommand | ScpCommand,
        *,
        tell: Tell,
        has_room: Callable[[], bool],
        access: Access = NOTHING_SPECIAL,
        on_cut: Callable[[Denied], None] | None = None,
        observer: Observer | None = None,
    ) -> None:
        self._scp = command if isinstance(command, ScpCommand) else None
        self._allowed = Allowed(access.file_transfer.uploads, access.file_transfer.downloads)
        self._on_cut = on_cut
        self._observer = observer or observer_for(command, self._allowed)
        self._tell = tell
        self._has_room = has_room  # False while so many events wait that no client may add more at will
        self._stats = _Stats()
        self._untold = 0
        self._stopped = ""
        self._any = False  # whether anything passed

    def feed(self, side: Side, data: memoryview) -> None:
        """Bytes from ``side``, valid during the call."""
        self._any = True
        try:
            told = self._observer.feed(side, data)
        except Exception:  # noqa: BLE001 - a bug of ours, which must cost no more than these events
            _log.exception("transfers.observer")
            self._observer = SftpObserver(self._allowed)
            told = self._observer.stop("internal error of the gateway")
            self._observer.feed(side, data)
        if told:
            self._take(told)

    def passing(self, side: Side, data: bytes) -> bytes:
        """The same for bytes that cannot be changed where they lie: what is to go on in their place."""
        if self._allowed.all or self._scp is not None:
            self.feed(side, memoryview(data))
            return data
        changed = bytearray(data)
        self.feed(side, memoryview(changed))
        return bytes(changed)

    def strange(self, data: memoryview) -> None:
        """The client sent data of another kind, which some targets take for input and others drop."""
        self._any = True
        self._take(self._observer.stop("the client sent data that is neither input nor anything else"))
        self._observer.feed(Side.CLIENT, data)

    def stop(self, reason: str) -> None:
        """Observe nothing."""
        self._take(self._observer.stop(reason))

    def finish(self) -> None:
        """The channel is over: tell what is left, and the summary if the protocol was spoken at all."""
        self._take(self._observer.finish())
        if self._scp is None and self._any:
            self._tell(Kind.SFTP_SUMMARY, self._stats.fields() | self._reservations())

    def _reservations(self) -> dict[str, JsonValue]:
        """Why the events are not all that happened."""
        fields: dict[str, JsonValue] = {}
        if self._untold:
            fields["untold"] = self._untold
        if self._stopped:
            fields |= {"partial": True, "error": f"{NOT_FOLLOWED}: {self._stopped}"}
        return fields

    def _take(self, told: Iterable[Operation]) -> None:
        for operation in told:
            match operation:
                case Moved():
                    self._stats.add(operation)
                    self._say(*self._moved(operation))
                case Changed():
                    self._say(*_changed(operation))
                case Forbidden():
                    self._say(Kind.SFTP_DISALLOWED, _forbidden(operation))
                case Stopped(reason, cut):
                    self._stop(reason)
                    if cut:
                        self._cut(reason)

    def _say(self, kind: Kind, fields: dict[str, JsonValue]) -> None:
        if self._has_room():
            self._tell(kind, fields)
        else:
            self._untold += 1

    def _stop(self, reason: str) -> None:
        self._stopped = reason
        _log.info("transfers.not_followed", reason=reason)
        if self._scp is not None:  # which has no summary to say it
            fields: dict[str, JsonValue] = {
                "action": self._scp.direction.value,
                "direction": self._scp.direction.value,
                "path": _path(self._scp.path),
                "success": False,
                "partial": True,
                "error": f"{NOT_FOLLOWED}: {reason}",
            }
            self._tell(_SCP_FILE[self._scp.direction][1], fields)

    def _cut(self, reason: str) -> None:
        fields = _result(f"the role restricts file transfers, and the session was ended: {reason}")
        self._tell(Kind.SFTP_DISALLOWED, fields)
        if self._on_cut is not None:
            self._on_cut(Denied(f"{CUT}: {reason}"))

    def _moved(self, moved: Moved) -> tuple[Kind, dict[str, JsonValue]]:
        kinds = _SFTP_FILE if self._scp is None else _SCP_FILE[self._scp.direction]
        fields: dict[str, JsonValue] = {
            "action": Action.OPEN.value if self._scp is None else self._scp.direction.value,
            "path": _path(moved.path),
            "direction": moved.direction.value,
            "bytes": moved.octets,
        }
        if moved.direction is Direction.BOTH:
            fields |= {"bytes_read": moved.read, "bytes_written": moved.written}
        if moved.name:
            fields["name"] = _path(moved.name)
        if moved.target_path:
            fields["target_path"] = _path(moved.target_path)
        if moved.sha256:
            fields["sha256"] = moved.sha256
        else:
            fields["partial"] = True
        return kinds[bool(moved.error)], fields | _result(moved.error)


def _changed(changed: Changed) -> tuple[Kind, dict[str, JsonValue]]:
    fields: dict[str, JsonValue] = {"action": changed.action.value, "path": _path(changed.path)}
    if changed.target_path:
        fields["target_path"] = _path(changed.target_path)
    return _CHANGES[changed.action][bool(changed.error)], fields | _result(changed.error)


def _forbidden(forbidden: Forbidden) -> dict[str, JsonValue]:
    fields: dict[str, JsonValue] = {"action": forbidden.action.value, "path": _path(forbidden.path)}
    if forbidden.target_path:
        fields["target_path"] = _path(forbidden.target_path)
    if forbidden.direction is not None:
        fields["direction"] = forbidden.direction.value
    return fields | _result("the role does not allow it")


def _result(error: str) -> dict[str, JsonValue]:
    fields: dict[str, JsonValue] = {"success": not error}
    return fields | {"error": error} if error else fields


def _path(path: str) -> str:
    return shortened(path, MAX_PATH_SHOWN)


class _Stats:
    """Bytes by path, for the summary; paths beyond its bounds are counted only."""

    def __init__(self) -> None:
        self._by_path: dict[str, tuple[int, int]] = {}
        self._paths = 0  # bytes of their names
        self._files = 0
        self._omitted = 0
        self._total = (0, 0)

    def add(self, moved: Moved) -> None:
        path = _path(moved.path)
        self._files += 1
        self._total = _sum(self._total, moved)
        if path not in self._by_path:
            size = len(path.encode())
            if len(self._by_path) >= MAX_SUMMARY_FILES or self._paths + size > MAX_SUMMARY_PATHS:
                self._omitted += 1
                return
            self._paths += size
        self._by_path[path] = _sum(self._by_path.get(path, (0, 0)), moved)

    def fields(self) -> dict[str, JsonValue]:
        """Fields of the summary."""
        stats: list[dict[str, str | int]] = [
            {"path": path, "bytes_read": read, "bytes_written": written}
            for path, (read, written) in self._by_path.items()
        ]
        fields: dict[str, JsonValue] = {
            "file_transfer_stats": stats,
            "files": self._files,
            "bytes_read": self._total[0],
            "bytes_written": self._total[1],
        }
        return fields | ({"files_omitted": self._omitted} if self._omitted else {})


def _sum(before: tuple[int, int], moved: Moved) -> tuple[int, int]:
    return before[0] + moved.read, before[1] + moved.written

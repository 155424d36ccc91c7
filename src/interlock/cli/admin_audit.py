"""``ilctl events``, ``sessions`` and ``recordings``: what happened, what happens now, and how it looked."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from interlock.cli.admin_context import FormatOption, in_local
from interlock.cli.output import Format, print_rows
from interlock.core.errors import ConfigError
from interlock.core.ids import SessionId, parse_session_id

if TYPE_CHECKING:
    from interlock.daemons.local import Local

events = typer.Typer(help="The audit log.")
sessions = typer.Typer(help="Live sessions.")
recordings = typer.Typer(help="Recordings of finished sessions.")


def _sid(text: str) -> str:
    try:
        return parse_session_id(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


SidArgument = Annotated[str, typer.Argument(metavar="SID", parser=_sid, help="The session ID.")]
OutOption = Annotated[Path | None, typer.Option(help="Write to this new file instead of the standard output.")]


@events.command("ls")
def list_events(
    context: typer.Context,
    sid: Annotated[str | None, typer.Option(help="Only events of this session.", parser=_sid)] = None,
    user: Annotated[str | None, typer.Option(help="Only events of this user.")] = None,
    event: Annotated[
        str | None, typer.Option("--type", help="Only events with this name, e.g. session.end.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most this many, the newest ones.")] = 10_000,
    form: FormatOption = Format.TEXT,
) -> None:
    """List audit events, oldest first."""

    async def work(local: "Local") -> list[dict[str, object]]:
        from interlock.ports import EventFilter

        found = await local.audit.events(EventFilter(sid=sid, user=user, event=event, limit=limit))
        return [dict(each) for each in found]

    columns = {
        "time": "Time",
        "event": "Event",
        "code": "Code",
        "user": "User",
        "login": "Login",
        "server_hostname": "Node",
        "sid": "Session",
        "detail": "Detail",
    }
    rows = in_local(context, work)
    if form is Format.TEXT:
        rows = [{**row, "detail": _detail(row)} for row in rows]
    print_rows(rows, columns, form)


@sessions.command("ls")
def list_sessions(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the sessions that are live now."""

    async def work(local: "Local") -> list[dict[str, object]]:
        now = local.clock.now()
        return [
            {
                "sid": tracker.sid,
                "state": tracker.state.value,
                "kind": tracker.kind,
                "user": tracker.user,
                "login": tracker.login,
                "hostname": tracker.hostname,
                "created": tracker.created,
                "expires": tracker.expires,
                "command": tracker.command,
                "participants": tracker.participants,
                "target_id": tracker.target_id,
                "daemon_id": tracker.daemon_id,
                "sub_kind": tracker.sub_kind,
                "recording_mode": tracker.recording_mode,
                "cluster": tracker.cluster,
            }
            for tracker in await local.trackers.live()
            if not tracker.expired(now=now)
        ]

    columns = {
        "sid": "Session",
        "state": "State",
        "user": "User",
        "login": "Login",
        "hostname": "Node",
        "created": "Created",
        "command": "Command",
    }
    print_rows(in_local(context, work), columns, form)


@recordings.command("ls")
def list_recordings(context: typer.Context, form: FormatOption = Format.TEXT) -> None:
    """List the recordings, newest first."""
    rows = [
        {**info.meta, "sid": info.sid, "size": info.size, "stored": info.stored}
        for info in in_local(context, lambda local: local.recordings.recordings())
    ]
    columns = {
        "sid": "Session",
        "user": "User",
        "login": "Login",
        "hostname": "Node",
        "kind": "Kind",
        "start": "Start",
        "duration_ms": "Milliseconds",
        "size": "Bytes",
    }
    print_rows(rows, columns, form)


@recordings.command("download")
def download(
    context: typer.Context,
    sid: SidArgument,
    out: Annotated[Path, typer.Option(help="The new file.")],
) -> None:
    """Copy a recording as it is stored; ilsh play takes the file."""

    async def work(local: "Local") -> int:
        size = 0
        pieces = local.recordings.read(SessionId(sid))
        first = await anext(pieces, b"")  # NotFound before a file is made
        with _create(out) as file:
            size += file.write(first)
            async for piece in pieces:
                size += file.write(piece)
        return size

    print(f"{in_local(context, work)} bytes were written to {out}.")


def _create(path: Path) -> BinaryIO:
    """A new private file: a recording shows everything that was on somebody's screen."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
    except FileExistsError:
        raise ConfigError(f"{path} exists already: choose another name or remove it") from None
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", reason=str(error)) from error


def _detail(event: Mapping[str, object]) -> str:
    """What is worth a table's last column, the longest stories in few words."""
    match event.get("event"):
        case "exec":
            return f"{event.get('command', '')} (exit {event.get('exitCode') or event.get('exitError', '?')})"
        case "subsystem":
            return f"{event.get('name', '')}"
        case "session.data":
            return f"{event.get('tx', 0)} bytes sent, {event.get('rx', 0)} received"
        case "resize" | "session.start":
            return str(event.get("size", ""))
        case _:
            texts = (event.get(key) for key in ("error", "reason", "message", "url"))
            return next((str(text) for text in texts if text), "")

"""Audit events as ``ilctl events ls`` and ``ilsh events ls`` list them, and the options by which both choose."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from interlock.cli.options import session_id
from interlock.cli.output import Format, Row, print_rows

_LAST = (1 << 63) - 1  # the highest number that the database can count to

_COLUMNS = {
    "time": "Time",
    "event": "Event",
    "code": "Code",
    "user": "User",
    "login": "Login",
    "server_hostname": "Node",
    "sid": "Session",
    "detail": "Detail",
}


OfSession = Annotated[
    str | None, typer.Option("--sid", metavar="SID", help="Only events of this session.", parser=session_id)
]
OfUser = Annotated[str | None, typer.Option("--user", help="Only events of this user.")]
OfType = Annotated[str | None, typer.Option("--type", help="Only events with this name, e.g. session.end.")]
BeforeCursor = Annotated[
    int | None,
    typer.Option("--before", metavar="CURSOR", min=0, max=_LAST, help="Go on with older ones than this."),
]
AfterCursor = Annotated[
    int | None,
    typer.Option("--after", metavar="CURSOR", min=0, max=_LAST, help="Only newer ones, the oldest of them first."),
]
WithDuplicates = Annotated[
    bool, typer.Option("--duplicates", help="Also what an old node told again of a session, marked.")
]


def print_events(rows: Sequence[Row], form: Format) -> None:
    """A page of them."""
    if form is Format.TEXT:
        rows = [{**row, "detail": _detail(row)} for row in rows]
    print_rows(rows, _COLUMNS, form)


def _detail(event: Mapping[str, object]) -> str:
    """What is worth a table's last column, the longest stories in few words."""
    match event.get("event"):
        case "exec":
            return f"{event.get('command', '')} (exit {event.get('exitCode') or event.get('exitError', '?')})"
        case "subsystem":
            return f"{event.get('name', '')}"
        case "sftp" | "scp":
            return _file_detail(event)
        case "sftp_summary":
            moved = f"{event.get('bytes_written', 0)} bytes up, {event.get('bytes_read', 0)} down"
            return f"{event.get('files', 0)} files, {moved}" + (f": {event['error']}" if "error" in event else "")
        case "session.data":
            return f"{event.get('tx', 0)} bytes sent, {event.get('rx', 0)} received"
        case "resize" | "session.start":
            return str(event.get("size", ""))
        case _:
            texts = (event.get(key) for key in ("error", "reason", "message", "url", "name"))
            return next((str(text) for text in texts if text), "")


_CHANGES = {7: "setstat", 11: "remove", 12: "mkdir", 13: "rmdir", 16: "rename", 18: "symlink", 19: "link"}
"""The field's numbers of what SFTP does to files (PROTOCOL.md §6)."""


def _file_detail(event: Mapping[str, object]) -> str:
    action = event.get("action")
    words = [str(event.get("direction") or (_CHANGES.get(action, "") if isinstance(action, int) else ""))]
    words.append(str(event.get("path", "")))
    if target := event.get("target_path"):
        words += ["->", str(target)]
    if "bytes" in event:
        words.append(f"({event['bytes']} bytes)")
    text = " ".join(word for word in words if word)
    return f"{text}: {event['error']}" if "error" in event else text

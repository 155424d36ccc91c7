"""``ilctl events``, ``sessions`` and ``recordings``: what happened, what happens now, and how it looked."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, cast

import typer

from interlock.cli.admin_context import in_local, report
from interlock.cli.event_rows import (
    AfterCursor,
    BeforeCursor,
    OfSession,
    OfType,
    OfUser,
    WithDuplicates,
    print_events,
)
from interlock.cli.options import (
    LISTED,
    AfterOption,
    FormatOption,
    IdentityOption,
    LimitOption,
    moment,
    session_id,
)
from interlock.cli.output import Format, Row, more, print_json, print_rows, printable, replacing
from interlock.core.errors import NotFound
from interlock.core.ids import SessionId
from interlock.domain.audit import JsonValue, Kind

if TYPE_CHECKING:
    from interlock.daemons.local import Local
    from interlock.ports import RecordingPage

_PIECE = 256 * 1024

events = typer.Typer(help="The audit log.")
sessions = typer.Typer(help="Live sessions.")
recordings = typer.Typer(help="Recordings of finished sessions.")


class Export(StrEnum):
    """`casting.FORMATS` as an option."""

    ASCIICAST_V2 = "asciicast-v2"
    ASCIICAST_V3 = "asciicast-v3"
    TEXT = "text"
    JSON = "json"


SidArgument = Annotated[str, typer.Argument(metavar="SID", parser=session_id, help="The session ID.")]


@events.command("ls")
def list_events(
    context: typer.Context,
    sid: OfSession = None,
    user: OfUser = None,
    event: OfType = None,
    limit: LimitOption = LISTED,
    before: BeforeCursor = None,
    after: AfterCursor = None,
    duplicates: WithDuplicates = False,
    form: FormatOption = Format.TEXT,
) -> None:
    """List audit events, oldest first: the newest of them, or what comes next to a cursor, which every row has."""

    async def work(local: "Local") -> list[dict[str, object]]:
        from interlock.ports import EventFilter

        wanted = EventFilter(
            sid, user, event, limit, newest=after is None, duplicates=duplicates, before=before, after=after
        )
        return [{**each, "cursor": str(cursor)} for cursor, each in await local.audit.page(wanted)]

    rows = in_local(context, work)
    print_events(rows, form)
    if len(rows) == limit:
        more(f"--after {rows[-1]['cursor']}" if after is not None else f"--before {rows[0]['cursor']}")


@sessions.command("ls")
def list_sessions(
    context: typer.Context,
    limit: LimitOption = LISTED,
    after: AfterOption = "",
    form: FormatOption = Format.TEXT,
) -> None:
    """List the sessions that are live now, oldest first."""

    async def work(local: "Local") -> tuple[list[dict[str, object]], str]:
        now = local.clock.now()
        live, more = await local.catalogue.live(after=after, limit=limit)
        return [
            {
                "cursor": tracker.cursor,
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
            for tracker in live
            if not tracker.expired(now=now)
        ], more

    columns = {
        "sid": "Session",
        "state": "State",
        "user": "User",
        "login": "Login",
        "hostname": "Node",
        "created": "Created",
        "command": "Command",
    }
    rows, place = in_local(context, work)
    print_rows(rows, columns, form)
    if place:
        more(f"--after {place}")


@recordings.command("ls")
def list_recordings(
    context: typer.Context,
    limit: LimitOption = LISTED,
    after: AfterOption = "",
    user: Annotated[str | None, typer.Option(help="Only of this user's sessions.")] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """List the recordings, newest sessions first: also those that are being made, cut off, or not here."""

    async def work(local: "Local") -> "RecordingPage":
        from interlock.ports import RecordingFilter

        return await local.catalogue.page(RecordingFilter(user, after, limit))

    page = in_local(context, work)
    rows = [
        {
            "cursor": cursor,
            **info.meta,
            "sid": info.sid,
            "state": info.state.value,
            "size": info.size,
            "stored": info.stored,
        }
        for cursor, info in page.rows
    ]
    columns = {
        "sid": "Session",
        "user": "User",
        "login": "Login",
        "hostname": "Node",
        "kind": "Kind",
        "state": "State",
        "start": "Start",
        "duration_ms": "Milliseconds",
        "size": "Bytes",
    }
    print_rows(rows, columns, form)
    if page.next:
        more(f"--after {page.next}")


@recordings.command("show")
def show(context: typer.Context, sid: SidArgument, form: FormatOption = Format.TEXT) -> None:
    """Say what a recording covers: of each channel and forward how much was kept, and if not all, why."""

    async def work(local: "Local") -> dict[str, object]:
        from interlock.domain.survey import summary
        from interlock.ports import EventFilter

        with TemporaryFile() as stored:
            try:
                await _copy(local, sid, stored, "coverage")
            except NotFound:  # not recorded, or not stored yet: the session's end knows
                ends = await local.audit.events(EventFilter(sid=sid, event=Kind.SESSION_END.event))
                if not ends:
                    raise
                return {"sid": sid, "recorded": False, "coverage": ends[0].get("coverage", [])}
            stored.seek(0)
            return {"recorded": True, **summary(iter(lambda: stored.read(_PIECE), b""))}

    found = in_local(context, work)
    if form is Format.JSON:
        print_json(found)
        return
    for name, value in found.items():
        if name not in ("coverage", "gaps"):
            print(printable(f"{name}: {value}"))
    print_rows(
        cast(Sequence[Row], found["coverage"]),
        {"what": "What", "level": "Kept", "where": "Where", "count": "Count", "why": "Why not more"},
        form,
    )
    for gap in cast(list[str], found.get("gaps", [])):
        print(printable(gap))


@recordings.command("download")
def download(
    context: typer.Context, sid: SidArgument, out: Annotated[Path, typer.Option(help="Where to put it.")]
) -> None:
    """Copy a recording as it is stored; ilsh play takes the file."""

    async def work(local: "Local") -> int:
        with replacing(out) as file:
            return await _copy(local, sid, file, "ilr")

    print(f"{in_local(context, work)} bytes were written to {out}.")


@recordings.command("export")
def export(
    context: typer.Context,
    sid: SidArgument,
    form: Annotated[Export, typer.Option("--format", help="What to make of it.")] = Export.ASCIICAST_V2,
    out: Annotated[Path | None, typer.Option(help="Where to put it; default: the standard output.")] = None,
    start: Annotated[
        int,
        typer.Option("--from", metavar="TIME", parser=moment, help="Where to begin, for example 1h5m or 90s."),
    ] = 0,
    identity: IdentityOption = None,
) -> None:
    """Convert a recording: asciicast (asciinema plays it; escape sequences included), text or JSON lines."""
    from interlock.cli.play import frames_of_file, unlock_with
    from interlock.domain.casting import FORMATS
    from interlock.domain.container import decode, rebased

    unlock = unlock_with(identity)
    with TemporaryFile() as stored:
        in_local(context, lambda local: _copy(local, sid, stored, form.value))
        stored.seek(0)
        pieces = iter(lambda: stored.read(_PIECE), b"")
        frames = decode(pieces, unlock)
        if start:
            frames = rebased(frames_of_file(stored, start, unlock, form=form.value), start)
        lines = FORMATS[form.value](frames)
        if out is None:
            sys.stdout.writelines(lines)
            return
        with replacing(out) as file:
            file.writelines(line.encode() for line in lines)


async def _copy(local: "Local", sid: str, file: IO[bytes], form: str) -> int:
    """All bytes of a recording into a file, not before the audit log says who reads it; how many they were."""
    size = 0
    one = await local.twins.one(SessionId(sid))
    async for piece in local.catalogue.read(one):
        if not size:
            fields: dict[str, JsonValue] = {"session_type": "ssh", "format": form}
            await report(local, Kind.RECORDING_ACCESS, fields, sid=one)
        size += file.write(piece)
    return size

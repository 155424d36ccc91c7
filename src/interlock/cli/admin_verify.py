"""``ilctl recordings verify``: whether recordings are what their recorders wrote."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local
from interlock.cli.options import FormatOption
from interlock.cli.output import ExitCode, Format, print_json, printable
from interlock.core.errors import ConfigError, NotFound
from interlock.core.ids import SessionId, parse_session_id

if TYPE_CHECKING:
    from interlock.daemons.local import Local
    from interlock.domain.container import Verdict

_PIECE = 256 * 1024
PAGE = 1000
"""Recordings that are looked up at once."""


def verify_recordings(
    context: typer.Context,
    recording: Annotated[
        str, typer.Argument(metavar="SID|FILE", help="A session's ID, or a downloaded recording.")
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="All recordings of which the gateway knows.")] = False,
    key: Annotated[
        Path | None,
        typer.Option(
            help="Public keys, as ilctl auth export --type recordings prints them; with a FILE, nothing else of "
            "the gateway is needed. Default: the gateway's own."
        ),
    ] = None,
    form: FormatOption = Format.TEXT,
) -> None:
    """Check recordings byte for byte, and who signed them. Fails unless every one is whole and signed."""
    if every == bool(recording):
        msg = "give a session's ID, a file or --all"
        raise typer.BadParameter(msg)
    keys = None if key is None else _keys(key)
    sid = None if every else sid_of(recording)
    if keys is not None and sid is None and not every:
        rows = [_row(recording, _file(Path(recording), keys))]
    else:

        async def work(local: "Local") -> list[dict[str, object]]:
            from interlock.domain.signing import read_public_keys
            from interlock.services.keys.authority import RECORDINGS

            trusted = keys or read_public_keys(local.authority.export(RECORDINGS))
            if every:
                return [row async for row in _all(local, trusted)]
            if sid is None:
                return [_row(recording, _file(Path(recording), trusted))]
            return [_row(sid, await _stored(local, sid, trusted))]

        rows = in_local(context, work)
    if form is Format.JSON:
        print_json(rows)
    else:
        for row in rows:
            print(printable(_sentence(row)))
    if not all(row["ok"] for row in rows):
        raise typer.Exit(ExitCode.FAILED)


def sid_of(name: str) -> SessionId | None:
    """A session's ID, if it is one."""
    try:
        return parse_session_id(name)
    except ValueError:
        return None


def _keys(path: Path) -> tuple[bytes, ...]:
    from interlock.domain.signing import read_public_keys

    try:
        return read_public_keys(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read public keys from {path}", reason=str(error)) from error


def _file(path: Path, keys: tuple[bytes, ...]) -> "Verdict":
    from interlock.domain.container import verify

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece

    try:
        return verify(pieces(), keys)
    except OSError as error:
        raise NotFound(f"{str(path)!r} is neither a session ID nor a file that can be read") from error


async def _stored(local: "Local", sid: SessionId, keys: tuple[bytes, ...]) -> "Verdict":
    from interlock.domain.container import verify

    one = await local.twins.one(sid)
    with TemporaryFile() as copy:
        async for piece in local.catalogue.read(one):
            copy.write(piece)
        copy.seek(0)
        return verify(iter(lambda: copy.read(_PIECE), b""), keys, sid=one)


async def _all(local: "Local", keys: tuple[bytes, ...]) -> AsyncIterator[dict[str, object]]:
    """What is stored is checked, what should be and is not is named, what is on its way is passed over."""
    from interlock.domain.recording import RecordingState
    from interlock.ports import RecordingFilter

    after = ""
    while True:
        page = await local.catalogue.page(RecordingFilter(after=after, limit=PAGE))
        for _, info in page.rows:
            if info.state in (RecordingState.COMPLETE, RecordingState.CUT_OFF):
                try:
                    yield _row(info.sid, await _stored(local, info.sid, keys))
                except NotFound:  # removed meanwhile
                    yield {"recording": info.sid, "ok": False, "standing": RecordingState.MISSING.value}
            elif info.state in (RecordingState.MISSING, RecordingState.QUARANTINED):
                yield {"recording": info.sid, "ok": False, "standing": info.state.value}
        after = page.next
        if not after:
            return


def _row(name: str, found: "Verdict") -> dict[str, object]:
    from interlock.domain.container import Standing

    signer = found.signer
    return {
        "recording": name,
        "ok": found.standing is Standing.SIGNED,
        "standing": found.standing.value,
        "sid": found.header.sid if found.header is not None else "",
        "bytes": found.size,
        "blocks": found.blocks,
        "vouched_bytes": found.vouched,
        "signed_by": "" if signer is None else signer.daemon,
        "signer_role": "" if signer is None else signer.role.value,
        "completed": found.completed,
        "encrypted": found.encrypted,
        **({} if found.problem is None else {"offset": found.problem.offset, "problem": found.problem.words}),
    }


def _sentence(row: dict[str, object]) -> str:
    name = row["recording"]
    if "problem" in row:
        return f"{name}: {row['standing']}: at byte {row['offset']}: {row['problem']}"
    if not row["ok"]:
        return f"{name}: {row['standing']}"
    completed = ", which made up its end, as its recorder had died" if row["completed"] else ""
    return f"{name}: {row['standing']} by {row['signer_role']} {row['signed_by']}{completed}; {row['bytes']} bytes"

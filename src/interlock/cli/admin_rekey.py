"""``ilctl recordings rekey``: others may read encrypted recordings from now on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlock.cli.admin_context import in_local, report
from interlock.cli.admin_verify import PAGE, sid_of
from interlock.cli.output import ExitCode, print_error
from interlock.core.errors import ConfigError, InterlockError, NotFound
from interlock.domain.audit import Kind

if TYPE_CHECKING:
    from interlock.core.ids import SessionId
    from interlock.daemons.local import Local


def rekey_recordings(
    context: typer.Context,
    identity: Annotated[
        Path,
        typer.Option(envvar="INTERLOCK_IDENTITY", help="File with the identity of a recipient of now."),
    ],
    recipient: Annotated[
        list[str], typer.Option(help="Who may read from now on: age1… or an SSH public key; may be repeated.")
    ],
    recording: Annotated[str, typer.Argument(metavar="SID", help="A session's ID.")] = "",
    every: Annotated[bool, typer.Option("--all", help="All recordings that are stored.")] = False,
) -> None:
    """Wrap the keys of encrypted recordings for other recipients; contents and signatures stay as they are.

    New recordings follow the gateway's file. Who has unwrapped a key before keeps what that key opens.
    """
    sid = sid_of(recording)
    if every == (sid is not None) or (recording and sid is None):
        msg = "give a session's ID or --all"
        raise typer.BadParameter(msg)

    async def work(local: "Local") -> tuple[int, int]:
        from interlock.adapters import age

        unlock, keys = age.identity(identity), age.AgeKeys(recipient, local.entropy)
        done = failed = 0
        for each in [sid] if sid is not None else await _stored(local):
            try:
                if await local.recordings.rekey(each, lambda wrapped: keys.wrap(unlock(wrapped))):
                    fields = {"recipients": ",".join(recipient)}
                    await report(local, Kind.RECORDING_REKEY, fields, sid=each)
                    done += 1
                elif sid is not None:
                    raise ConfigError("this recording is not encrypted")
            except InterlockError as error:
                if sid is not None:
                    raise
                if not isinstance(error, NotFound):  # removed meanwhile
                    print_error(f"{each}: {error.public}")
                    failed += 1
        return done, failed

    done, failed = in_local(context, work)
    print(f"{done} recordings have other recipients now.")
    if failed:
        raise typer.Exit(ExitCode.FAILED)


async def _stored(local: "Local") -> "list[SessionId]":
    from interlock.domain.recording import RecordingState
    from interlock.ports import RecordingFilter

    found, after = [], ""
    while True:
        page = await local.catalogue.page(RecordingFilter(after=after, limit=PAGE))
        found += [
            info.sid for _, info in page.rows if info.state in (RecordingState.COMPLETE, RecordingState.CUT_OFF)
        ]
        after = page.next
        if not after:
            return found
